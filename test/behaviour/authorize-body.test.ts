import { once } from 'node:events'
import { type ClientHttp2Stream, connect, type OutgoingHttpHeaders } from 'node:http2'
import { text } from 'node:stream/consumers'
import t, { type Test } from 'tap'
import { heldBytes, hold, release } from '../../src/body/allowance.ts'
import { type Echo, echoUpstream } from '../fixtures/echo.ts'
import { http2Upstream } from '../fixtures/http2-upstream.ts'
import { type Proxying, plugin, proxying } from '../fixtures/proxying.ts'
import { rawClient } from '../fixtures/raw.ts'
import { buildGateway, type RunningGateway } from '../helper.ts'

const listeners = `listeners:
  http: { host: 127.0.0.1, port: 0 }
  h2c: { host: 127.0.0.1, port: 0 }
  admin: { host: 127.0.0.1, port: 0 }`
const small = `{ authorize: { body: { maxSize: 1Ki }, allow: 'request.body.amount < 1000' } }`

interface Deciding extends Proxying {
  readonly echo: Echo
}

async function deciding(
  t: Test,
  uses: string,
  { files = {}, route, top = '' }: { files?: Record<string, string>; route?: string; top?: string } = {}
): Promise<Deciding> {
  const echo = await echoUpstream(t)
  const added = route === undefined ? {} : { route }
  return { ...(await proxying(t, echo.url, { top: `${listeners}\n${top}`, uses, files, ...added })), echo }
}

function post(body: string, headers = ''): string {
  const length = `content-length: ${Buffer.byteLength(body)}\r\n`
  return `POST /orders HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n${length}${headers}\r\n${body}`
}

const chunkedHead =
  'POST /orders HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n'

function chunk(text: string): string {
  return `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`
}

async function call(
  running: RunningGateway,
  bytes: string
): Promise<{ status: number; reason: string | undefined }> {
  const client = rawClient(null, running.port)
  client.send(bytes)
  const { status, body } = await client.next()
  client.destroy()
  return { status, reason: status < 400 ? undefined : (JSON.parse(body) as { reason: string }).reason }
}

/** A stream of HTTP/2 whose body is still to come. */
function stream(t: Test, running: Deciding, headers: OutgoingHttpHeaders = {}): ClientHttp2Stream {
  const session = connect(running.gateway.addresses.h2c as string)
  session.on('error', () => {})
  t.teardown(() => session.destroy())
  const fields = { ':method': 'POST', ':path': '/orders', 'content-type': 'application/json', ...headers }
  const one = session.request(fields, { endStream: false })
  one.on('error', () => {})
  return one
}

async function statusOf(one: ClientHttp2Stream): Promise<number> {
  const [headers] = (await once(one, 'response')) as [Record<string, string>]
  one.resume()
  return Number(headers[':status'])
}

t.test('a field of the body decides, and the upstream gets what was judged', async t => {
  const running = await deciding(t, small)
  const body = '{ "amount" : 999.5,\n"note":"ä\\u00e4" }'
  const bytes = Buffer.from(body).toString('latin1')
  t.equal((await call(running, post(bytes).replace(/length: \d+/, `length: ${bytes.length}`))).status, 200)
  t.equal(running.echo.requests[0]?.body, bytes)
  t.same(
    running.echo.requests[0]?.headers.filter(([name]) => /length|encoding/.test(name)),
    [['content-length', String(bytes.length)]]
  )
  t.same(await call(running, post('{"amount":1000}')), { status: 403, reason: 'policy.denied' })
  t.same(await call(running, post('{"amount":"1"}')), { status: 403, reason: 'policy.error' })
  t.same(await call(running, post('{"sum":1}')), { status: 403, reason: 'policy.error' })
  t.equal(running.echo.requests.length, 1, 'nobody else was asked')
  const [passed, denied] = await running.recorder.ended(4)
  t.match(passed, { status: 200, reason: null, bytesIn: bytes.length })
  t.match(denied, { status: 403, plugin: 'authorize', detail: 'the expression is false', bytesIn: 0 })
  const denials =
    'sallyport_decisions_total{route="all",plugin="authorize",verdict="deny",reason="policy.denied"}'
  t.equal(await running.metric(denials), 1)
  t.equal(heldBytes(), 0)
})

