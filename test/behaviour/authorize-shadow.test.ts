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
  '{ scopes: ["orders:read"], groups: [admins], allow: \'request.method == "GET" && inCidr(client.ip, "127.0.0.0/8")\' }'
]

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
    team: fc.constantFrom(null, 'a', 'b')
  })
  const denied = new Map<string, number>()
  const property = fc.asyncProperty(requests, async ({ policy, token, method, path, team }) => {
    const headers = { authorization: `Bearer ${token}`, ...(team === null ? {} : { 'x-team': team }) }
    const enforced = await fetch(`${running.url}/p${policy}${path}`, { method, headers })
    const shadowed = await fetch(`${running.url}/s${policy}${path}`, { method, headers })
    const problem = (await enforced.json()) as { reason?: string; code?: string; status?: number }
    await shadowed.text()
    if (shadowed.status !== 200) throw new Error(`shadow refuses with ${shadowed.status}`)
    if (enforced.status === 200) return
    if (problem.status !== 403 || problem.code === undefined) throw new Error('no problem document')
    const key = `${policy} ${problem.reason}`
    denied.set(key, (denied.get(key) ?? 0) + 1)
  })
  await fc.assert(property, { numRuns: 400, endOnFailure: true })

  const text = await (await fetch(`${running.admin}/metrics`)).text()
  const counted = (route: string, verdict: string) => {
    const pattern = new RegExp(
      `^sallyport_decisions_total\\{route="${route}-(\\d)",plugin="authorize",verdict="${verdict}",reason="([a-z.]+)"\\} (\\d+)$`,
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
  for (const reason of ['scope.missing', 'policy.denied', 'policy.error'])
    t.ok(
      [...denied.keys()].some(key => key.endsWith(reason)),
      reason
    )
})
