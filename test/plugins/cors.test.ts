import t from 'tap'
import cors, { type CorsOptions } from '../../plugins/cors.ts'
import type { GatewayPlugin, RequestGateway } from '../../src/plugin/define.ts'
import { testRoute, testRoutes } from '../fixtures/route.ts'

const plugin: GatewayPlugin<CorsOptions> = cors
const shop = 'https://shop.example.com'
const options: CorsOptions = {
  origins: [shop],
  credentials: true,
  maxAge: 600_000,
  methods: ['GET', 'PUT'],
  headers: ['x-a']
}

/** Refuses everybody: whatever is answered was answered before authentication. */
const closed: GatewayPlugin = {
  name: 'closed',
  phase: 'authenticate',
  schema: {},
  register(route) {
    route.addHook('onRequest', async () => {
      route.gateway.deny('token.missing')
    })
  }
}

function preflight(url: string, headers: Record<string, string> = {}) {
  return fetch(`${url}/orders`, {
    method: 'OPTIONS',
    headers: { origin: shop, 'access-control-request-method': 'PUT', ...headers }
  })
}

t.test('a true preflight is answered before authentication and goes no further', async t => {
  const { url, proxied } = await testRoute(t, [[closed], [plugin, options]])
  const answer = await preflight(url)
  t.equal(answer.status, 204)
  t.equal(answer.headers.get('access-control-allow-origin'), shop)
  t.equal(answer.headers.get('access-control-allow-credentials'), 'true')
  t.equal(answer.headers.get('access-control-allow-methods'), 'GET, PUT')
  t.equal(answer.headers.get('access-control-allow-headers'), 'x-a')
  t.equal(answer.headers.get('access-control-max-age'), '600')
  t.match(answer.headers.get('vary'), /\bOrigin\b/)
  t.equal(proxied.length, 0)
})

t.test('any other OPTIONS is authenticated like any request', async t => {
  const { url } = await testRoute(t, [[closed], [plugin, options]])
  for (const headers of [{}, { origin: shop }, { 'access-control-request-method': 'PUT' }]) {
    t.equal(
      (await fetch(`${url}/orders`, { method: 'OPTIONS', headers })).status,
      401,
      JSON.stringify(headers)
    )
  }
  const open = await testRoute(t, [[plugin, options]])
  t.equal((await fetch(`${open.url}/orders`, { method: 'OPTIONS', headers: { origin: shop } })).status, 200)
  t.equal(open.proxied.length, 1)
})

t.test('a preflight look-alike with another method is authenticated', async t => {
  const { url } = await testRoute(t, [[closed], [plugin, options]])
  for (const method of ['GET', 'POST', 'DELETE']) {
    const headers = { origin: shop, 'access-control-request-method': 'PUT' }
    t.equal((await fetch(`${url}/orders`, { method, headers })).status, 401, method)
  }
})

t.test('a preflight is told the methods of the route', async t => {
  const { url } = await testRoute(t, [[plugin, { origins: [shop] }]], { methods: ['GET', 'PATCH'] })
  const answer = await preflight(url)
  t.equal(answer.status, 204)
  t.equal(answer.headers.get('access-control-allow-methods'), 'GET, PATCH')
})

t.test('a site that is not listed gets no answer that a browser would take for a yes', async t => {
  const { url, proxied } = await testRoute(t, [[plugin, options]])
  for (const origin of [
    'https://evil.example',
    'https://shop.example.com.evil.example',
    'http://shop.example.com',
    'null',
    'HTTPS://SHOP.EXAMPLE.COM'
  ]) {
    const refused = await preflight(url, { origin })
    t.equal(refused.status, 403, origin)
    t.match(await refused.json(), { reason: 'protocol.origin' })
    t.equal(refused.headers.get('access-control-allow-origin'), null)
    t.match(refused.headers.get('vary'), /\bOrigin\b/)
    const answer = await fetch(`${url}/orders`, { headers: { origin } })
    t.equal(answer.headers.get('access-control-allow-origin'), null, origin)
  }
  t.equal(proxied.length, 5, 'plain requests pass: the browser keeps the answer to itself')
})

t.test('an ordinary answer tells the browser that the listed site may read it', async t => {
  const { url } = await testRoute(t, [
    [plugin, { origins: [shop, 'https://other.example'], exposeHeaders: ['x-total'] }]
  ])
  const answer = await fetch(`${url}/orders`, { headers: { origin: 'https://other.example' } })
  t.equal(answer.headers.get('access-control-allow-origin'), 'https://other.example')
  t.equal(answer.headers.get('access-control-expose-headers'), 'x-total')
  t.equal(answer.headers.get('access-control-allow-credentials'), null)
  const without = await fetch(`${url}/orders`)
  t.equal(without.headers.get('access-control-allow-origin'), null)
  t.match(without.headers.get('vary'), /\bOrigin\b/, 'or a cache would give this answer to a browser')
})

t.test('a refusal of a later plugin can be read by the listed site', async t => {
  const { url } = await testRoute(t, [[closed], [plugin, options]])
  const answer = await fetch(`${url}/orders`, { headers: { origin: shop } })
  t.equal(answer.status, 401)
  t.equal(answer.headers.get('access-control-allow-origin'), shop)
})

t.test('every site may call where the origin is *', async t => {
  const { url } = await testRoute(t, [[plugin, { origins: ['*'] }]])
  const answer = await preflight(url, {
    origin: 'https://anybody.example',
    'access-control-request-headers': 'x-b'
  })
  t.equal(answer.status, 204)
  t.equal(answer.headers.get('access-control-allow-origin'), '*')
  t.equal(answer.headers.get('access-control-allow-credentials'), null)
  t.equal(answer.headers.get('access-control-allow-headers'), 'x-b')
  t.match(answer.headers.get('vary'), /\bOrigin\b/)
})

t.test("the upstream's own opinion goes no further", async t => {
  let seen: RequestGateway | undefined
  const { url } = await testRoute(t, [[plugin, options]], {
    handler(request) {
      seen = request.gateway
      return 'ok'
    }
  })
  await fetch(`${url}/orders`)
  t.ok(seen?.removeResponseHeaders?.includes('access-control-allow-origin'))
})

t.test('two routes with cors do not clash, and one without it answers no preflight', async t => {
  const [a, b, c] = await testRoutes(t, [
    { uses: [[plugin, options]], settings: { name: 'a' } },
    { uses: [[plugin, { origins: ['https://b.example'] }]], settings: { name: 'b' } },
    { uses: [[closed]], settings: { name: 'c' } }
  ])
  t.equal((await preflight(a!.url)).status, 204)
  t.equal((await preflight(b!.url)).status, 403)
  t.equal((await preflight(b!.url, { origin: 'https://b.example' })).status, 204)
  t.equal((await preflight(c!.url)).status, 401)
})

t.test('* with credentials, or beside other origins, is refused', async t => {
  const config = {} as Parameters<NonNullable<typeof plugin.check>>[1]
  t.match(plugin.check!({ origins: ['*'], credentials: true }, config), [{ path: ['credentials'] }])
  t.match(plugin.check!({ origins: ['*', shop] }, config), [{ path: ['origins'] }])
  t.same(plugin.check!({ origins: ['*'] }, config), [])
  t.same(plugin.check!({ origins: [shop], credentials: true }, config), [])
})