t.test('a policy that looks at bodies which nobody reads is refused at its line', async t => {
  for (const [uses, message] of [
    [
      `{ authorize: { allow: '!has(request.body)' } }`,
      /:13:38 {2}.*authorize\.allow {2}request\.body is not read here .* {2}add body: /
    ],
    [
      `{ authorize: { allow: 'true', body: {} } }`,
      /:13:\d+ {2}.*authorize\.body {2}the expression does not look at .* {2}remove body/
    ],
    [
      small.replace('1Ki', '2Mi'),
      /:13:\d+ {2}.*authorize\.body\.maxSize {2}no body of this size is read {2}write a size/
    ]
  ] as const)
    await t.rejects(deciding(t, uses), { message })
  const route = small.replace('{ authorize', '[{ authorize').replace(/$/, ']')
  for (const protocol of ['grpc', 'websocket'])
    await t.rejects(
      buildGateway(
        t,
        `${listeners}
upstreams: { backend: { url: "http://127.0.0.1:9", protocol: ${protocol === 'grpc' ? 'h2c' : 'http1'} } }
routes: { all: { match: { protocol: ${protocol}, path: /a/* }, public: true, upstream: backend, plugins: ${route} } }
`
      ),
      { message: new RegExp(`authorize\\.body  this route has protocol: ${protocol}`) }
    )
})

t.test('a body without a length is read to its end, goes up with its length, and is capped', async t => {
  const running = await deciding(t, small)
  const client = rawClient(t, running.port)
  client.send(chunkedHead)
  for (const text of ['{"amo', 'unt"', ':1', '}']) client.send(chunk(text))
  client.send('0\r\n\r\n')
  t.equal((await client.next()).status, 200)
  t.equal(running.echo.requests[0]?.body, '{"amount":1}')
  t.match(running.echo.requests[0]?.head, /content-length: 12\r\n/i, 'which is known by now')
  t.notMatch(running.echo.requests[0]?.head, /transfer-encoding/i)
  // The end of it never comes, and need not.
  const endless = rawClient(t, running.port)
  endless.send(chunkedHead + chunk(`{"note":"${'x'.repeat(2000)}`))
  t.match(await endless.next(), { status: 413, headers: { connection: 'close' } })
  await endless.closed
  t.equal(running.echo.requests.length, 1)
  const [passed, refused] = await running.recorder.ended(2)
  t.match(passed, { bytesIn: 12 })
  t.match(refused, { reason: 'protocol.size', bytesIn: 0 })
})

t.test('what is too large is refused by its length, without waiting for it', async t => {
  const running = await deciding(t, small)
  const client = rawClient(t, running.port)
  client.send(post('').replace('length: 0', 'length: 1025'))
  t.match(await client.next(), { status: 413, headers: { connection: 'close' } })
  const exact = `{"amount":1,"note":"${'x'.repeat(1024 - 22)}"}`
  t.equal(exact.length, 1024)
  t.equal((await call(running, post(exact))).status, 200)
  const less = await deciding(t, small.replace('1Ki', '4Ki'), { route: 'maxBody: 1Ki' })
  t.same(await call(less, post(`${exact} `)), { status: 413, reason: 'protocol.size' })
})

