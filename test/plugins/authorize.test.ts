import t from 'tap'
import authorize, { type AuthorizeOptions } from '../../plugins/authorize.ts'
import type { Identity } from '../../src/identity.ts'
import type { GatewayPlugin } from '../../src/plugin/define.ts'
import { identity, type RouteSettings, testRoute } from '../fixtures/route.ts'

const plugin: GatewayPlugin<AuthorizeOptions> = authorize
const config = {} as Parameters<NonNullable<typeof plugin.check>>[1]

function check(options: AuthorizeOptions) {
  return plugin.check!(options, config)
}

const ann: Identity = identity({
  email: 'ann@example.com',
  scopes: ['orders:read', 'orders:write'],
  groups: ['ops'],
  roles: ['reader'],
  claims: { tenant: 'acme', level: 3, nested: { deep: ['x', 'y'] }, on: true }
})

t.test('what an expression sees', async t => {
  const settings: RouteSettings = {
    name: 'orders-read',
    identity: ann,
    clientIp: '::ffff:10.1.2.3',
    wrapRequest: gateway => ({ ...gateway, rpc: { service: 'shop.v1.Orders', method: 'Get' } })
  }
  const init = { headers: { 'x-version': '2' } }
  for (const [expression, status] of [
    ['true', 200],
    ['false', 403],
    ['request.method == "GET"', 200],
    ['request.path == "/orders/7"', 200],
    ['request.path.startsWith("/admin")', 403],
    ['request.query == "a=1&b=%20"', 200],
    ['request.host == "127.0.0.1"', 200],
    ['request.headers["x-version"] == "2"', 200],
    ['has(request.headers.authorization)', 403],
    ['identity.kind == "jwt" && identity.subject == "ann"', 200],
    ['identity.issuer == "https://idp.example.com"', 200],
    ['identity.email.endsWith("@example.com")', 200],
    ['"orders:read" in identity.scopes', 200],
    ['"admins" in identity.groups || "reader" in identity.roles', 200],
    ['identity.claims.tenant == "acme" && identity.claims.level >= 3', 200],
    ['identity.claims.nested.deep.exists(name, name == "y")', 200],
    ['identity.claims.on', undefined],
    ['identity.claims.on == true', 200],
    ['has(identity.claims.missing) && identity.claims.missing == 1', 403],
    ['rpc.service == "shop.v1.Orders" && rpc.method == "Get"', 200],
    ['client.ip == "10.1.2.3"', 200],
    ['inCidr(client.ip, "10.0.0.0/8")', 200],
    ['inCidr(client.ip, "2001:db8::/32")', 403],
    ['route.name == "orders-read"', 200]
  ] as const) {
    if (status === undefined) {
      t.match(check({ allow: expression }), [
        { path: ['allow'], message: 'the expression gives dyn, not bool' }
      ])
      continue
    }
    t.same(check({ allow: expression }), [], expression)
    const { url } = await testRoute(t, [[plugin, { allow: expression }]], settings)
    const answer = await fetch(`${url}/orders/7?a=1&b=%20`, init)
    t.equal(answer.status, status, expression)
  }
})

t.test('a denied request learns nothing of the policy', async t => {
  const { url, outcomes, proxied } = await testRoute(
    t,
    [[plugin, { allow: 'identity.claims.tenant == "secret-tenant"' }]],
    {
      identity: ann
    }
  )
  const answer = await fetch(`${url}/`)
  t.same(await answer.json(), {
    title: 'Not allowed',
    status: 403,
    code: 'SP_POLICY_DENIED',
    reason: 'policy.denied'
  })
  t.equal(proxied.length, 0)
  t.match(outcomes, [{ reason: 'policy.denied', detail: 'the expression is false' }])
})

t.test('an expression that fails denies and the log says why', async t => {
  for (const [allow, detail] of [
    ['identity.claims.missing == "x"', /No such key: missing/],
    ['identity.claims.level.startsWith("3")', /startsWith/],
    ['identity.claims.tenant < 3', /./],
    ['inCidr(client.ip, identity.claims.tenant)', /"acme" is not a network/],
    ['identity.claims.toString == "x"', /No such key/],
    ['!identity.claims.tenant', /./]
  ] as const) {
    t.same(check({ allow }), [], allow)
    const { url, outcomes, proxied } = await testRoute(t, [[plugin, { allow }]], { identity: ann })
    const ended = fetch(`${url}/`)
    t.match(await (await ended).json(), { reason: 'policy.error', status: 403 }, allow)
    t.equal(proxied.length, 0)
    t.match(outcomes[0]?.detail, detail, allow)
  }
})

t.test('all scopes are needed; WWW-Authenticate names them', async t => {
  const { url } = await testRoute(t, [[plugin, { scopes: ['orders:read', 'orders:admin'] }]], {
    identity: ann
  })
  const answer = await fetch(`${url}/`)
  t.equal(answer.status, 403)
  t.match(await answer.json(), { reason: 'scope.missing' })
  const challenge = 'Bearer error="insufficient_scope", scope="orders:read orders:admin"'
  t.equal(answer.headers.get('www-authenticate'), challenge)
  const enough = await testRoute(t, [[plugin, { scopes: ['orders:read', 'orders:write'] }]], {
    identity: ann
  })
  t.equal((await fetch(`${enough.url}/`)).status, 200)
})

