import { once } from 'node:events'
import { connect, type OutgoingHttpHeaders } from 'node:http2'
import t from 'tap'
import protocol, { type ProtocolOptions } from '../../plugins/protocol.ts'
import type { GatewayPlugin } from '../../src/plugin/define.ts'
import { testRoute } from '../fixtures/route.ts'

const plugin: GatewayPlugin<ProtocolOptions> = protocol

t.test('another method gets 405 and learns which are taken; HEAD follows GET', async t => {
  const { url, proxied } = await testRoute(t, [[plugin, { methods: ['GET', 'put'] }]])
  for (const [method, status] of [
    ['GET', 200],
    ['HEAD', 200],
    ['PUT', 200],
    ['POST', 405],
    ['DELETE', 405],
    ['OPTIONS', 405]
  ] as const) {
    const answer = await fetch(`${url}/`, { method })
    t.equal(answer.status, status, method)
    if (status === 405) t.equal(answer.headers.get('allow'), 'GET, PUT, HEAD')
  }
  t.equal(proxied.length, 3)
  const posts = await testRoute(t, [[plugin, { methods: ['POST'] }]])
  t.equal((await fetch(`${posts.url}/`, { method: 'HEAD' })).status, 405, 'HEAD follows GET only')
})

t.test('bodies of other content types get 415', async t => {
  const { url } = await testRoute(t, [[plugin, { contentTypes: ['application/JSON', 'image/*'] }]])
  for (const [type, status] of [
    ['application/json', 200],
    ['Application/Json; charset=utf-8', 200],
    ['application/json ;x=1', 200],
    ['image/png', 200],
    ['image/', 415],
    ['imagery/png', 415],
    ['application/jsonp', 415],
    ['application/json, text/html', 415],
    ['text/plain; application/json', 415],
    ['application', 415],
    ['', 415]
  ] as const) {
    const answer = await fetch(`${url}/`, {
      method: 'POST',
      body: new Blob(['{}']),
      headers: { 'content-type': type }
    })
    t.equal(answer.status, status, type)
    if (status === 415) t.match(await answer.json(), { reason: 'protocol.content_type' })
  }
})

t.test('a content type matters only where there is a body', async t => {
  const { url } = await testRoute(t, [[plugin, { contentTypes: ['application/json'] }]])
  t.equal((await fetch(`${url}/`, { headers: { 'content-type': 'text/plain' } })).status, 200)
  t.equal((await fetch(`${url}/`, { method: 'POST' })).status, 200, 'Content-Length: 0')
  const stream = new ReadableStream({
    start(controller) {
      controller.enqueue(new TextEncoder().encode('x'))
      controller.close()
    }
  })
  const chunked = await fetch(`${url}/`, { method: 'POST', body: stream, duplex: 'half' } as RequestInit)
  t.equal(chunked.status, 415, 'a chunked body without a type')
})

t.test('a body on HTTP/2 needs no header to be one', async t => {
  const { url } = await testRoute(t, [[plugin, { contentTypes: ['application/json'] }]], { http2: true })
  const session = connect(url)
  t.teardown(() => session.close())
  const statusOf = async (headers: OutgoingHttpHeaders, body?: string) => {
    const stream = session.request({ ':path': '/', ...headers }, { endStream: body === undefined })
    if (body !== undefined) stream.end(body)
    const [answer] = await once(stream, 'response')
    stream.resume()
    return answer[':status']
  }
  t.equal(await statusOf({ ':method': 'GET' }), 200)
  t.equal(await statusOf({ ':method': 'POST', 'content-type': 'application/json' }, '{}'), 200)
  t.equal(await statusOf({ ':method': 'POST', 'content-type': 'text/plain' }, 'x'), 415)
  t.equal(await statusOf({ ':method': 'POST' }, 'x'), 415)
})

t.test(
  'a body that is too large gets 413 at once; one that does not say is counted by the proxy',
  async t => {
    let maxBody = 0
    const { url, proxied } = await testRoute(t, [[plugin, { maxBody: 4 }]], {
      handler(request) {
        maxBody = request.gateway.maxBody
        return 'ok'
      }
    })
    t.equal((await fetch(`${url}/`, { method: 'POST', body: 'four' })).status, 200)
    t.equal(maxBody, 4)
    const answer = await fetch(`${url}/`, { method: 'POST', body: 'fives' })
    t.equal(answer.status, 413)
    t.match(await answer.json(), { reason: 'protocol.size' })
    t.equal(proxied.length, 1)
  }
)