t.test('Expect: 100-continue is answered when the body is wanted, and not before a refusal', async t => {
  const running = await deciding(t, small)
  const body = '{"amount":1}'
  const client = rawClient(t, running.port)
  client.send(post(body, 'expect: 100-continue\r\n').slice(0, -body.length))
  t.equal((await client.next()).status, 100)
  client.send(body)
  t.equal((await client.next()).status, 200)
  t.equal(running.echo.requests[0]?.body, body)
  for (const [from, to, status] of [
    ['length: 12', 'length: 9999', 413],
    ['application/json', 'text/plain', 415]
  ] as const) {
    const refused = rawClient(t, running.port)
    refused.send(post(body, 'expect: 100-continue\r\n').slice(0, -body.length).replace(from, to))
    t.equal((await refused.next()).status, status)
  }
})

t.test('without a body there is no request.body, whatever the method', async t => {
  const running = await deciding(
    t,
    `{ authorize: { body: {}, allow: '!has(request.body) || request.body.amount < 1000' } }`
  )
  for (const method of ['GET', 'HEAD', 'POST', 'DELETE']) {
    const client = rawClient(t, running.port, () => method === 'HEAD')
    client.send(`${method} /orders HTTP/1.1\r\nhost: a\r\n\r\n`)
    t.equal((await client.next()).status, 200, method)
  }
  // Chunks of nothing are nothing.
  t.equal((await call(running, `${chunkedHead}0\r\n\r\n`)).status, 200)
  t.same(await call(running, post('null')), { status: 403, reason: 'policy.error' }, 'null is something')
  const needing = await deciding(t, small)
  t.same(await call(needing, 'GET / HTTP/1.1\r\nhost: a\r\n\r\n'), { status: 403, reason: 'policy.error' })
})

t.test('a GET or HEAD that has a body is judged by it', async t => {
  const running = await deciding(t, small)
  for (const method of ['GET', 'HEAD', 'DELETE', 'OPTIONS', 'PROPFIND'])
    for (const [amount, status] of [
      [1, 200],
      [1000, 403]
    ]) {
      const client = rawClient(t, running.port, () => method === 'HEAD')
      client.send(post(`{"amount":${amount}}`).replace('POST', method))
      t.equal((await client.next()).status, status, method)
    }
  t.same(
    running.echo.requests.map(({ body }) => body),
    Array(5).fill('{"amount":1}')
  )
})

t.test('whoever may not come in is not asked for the body', async t => {
  const running = await deciding(
    t,
    `{ authorize: { scopes: [pay], body: { maxSize: 1Ki }, allow: 'request.body.amount < 1000' } }`
  )
  const client = rawClient(t, running.port)
  client.send(post('{"amount":1}', 'expect: 100-continue\r\n').slice(0, -12))
  t.equal((await client.next()).status, 403)
})

t.test('several plugins share one reading, each with its own bound', async t => {
  const custom = plugin(
    'transform',
    `route.addHook('onRequest', async request => {
      const { value, fault } = await request.gateway.readJson(4096)
      if (fault !== null) route.gateway.deny(fault.reason, fault.options)
      const [less, again] = await Promise.all([request.gateway.readJson(100), request.gateway.readJson(8192)])
      request.gateway.upstreamHeaders = {
        'x-amount': String(value.amount), 'x-less': less.fault.reason, 'x-same': String(again.value === value)
      }
    })`
  )
  const shadow = `{ authorize: { mode: shadow, body: { maxSize: 1Ki }, allow: 'request.body.amount < 5' } }`
  const larger = small.replace('1Ki', '2Ki')
  const uses = `${shadow}, ${larger}, ${larger.replace('1000', '500')}, tell`
  const running = await deciding(t, uses, { files: { 'tell.mjs': custom } })
  const body = (amount: number) => `{"note":"${'x'.repeat(1200)}","amount":${amount}}`
  t.equal((await call(running, post(body(499)))).status, 200)
  const got = Object.fromEntries(running.echo.requests[0]!.headers)
  t.match(got, { 'x-amount': '499', 'x-less': 'protocol.size', 'x-same': 'true' })
  const pieces = [...body(499)].map(chunk).join('')
  t.equal((await call(running, `${chunkedHead}${pieces}0\r\n\r\n`)).status, 200)
  t.equal(running.echo.requests[1]?.body, body(499))
  t.same(await call(running, post(body(999))), { status: 403, reason: 'policy.denied' })
  const shadows =
    'sallyport_decisions_total{route="all",plugin="authorize",verdict="shadow",reason="protocol.size"}'
  await running.recorder.ended(3)
  t.equal(await running.metric(shadows), 3)
})

