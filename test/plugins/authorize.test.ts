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

t.test('request.body is for expressions that have it read, and for nobody else', async t => {
  const body = { maxSize: 1024 }
  t.same(check({ allow: 'request.body.amount < 1000', body }), [])
  t.match(check({ allow: 'true &&\n request.body.amount < 1000' }), [
    {
      path: ['allow'],
      message: 'request.body is not read here (line 2, column 2 of the expression)',
      remedy: /^add body: /
    }
  ])
  // Without a body to see, these would always be true, and nobody would notice.
  for (const allow of ['!has(request.body)', '!has(request.body.admin)', 'true || request["body"] == 1'])
    t.match(check({ allow }), [{ message: /^request.body is not read here/ }], allow)
  for (const allow of [
    'cel.bind(r, request, !has(r.body))',
    '[request].exists(r, !has(r.body))',
    'dyn(request).body == 1'
  ])
    t.match(check({ allow }), [{ message: /^request stands here without a field/ }], allow)
  t.match(check({ allow: 'request.bodi.amount < 1000' }), [{ message: /No such key: bodi/ }])
  t.match(check({ allow: 'request.method == "GET"', body }), [
    { path: ['body'], message: /does not look at/ }
  ])
  t.match(check({ scopes: ['a'], body }), [{ path: ['body'], message: /no expression/ }])
  for (const maxSize of [0, 1_048_577])
    t.match(check({ allow: 'request.body == 1', body: { maxSize } }), [{ path: ['body', 'maxSize'] }])
  for (const protocol of ['grpc', 'websocket'] as const) {
    const options = { allow: 'request.body == 1', body }
    const route = { match: { protocol } } as Parameters<NonNullable<typeof plugin.check>>[2]
    t.match(plugin.check!(options, config, route), [{ path: ['body'], message: /this route has protocol/ }])
    const all = { routes: { web: { match: { protocol: 'http' } }, other: route } } as unknown as typeof config
    t.match(plugin.check!(options, all, null), [{ path: ['body'], message: /route other has protocol/ }])
  }
})

t.test('inside a loop a body is compared with, and never searched', async t => {
  const body = { maxSize: 1024 }
  for (const allow of [
    'request.body.a.all(i, i in request.body.b)',
    'request.body.a.all(i, request.body.b.contains(i))',
    'request.body.a.exists(i, size(request.body.b) > i)',
    'request.body.a.exists(i, request.body.b[i] == 1)',
    'request.body.a.map(i, request.body.b + [i]) == []',
    'request.body.a.exists(i, i == (request.body.b + "x"))',
    'identity.groups.exists(i, i in request["body"])',
    'identity.groups.exists(i, i in request[identity.subject])'
  ])
    t.match(check({ allow, body }), [{ path: ['allow'], message: /searched inside a loop/ }], allow)
  t.match(check({ allow: 'cel.bind(b, request.body, b.a.all(i, i in b.c))', body }), [
    { message: /gets another name/ }
  ])
  for (const allow of [
    'request.body.a.all(i, i.currency == request.body.currency && request.body.limits.each >= i.sum)',
    'request.body.a.all(i, i.sku in ["a", "b"])',
    'identity.groups.all(i, i != "x") && "a" in request.body.b'
  ])
    t.same(check({ allow, body }), [], allow)
})

t.test('at least one rule is needed', async t => {
  t.match(check({ mode: 'shadow' }), [{ path: [], message: 'there is nothing to decide by' }])
  t.same(check({ groups: ['a'] }), [])
})

t.test('a route with a wrong expression cannot be built', async t => {
  await t.rejects(testRoute(t, [[plugin, { allow: 'nope' }]]), { message: /Unknown variable: nope/ })
})
