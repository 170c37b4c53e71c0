import fc from 'fast-check'
import t from 'tap'
import { localIssuer } from '../fixtures/issuer.ts'
import { buildGateway, echo } from '../helper.ts'

const policies = [
  '{ scopes: ["orders:read"] }',
  '{ groups: [admins, ops] }',
  '{ roles: [reader] }',
  "{ allow: 'identity.claims.level > 2' }",
  '{ allow: \'request.headers["x-team"] == "a" || request.path.endsWith("/open")\' }',
  "{ body: { maxSize: 1Ki }, allow: 'request.body.amount < 1000' }",
  '{ body: { maxSize: 1Ki }, scopes: ["orders:read"], allow: \'!has(request.body) || request.body.items.all(i, i.qty < 3)\' }',
  '{ scopes: ["orders:read"], groups: [admins], allow: \'request.method == "GET" && inCidr(client.ip, "127.0.0.0/8")\' }'
]

function json(value: unknown): string {
  return JSON.stringify(value)
}

/** The same policy on two routes: one asks it, one only counts. */
function configuration(issuer: string, url: string): string {
  const routes = policies.flatMap((policy, at) => {
    const shadow = policy.replace('{ ', '{ mode: shadow, ')
    const route = (name: string, path: string, options: string) =>
      `  ${name}: { match: { path: ${path}/* }, upstream: backend, rewrite: { path: "/p${at}/*" }, plugins: [access-log, { jwt: { issuer: corp } }, { authorize: ${options} }] }`
    return [route(`enforced-${at}`, `/p${at}`, policy), route(`shadowed-${at}`, `/s${at}`, shadow)]
  })
  return `issuers: { corp: { issuer: "${issuer}", audience: [orders-api], claims: { roles: roles } } }
upstreams: { backend: { url: "${url}" } }
routes:
${routes.join('\n')}
`
}

t.test('shadow mode would deny exactly what enforce denies, for the same reasons', async t => {
  const issuer = await localIssuer(t)
  const { url } = await echo(t)
  const running = await buildGateway(t, configuration(issuer.url, url))
  const tokens = await Promise.all(
    [
      {},
      { scope: 'other' },
      { groups: ['admins'] },
      { groups: ['ops', 'x'], level: 3 },
      { roles: ['reader'], level: 2 },
      { level: 'high', groups: ['admins'], roles: ['writer'] }
    ].map(claims => issuer.sign(claims))
  )
  const requests = fc.record({
    policy: fc.nat({ max: policies.length - 1 }),
    token: fc.constantFrom(...tokens),
    method: fc.constantFrom('GET', 'POST'),
    path: fc.constantFrom('/7', '/open', '/open/7'),
    team: fc.constantFrom(null, 'a', 'b'),
    type: fc.constantFrom('application/json', 'application/json; charset=utf-8', 'text/plain'),
    body: fc.oneof(
      { weight: 1, arbitrary: fc.constant(null) },
      { weight: 3, arbitrary: fc.record({ amount: fc.constantFrom(1, 999, 1000, '1') }).map(json) },
      {
        weight: 3,
        arbitrary: fc.record({ items: fc.array(fc.record({ qty: fc.nat({ max: 3 }) })) }).map(json)
      },
      { weight: 2, arbitrary: fc.constantFrom('{"amount":1,"amount":2}', '{"amount":1', '"x"', '[]') },
      { weight: 1, arbitrary: fc.constant(`{"amount":1,"note":"${'x'.repeat(1024)}"}`) }
    )
  })
  const denied = new Map<string, number>()
  const property = fc.asyncProperty(requests, async ({ policy, token, method, path, team, type, body }) => {
    const headers = { authorization: `Bearer ${token}`, ...(team === null ? {} : { 'x-team': team }) }
    const init: RequestInit = { method, headers }
    if (method === 'POST' && body !== null) {
      init.headers = { ...headers, 'content-type': type }
      init.body = body as string
    }
    const enforced = await fetch(`${running.url}/p${policy}${path}`, init)
    const shadowed = await fetch(`${running.url}/s${policy}${path}`, init)
    const problem = (await enforced.json()) as { reason?: string; code?: string; status?: number }
    await shadowed.text()
    if (shadowed.status !== 200) throw new Error(`shadow refuses with ${shadowed.status}`)
    if (enforced.status === 200) return
    if (problem.status !== enforced.status || problem.code === undefined)
      throw new Error('no problem document')
    const key = `${policy} ${problem.reason}`
    denied.set(key, (denied.get(key) ?? 0) + 1)
  })
  await fc.assert(property, { numRuns: 600, endOnFailure: true })

  const text = await (await fetch(`${running.admin}/metrics`)).text()
  const counted = (route: string, verdict: string) => {
    const pattern = new RegExp(
      `^sallyport_decisions_total\\{route="${route}-(\\d)",plugin="authorize",verdict="${verdict}",reason="([a-z._]+)"\\} (\\d+)$`,
      'gm'
    )
    return new Map([...text.matchAll(pattern)].map(([, at, reason, n]) => [`${at} ${reason}`, Number(n)]))
  }
  const sorted = (map: Map<string, number>) => [...map].sort(([a], [b]) => (a < b ? -1 : 1))
  t.same(sorted(counted('enforced', 'deny')), sorted(denied), 'the metric has the reasons of the problems')
  t.same(sorted(counted('shadowed', 'shadow')), sorted(denied), 'and shadow has those of enforce')
  t.same(counted('shadowed', 'deny').size, 0)

  const logged = new Map<string, number>()
  for (const { route, reason, refusedBy } of running.lines) {
    const at = /^enforced-(\d)$/.exec(String(route))?.[1]
    if (at === undefined || reason === null || reason === undefined) continue
    t.equal(refusedBy, 'authorize')
    logged.set(`${at} ${reason}`, (logged.get(`${at} ${reason}`) ?? 0) + 1)
  }
  t.same(sorted(logged), sorted(denied), 'and so has the log')
  for (const reason of [
    'scope.missing',
    'policy.denied',
    'policy.error',
    'protocol.content_type',
    'protocol.size',
    'request.malformed'
  ])
    t.ok(
      [...denied.keys()].some(key => key.endsWith(reason)),
      reason
    )
})