t.test(
  'in shadow mode what cannot be judged is counted, and passes as it is while it still comes',
  async t => {
    const running = await deciding(t, small.replace('{ body', '{ mode: shadow, body'))
    const client = rawClient(t, running.port)
    client.send(chunkedHead + chunk('x'.repeat(2000)))
    while (!running.echo.connections[0]?.includes('x'.repeat(2000))) await new Promise(setImmediate)
    client.send(`${chunk('y'.repeat(50_000))}0\r\n\r\n`)
    t.equal((await client.next()).status, 200)
    const sent = running.echo.requests[0]?.body.replaceAll(/[^xy]/g, '')
    t.equal(sent, 'x'.repeat(2000) + 'y'.repeat(50_000))
    t.equal((await call(running, post('{"amount":1,}'))).status, 200)
    t.equal((await call(running, post('z'.repeat(100_000)))).status, 200)
    t.equal((await call(running, post('{"amount":2000}'))).status, 200)
    t.same(
      running.echo.requests.slice(1).map(({ body }) => body.length),
      [13, 100_000, 15]
    )
    const shadows = (reason: string) =>
      running.metric(
        `sallyport_decisions_total{route="all",plugin="authorize",verdict="shadow",reason="${reason}"}`
      )
    t.equal(await shadows('protocol.size'), 2)
    t.equal(await shadows('request.malformed'), 1)
    t.equal(await shadows('policy.denied'), 1)
    t.match(
      (await running.recorder.ended(4)).map(({ bytesIn }) => bytesIn),
      [52_000, 13, 100_000, 15]
    )
    t.equal(heldBytes(), 0)
  }
)

t.test('in shadow mode maxBody still bounds what goes up', async t => {
  const shadow = small.replace('{ body: { maxSize: 1Ki', '{ mode: shadow, body: { maxSize: 4Ki')
  const running = await deciding(t, shadow, { route: 'maxBody: 2Ki' })
  t.same(await call(running, chunkedHead + chunk('x'.repeat(2049))), { status: 413, reason: 'protocol.size' })
  t.equal(running.echo.requests.length, 0)
})

t.test('the same over HTTP/2', async t => {
  const running = await deciding(t, small)
  const passes = stream(t, running)
  for (const text of ['{"amo', 'unt"', ':1', '}']) passes.write(text)
  passes.end()
  t.equal(await statusOf(passes), 200)
  t.equal(running.echo.requests[0]?.body, '{"amount":1}')
  const denied = stream(t, running, { 'content-length': 15 })
  denied.end('{"amount":1000}')
  t.equal(await statusOf(denied), 403)
  const endless = stream(t, running)
  endless.write('x'.repeat(2000))
  t.equal(await statusOf(endless), 413)
  const expecting = stream(t, running, { expect: '100-continue' })
  await once(expecting, 'continue')
  expecting.end('{"amount":2}')
  t.equal(await statusOf(expecting), 200)
  const other = stream(t, running, { 'content-type': 'text/plain', expect: '100-continue' })
  t.equal(await statusOf(other), 415)
  t.equal(running.echo.requests.length, 2)
  await running.recorder.ended(5)
  t.equal(heldBytes(), 0)
})

t.test('a body that does not come to its end in time is 408', async t => {
  const running = await deciding(t, small, { top: 'limits: { requestTimeout: 1s, headerTimeout: 1s }' })
  const client = rawClient(t, running.port)
  client.send(post('{"amount":1}').slice(0, -1))
  const slow = stream(t, running)
  slow.write('{"amount":')
  const [one, other] = await Promise.all([client.next(), statusOf(slow)])
  t.equal(one.status, 408)
  t.equal(other, 408)
  t.equal(running.echo.requests.length, 0)
  await running.recorder.ended(2)
  t.equal(heldBytes(), 0)
})