t.test('any group and any role are enough, and every kind of rule must agree', async t => {
  for (const [options, status] of [
    [{ groups: ['admins', 'ops'] }, 200],
    [{ groups: ['admins'] }, 403],
    [{ roles: ['writer', 'reader'] }, 200],
    [{ roles: ['writer'] }, 403],
    [{ groups: ['ops'], roles: ['writer'] }, 403],
    [{ groups: ['ops'], allow: 'false' }, 403],
    [{ groups: ['ops'], scopes: ['orders:read'], roles: ['reader'], allow: 'true' }, 200]
  ] as const) {
    const { url } = await testRoute(t, [[plugin, options]], { identity: ann })
    t.equal((await fetch(`${url}/`)).status, status, JSON.stringify(options))
  }
})

t.test('shadow mode counts who would be refused and refuses nobody', async t => {
  for (const [options, shadows] of [
    [{ allow: 'false' }, ['policy.denied']],
    [{ allow: 'identity.claims.missing == 1' }, ['policy.error']],
    [{ scopes: ['orders:admin'] }, ['scope.missing']],
    [{ allow: 'true' }, []]
  ] as const) {
    const route = await testRoute(t, [[plugin, { ...options, mode: 'shadow' }]], { identity: ann })
    t.equal((await fetch(`${route.url}/`)).status, 200)
    t.same(route.shadows, shadows)
  }
})

t.test('without an identity nobody passes, but a public route may decide by the request', async t => {
  const closed = await testRoute(t, [[plugin, { allow: 'true' }]], { identity: null })
  t.equal((await fetch(`${closed.url}/`)).status, 403)
  const open = await testRoute(
    t,
    [[plugin, { allow: 'request.method == "GET" && identity.subject == ""' }]],
    {
      identity: null,
      public: true
    }
  )
  t.equal((await fetch(`${open.url}/`)).status, 200)
  const scoped = await testRoute(t, [[plugin, { scopes: ['a'] }]], { identity: null, public: true })
  t.equal((await fetch(`${scoped.url}/`)).status, 403)
})

t.test('a wrong expression is refused when the configuration is read, with its place', async t => {
  for (const [allow, message] of [
    ['identity.scope == "x"', /No such key: scope \(line 1, column 10 of the expression\)/],
    ['true &&\n  user == "ann"', /Unknown variable: user \(line 2, column 3 of the expression\)/],
    ['1 +', /Unexpected token: EOF \(line 1, column 4/],
    ['identity.scopes', /gives list<string>, not bool/],
    ['"x"', /gives string, not bool/],
    ['request.method == 1', /no such overload/],
    ['identity.email == null', /no such overload/],
    ['inCidr(client.ip, "10.0.0.0/33")', /"10.0.0.0\/33" is not a network \(line 1, column 19/],
    ['inCidr(client.ip, "10.0.0.0")', /is not a network/],
    ['inCidr(client.ip, 10)', /overload/],
    ['__proto__ == 1', /./],
    ['process.exit()', /Unknown variable: process|./]
  ] as const) {
    const problems = check({ allow })
    t.equal(problems.length, 1, allow)
    t.match(problems[0], { path: ['allow'], message, remedy: /./ }, allow)
  }
})

t.test('patterns that could backtrack are refused, wherever they hide', async t => {
  for (const allow of [
    'request.path.matches("(a+)+$")',
    'identity.scopes.exists(s, s.matches("x"))',
    'identity.scopes.map(s, s.matches("x"), s) == ["x"]',
    'identity.scopes.filter(s, s.matches("x")).size() > 0',
    'cel.bind(p, request.path, p.matches("x"))',
    'true ? true : "a".matches("b")',
    '[request.path.matches("x")][0]',
    '{"a": request.path.matches("x")}["a"]',
    '!request.path.matches("x")',
    'identity.claims.pattern.matches("x")',
    'has(request.headers.a) && request.headers["b"].matches(request.headers["c"])'
  ]) {
    t.match(check({ allow }), [{ message: /matches is not available/, remedy: /startsWith/ }], allow)
  }
})

t.test('work stays in proportion to the request: no loops in loops, no endless expressions', async t => {
  t.match(check({ allow: 'identity.scopes.exists(a, identity.groups.exists(b, a == b))' }), [
    { message: /exists stands inside another loop/ }
  ])
  t.match(check({ allow: 'identity.scopes.exists(a, a in request.query.split("&"))' }), [
    { message: /split stands inside another loop/ }
  ])
  t.same(check({ allow: 'identity.scopes.filter(a, a != "x").exists(a, a in identity.groups)' }), [])
  t.match(check({ allow: Array(600).fill('true').join(' || ') }), [{ message: /Exceeded max/ }])
  t.match(check({ allow: `${'('.repeat(100)}true${')'.repeat(100)}` }), [{ message: /Exceeded max/ }])
})

t.test('at least one rule is needed', async t => {
  t.match(check({ mode: 'shadow' }), [{ path: [], message: 'there is nothing to decide by' }])
  t.same(check({ groups: ['a'] }), [])
})

t.test('a route with a wrong expression cannot be built', async t => {
  await t.rejects(testRoute(t, [[plugin, { allow: 'nope' }]]), { message: /Unknown variable: nope/ })
})
