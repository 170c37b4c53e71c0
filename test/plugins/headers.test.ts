import t from 'tap'
import headers, { type HeadersOptions } from '../../plugins/headers.ts'
import type { GatewayPlugin, RequestGateway } from '../../src/plugin/define.ts'
import { testRoute } from '../fixtures/route.ts'

const plugin: GatewayPlugin<HeadersOptions> = headers
const config = {} as Parameters<NonNullable<typeof plugin.check>>[1]

/** What the proxy would be told. */
async function told(t: Parameters<typeof testRoute>[0], ...all: HeadersOptions[]) {
  const seen: RequestGateway[] = []
  const { url } = await testRoute(
    t,
    all.map(options => [plugin, options] as const),
    {
      handler(request) {
        seen.push(request.gateway)
        return 'ok'
      }
    }
  )
  const answer = await fetch(`${url}/`)
  await fetch(`${url}/`)
  return { answer, first: seen[0]!, second: seen[1]! }
}

t.test('response headers are set, upstream headers are changed', async t => {
  const { answer, first, second } = await told(t, {
    request: { set: { 'X-Tenant': 'acme' }, remove: ['Cookie'] },
    response: { set: { 'X-Frame-Options': 'DENY' }, remove: ['Server'] }
  })
  t.equal(answer.headers.get('x-frame-options'), 'DENY')
  t.same(first.upstreamHeaders, { 'x-tenant': 'acme', cookie: null })
  t.same(first.removeResponseHeaders, ['server'])
  t.equal(first.upstreamHeaders, second.upstreamHeaders, 'made once, not per request')
  t.ok(Object.isFrozen(first.upstreamHeaders))
})

t.test('what is not asked for is not touched', async t => {
  const { first } = await told(t, { response: { set: { 'x-a': '1' } } })
  t.equal(first.upstreamHeaders, null)
  t.equal(first.removeResponseHeaders, null)
})

t.test('two entries on one route add up, the later one wins', async t => {
  const { answer, first } = await told(
    t,
    { request: { set: { 'x-a': '1', 'x-b': '1' } }, response: { set: { 'x-c': '1' }, remove: ['server'] } },
    { request: { set: { 'x-b': '2' }, remove: ['x-d'] }, response: { set: { 'x-c': '2' }, remove: ['via'] } }
  )
  t.same(first.upstreamHeaders, { 'x-a': '1', 'x-b': '2', 'x-d': null })
  t.same(first.removeResponseHeaders, ['server', 'via'])
  t.equal(answer.headers.get('x-c'), '2')
})

t.test("headers that are the gateway's or the connection's are refused, in every spelling", async t => {
  for (const name of [
    'Connection',
    'Transfer-Encoding',
    'Content-Length',
    'Host',
    'TE',
    'Trailer',
    'Upgrade',
    'Keep-Alive',
    'Proxy_Authorization'
  ]) {
    t.match(
      plugin.check!({ request: { set: { [name]: 'x' } } }, config),
      [{ path: ['request', 'set', name] }],
      name
    )
    t.match(
      plugin.check!({ request: { remove: ['x-a', name] } }, config),
      [{ path: ['request', 'remove', 1] }],
      name
    )
    t.match(
      plugin.check!({ response: { set: { [name]: 'x' } } }, config),
      [{ path: ['response', 'set', name] }],
      name
    )
  }
  for (const name of [
    'X-Forwarded-User',
    'x_forwarded_for',
    'x.forwarded.groups',
    'Forwarded',
    'X-Real-IP',
    'X-Sallyport-Identity',
    'X-HTTP-Method-Override'
  ]) {
    t.match(
      plugin.check!({ request: { set: { [name]: 'x' } } }, config),
      [{ message: /set by the gateway alone/ }],
      name
    )
  }
  t.same(
    plugin.check!({ request: { set: { 'x-tenant': 'a' } }, response: { remove: ['server'] } }, config),
    []
  )
})

t.test('a value that would break the message is refused', async t => {
  for (const value of ['a\r\nx-evil: 1', 'a\nb', 'a\0', 'snow\u2603']) {
    t.match(plugin.check!({ response: { set: { 'x-a': value } } }, config), [
      { path: ['response', 'set', 'x-a'] }
    ])
  }
})

t.test('a header that is set and removed is a mistake', async t => {
  t.match(plugin.check!({ request: { set: { 'X-A': '1' }, remove: ['x-a'] } }, config), [
    { message: 'X-A is set and removed' }
  ])
})