t.test('when bodies fill the memory that is for them, no more are taken', async t => {
  const running = await deciding(t, small)
  const all = 64 * 1024 * 1024
  hold(all)
  t.teardown(() => release(all))
  t.same(await call(running, post('{"amount":1}')), { status: 503, reason: 'gateway.overloaded' })
  release(all)
  hold(0)
  t.equal((await call(running, post('{"amount":1}'))).status, 200)
  hold(all)
})

t.test('a connection that cannot be made is made to another endpoint, and gets the body', async t => {
  const echo = await echoUpstream(t)
  const running = await buildGateway(
    t,
    `upstreams:
  backend:
    endpoints: ["http://127.0.0.1:9", "${echo.url}"]
    retries: { attempts: 1, on: [connect-failure] }
routes: { all: { match: { path: /* }, public: true, upstream: backend, plugins: [${small}] } }
`
  )
  for (let at = 0; at < 4; at++) t.equal((await call(running, post('{"amount":1}'))).status, 200)
  t.same(
    echo.requests.map(({ body }) => body),
    Array(4).fill('{"amount":1}')
  )
})

t.test('an upstream of HTTP/2 gets it too, whole or as it comes', async t => {
  const bodies: string[] = []
  const { url } = await http2Upstream(t, async (request, response) => {
    bodies.push(await text(request))
    response.writeHead(200).end()
  })
  const shadow = small.replace('{ body', '{ mode: shadow, body')
  const running = await proxying(t, url, { more: 'protocol: h2c', uses: `${shadow}`, top: listeners })
  t.equal((await call(running, post('{"amount":1}'))).status, 200)
  const client = rawClient(t, running.port)
  client.send(chunkedHead + chunk('x'.repeat(1500)))
  while (heldBytes() > 0) await new Promise(setImmediate)
  client.send(`${chunk('y'.repeat(50_000))}0\r\n\r\n`)
  t.equal((await client.next()).status, 200)
  t.same(bodies, ['{"amount":1}', 'x'.repeat(1500) + 'y'.repeat(50_000)])
})

t.test('requests that follow one another on a connection keep their own bodies', async t => {
  const running = await deciding(t, small)
  const client = rawClient(t, running.port)
  const bodies = [1, 2, 3].map(amount => `{"amount":${amount}}`)
  client.send(bodies.map(body => post(body)).join('') + post('{"amount":1000}'))
  const statuses: number[] = []
  for (let at = 0; at < 4; at++) statuses.push((await client.next()).status)
  t.same(statuses, [200, 200, 200, 403])
  t.same(running.echo.requests.map(({ body }) => body).sort(), bodies)
})

t.test('a client that leaves while its body is awaited is no decision', async t => {
  for (const uses of [small, small.replace('{ body', '{ mode: shadow, body')]) {
    const running = await deciding(t, uses)
    const client = rawClient(t, running.port)
    client.send(post('{"amount":1}').slice(0, -1))
    const one = stream(t, running)
    one.write('{"amount":')
    while (heldBytes() < 2) await new Promise(setImmediate)
    client.reset()
    // Not `close`, by which Node ends the body first.
    one.session?.destroy()
    const outcomes = await running.recorder.ended(2)
    t.match(outcomes, [
      { reason: 'client.aborted', plugin: null },
      { reason: 'client.aborted', plugin: null }
    ])
    t.equal(heldBytes(), 0)
    t.equal(running.echo.requests.length, 0)
    const text = await (await fetch(`${running.admin}/metrics`)).text()
    t.notMatch(text, /decisions_total\{route="all",plugin="authorize",verdict="(deny|shadow)"/)
  }
})