t.test('headers that are too large get 431', async t => {
  const { url } = await testRoute(t, [[plugin, { maxHeaderBytes: 1000 }]])
  t.equal((await fetch(`${url}/`)).status, 200)
  t.equal((await fetch(`${url}/`, { headers: { 'x-a': 'a'.repeat(1000) } })).status, 431)
})

t.test('options of other protocols are refused for now', async t => {
  const config = {} as Parameters<NonNullable<typeof plugin.check>>[1]
  const problems = plugin.check!(
    {
      rpcs: ['a.B/C'],
      origins: ['https://a.example'],
      subprotocols: ['x'],
      maxMessage: 1,
      idle: 1,
      lifetime: 1
    },
    config
  )
  t.same(
    problems.map(problem => `${problem.path}: ${problem.message}`),
    [
      'rpcs: needs protocol: grpc',
      'origins: needs protocol: websocket',
      'subprotocols: needs protocol: websocket',
      'maxMessage: needs protocol: grpc or websocket',
      'idle: needs protocol: websocket',
      'lifetime: needs protocol: websocket'
    ]
  )
  t.same(plugin.check!({ methods: ['GET'] }, config), [])
})

t.test('rpcs pass by their exact name only', async t => {
  const rpcOf = (url: string) => ({
    service: url.split('/')[1] as string,
    method: url.split('/')[2] as string
  })
  const { url, proxied } = await testRoute(
    t,
    [[plugin, { rpcs: ['shop.v1.Orders/Get', 'shop.v1.Carts/Add', 'Plain/Do'] }]],
    { wrapRequest: known => ({ ...known, rpc: null }), handler: () => 'ok' }
  )
  t.match(
    await (await fetch(`${url}/shop.v1.Orders/Get`)).json(),
    { reason: 'protocol.rpc' },
    'no rpc at all'
  )
  t.equal(proxied.length, 0)

  let now = '/'
  const rpcs = await testRoute(
    t,
    [[plugin, { rpcs: ['shop.v1.Orders/Get', 'shop.v1.Carts/Add', 'Plain/Do'] }]],
    {
      wrapRequest: known => ({ ...known, rpc: rpcOf(now) })
    }
  )
  for (const [path, passes] of [
    ['/shop.v1.Orders/Get', true],
    ['/shop.v1.Carts/Add', true],
    ['/Plain/Do', true],
    ['/shop.v1.Orders/Add', false],
    ['/shop.v1.Orders/get', false],
    ['/shop.v1.orders/Get', false],
    ['/v1.Orders/Get', false],
    ['/shop.v1.Orders/Get%20', false],
    ['/__proto__/constructor', false]
  ] as const) {
    now = path
    t.equal((await fetch(`${rpcs.url}${path}`)).status, passes ? 200 : 404, path)
  }
})

t.test('rpcs are methods, of the service that the route matches', async t => {
  const config = {} as Parameters<NonNullable<typeof plugin.check>>[1]
  const route = { match: { protocol: 'grpc', service: 'shop.v1.Orders' } } as Parameters<
    NonNullable<typeof plugin.check>
  >[2]
  const problems = plugin.check!(
    { rpcs: ['shop.v1.Orders/Get', 'shop.v1.Carts/Add'], maxMessage: 1 },
    config,
    route
  )
  t.match(problems, [
    {
      path: ['rpcs', 1],
      message: 'shop.v1.Carts/Add is no method of shop.v1.Orders, which the route matches'
    }
  ])
  const item = (plugin.schema as { properties: { rpcs: { items: { pattern: string } } } }).properties.rpcs
    .items
  for (const name of ['shop.v1.Orders/Get', 'Orders/Get', '_a._b/_c']) t.match(name, new RegExp(item.pattern))
  for (const name of [
    'Get',
    '/shop.v1.Orders/Get',
    'shop.v1.Orders/*',
    'shop..Orders/Get',
    'a/b/c',
    '1a/b',
    'a/',
    ''
  ])
    t.notMatch(name, new RegExp(item.pattern))
})
