import { setTimeout as pause } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { Browser } from '../fixtures/browser.ts'
import { type Echo, echoUpstream } from '../fixtures/echo.ts'
import { startRedis } from '../fixtures/redis.ts'
import { env, issuerYaml, movableClock, type PersonalIssuer, personalIssuer } from '../fixtures/sign-in.ts'
import { skipWithout } from '../fixtures/tool.ts'
import { buildGateway, type RunningGateway } from '../helper.ts'

/** Who has signed in, and whose tokens are of known keys, goes on without the issuer for as long as the configuration says. */

interface Guarded {
  gateway: RunningGateway
  issuer: PersonalIssuer
  echo: Echo
  /** Statuses of so many calls with a token each, all of them different. */
  withTokens(count: number, header?: Record<string, unknown>): Promise<Set<number>>
  fetches(result: string): Promise<number>
}

async function guarded(t: Test, redis?: string, isUp = true): Promise<Guarded> {
  const echo = await echoUpstream(t)
  const issuer = await personalIssuer(t)
  if (!isUp) await issuer.kill()
  const yaml = `externalUrl: http://127.0.0.1
session: { secret: { env: SESSION_SECRET } }
${redis === undefined ? '' : 'redis: { url: { env: REDIS_URL } }\n'}issuers:
  ${issuerYaml('corp', issuer.url).replace('jwks: {', 'jwks: { cooldown: 1s,')}
upstreams: { backend: { url: "${echo.url}" } }
plugins: [access-log, metrics]
routes:
  console: { match: { hosts: [127.0.0.1], path: /* }, upstream: backend, plugins: [oidc: { issuer: corp }] }
  api: { match: { hosts: [127.0.0.1], path: /api/* }, upstream: backend, plugins: [jwt: { issuer: corp }] }
`
  const gateway = await buildGateway(t, yaml, {
    env: { ...env, ...(redis !== undefined && { REDIS_URL: redis }) }
  })
  await issuer.serve([gateway.url])
  issuer.tokenLife = 100
  let count = 0
  async function withToken(header: Record<string, unknown>): Promise<number> {
    const authorization = `Bearer ${issuer.sign({ jti: String(count++) }, header)}`
    return (await fetch(`${gateway.url}/api/1`, { headers: { authorization } })).status
  }
  return {
    gateway,
    issuer,
    echo,
    withTokens: async (many, header = {}) =>
      new Set(await Promise.all(Array.from({ length: many }, () => withToken(header)))),
    fetches: async result =>
      (await gateway.metric(`sallyport_jwks_fetches_total{issuer="corp",result="${result}"}`)) ?? 0
  }
}

function scriptOf({ gateway }: Guarded, browser: Browser): (count: number) => Promise<Set<number>> {
  const status = async () => (await browser.call(`${gateway.url}/a`)).status
  return async count => new Set(await Promise.all(Array.from({ length: count }, status)))
}

t.test(
  'an issuer that is killed costs nobody anything for the configured time, and then lets nobody in',
  async t => {
    const ahead = movableClock(t)
    const all = await guarded(t)
    const { gateway, issuer, echo, withTokens, fetches } = all
    const browser = new Browser()
    await browser.open(`${gateway.url}/a`)
    const asPerson = scriptOf(all, browser)
    t.same(await withTokens(1), new Set([200]))

    await issuer.kill()
    // The tokens of the session are past, by less than `staleIfError` (60 s).
    ahead(101)
    t.same(await asPerson(50), new Set([200]), 'who has signed in')
    t.same(await withTokens(50), new Set([200]), 'tokens of known keys')
    const before = await fetches('error')
    for (let i = 0; i < 4; i++)
      t.same(await withTokens(50, { kid: `flood-${i}` }), new Set([401]), 'unknown keys')
    t.ok((await fetches('error')) - before <= 6, '200 of them cost no more than the backoff does')

    ahead(65)
    const reached = echo.requests.length
    t.same(await asPerson(20), new Set([503]), 'the session, past staleIfError')
    // Keys are good for as long as from one fetch to the next, and a little more.
    ahead(600)
    t.same(await withTokens(20), new Set([503]), 'tokens')
    t.same(await withTokens(20, { kid: 'unknown' }), new Set([503]), 'and nobody says that a token is bad')
    t.equal(echo.requests.length, reached, 'nobody is in')

    await issuer.start()
    // Longer than an issuer that did not answer for a session is left alone.
    ahead(11)
    t.same(await asPerson(20), new Set([200]), 'the same session, without a sign-in')
    t.equal(issuer.asked.authorization_code, 1)
    while ((await fetches('success')) < 2) await pause(10)
    t.same(await withTokens(20), new Set([200]))
  }
)

t.test('a gateway that starts while the issuer is down says 503, and recovers by itself', async t => {
  const ahead = movableClock(t)
  const { gateway, issuer, echo, withTokens, fetches } = await guarded(t, undefined, false)
  t.same(await withTokens(100), new Set([503]))
  t.same(await withTokens(100, { kid: 'unknown' }), new Set([503]))
  const page = await new Browser().open(`${gateway.url}/a`)
  t.equal(page.status, 503)
  t.match(page.body, 'Signing in is not possible at the moment')
  t.ok((await fetches('error')) <= 3, 'by the backoff, not by the request')
  t.equal(echo.requests.length, 0)
  t.equal((await fetch(`${gateway.admin}/livez`)).status, 200)

  await issuer.start()
  while ((await fetches('success')) < 1) await pause(10)
  t.same(await withTokens(20), new Set([200]))
  // What is known of a sign-in that failed is forgotten when the backoff is over.
  ahead(31)
  t.equal((await new Browser().open(`${gateway.url}/a`)).status, 200)
})

t.test('a Redis that is killed stops those who have signed in, and no tokens', async t => {
  const redis = await startRedis(t)
  if (redis === null) return skipWithout(t, 'redis-server')
  const all = await guarded(t, redis.url)
  const { gateway, withTokens, echo } = all
  const browser = new Browser()
  await browser.open(`${gateway.url}/a`)
  const asPerson = scriptOf(all, browser)
  t.same(await asPerson(5), new Set([200]))
  const reached = echo.requests.length
  await redis.kill()
  t.same(await asPerson(20), new Set([503]), 'never 401: the person is not told to sign in again')
  t.equal(echo.requests.length, reached, 'and is not let in')
  t.same(await withTokens(50), new Set([200]))

  await redis.start()
  while (!gateway.lines.some(({ msg }) => msg === 'Redis is back')) await pause(10)
  t.equal(
    (await browser.open(`${gateway.url}/a`)).status,
    200,
    'all keys of this Redis are lost: a new sign-in'
  )
  t.same(await asPerson(5), new Set([200]))
})
