import { setTimeout as pause } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { Browser } from '../fixtures/browser.ts'
import { echoUpstream } from '../fixtures/echo.ts'
import { type RedisServer, startRedis } from '../fixtures/redis.ts'
import { type PersonalIssuer, personalIssuer } from '../fixtures/sign-in.ts'
import { expireTokens, lockOf, type Replica, replicaStarter } from '../fixtures/sign-in-processes.ts'
import { skipWithout } from '../fixtures/tool.ts'

t.setTimeout(120_000)

interface SignedIn {
  redis: RedisServer
  issuer: PersonalIssuer
  replicas: [Replica, Replica]
  start(): Promise<Replica>
  browser: Browser
  /** What so many calls of the person's script get, in turn at these replicas. */
  calls(count: number, at: readonly Replica[]): Promise<number>[]
}

/** Two gateways with one Redis, each a process of its own, and somebody who has signed in at the first. */
async function signedIn(t: Test, redis: RedisServer): Promise<SignedIn> {
  const upstream = await echoUpstream(t)
  const issuer = await personalIssuer(t)
  const start = await replicaStarter(t, { issuer: issuer.url, upstream: upstream.url, redis: redis.url })
  const replicas = (await Promise.all([start(), start()])) as [Replica, Replica]
  await issuer.serve([replicas[0].url])
  const browser = new Browser()
  await browser.open(`${replicas[0].url}/a`)
  const status = async ({ url }: Replica) => (await browser.call(`${url}/a`)).status
  return {
    redis,
    issuer,
    replicas,
    start,
    browser,
    calls: (count, at) => Array.from({ length: count }, (_, i) => status(at[i % at.length] as Replica))
  }
}

function shared(name: string, run: (t: Test, signedIn: SignedIn) => Promise<void>) {
  return t.test(name, async t => {
    const redis = await startRedis(t)
    if (redis === null) skipWithout(t, 'redis-server')
    else await run(t, await signedIn(t, redis))
  })
}

/** Until so many requests are under way at a replica, or one of them was answered: then they do not wait as they should. */
async function waitingAt(replica: Replica, count: number, calls: Promise<unknown>[]): Promise<void> {
  let areAnswered = false
  const end = () => {
    areAnswered = true
  }
  Promise.race(calls).then(end, end)
  const series = 'sallyport_requests_in_flight{route="console"}'
  while (!areAnswered && ((await replica.metric(series)) ?? 0) < count) await pause(5)
}

/** Holds the next refresh back before the provider sees it: `asked` when it is there, until `go`. */
function hold(issuer: PersonalIssuer): { asked: Promise<void>; go(): void } {
  const asked = Promise.withResolvers<void>()
  const held = Promise.withResolvers<boolean>()
  issuer.before = request => {
    if (request.url !== '/token') return false
    issuer.before = null
    asked.resolve()
    return held.promise
  }
  return { asked: asked.promise, go: () => held.resolve(false) }
}

shared('50 requests at two processes refresh once, and no refresh token is used twice', async (t, all) => {
  const { issuer, replicas, redis, calls } = all
  for (const round of [1, 2, 3]) {
    t.equal(await expireTokens(redis.client), 1)
    const { asked, go } = hold(issuer)
    const waiting = calls(50, replicas)
    await asked
    await Promise.all(replicas.map(replica => waitingAt(replica, 25, waiting)))
    go()
    const found = await Promise.all(waiting)
    t.same(new Set(found), new Set([200]), `${found.length} answers`)
    // The provider takes each refresh token once: a second use would end the session.
    t.equal(issuer.asked.refresh_token, round, 'refreshes at the provider, the refused ones too')
  }
  const refreshes = 'sallyport_session_refreshes_total{issuer="corp",result="success"}'
  const counts = await Promise.all(replicas.map(async replica => (await replica.metric(refreshes)) ?? 0))
  t.equal(
    counts.reduce((sum, count) => sum + count),
    3
  )
})

shared('a process that is killed while it refreshes leaves a lock that ends by itself', async (t, all) => {
  const { issuer, replicas, redis, calls, start } = all
  const [first, second] = replicas
  t.equal(await expireTokens(redis.client), 1)
  const { asked } = hold(issuer)
  // Its fate is that of the process.
  const lost = Promise.allSettled(calls(1, [first]))
  await asked
  const waiting = calls(25, [second])
  await waitingAt(second, 25, waiting)
  await first.kill()
  await lost
  const { key, ttl } = await lockOf(redis.client)
  t.ok(ttl > 0 && ttl <= 15_000, `${ttl} ms`)
  t.same(new Set(await Promise.all(waiting)), new Set([200]), 'nobody is sent away meanwhile')
  const before = performance.now()
  t.same(new Set(await Promise.all(calls(25, [second]))), new Set([200]))
  t.ok(performance.now() - before < 3000, 'nor has to wait for the dead again')
  t.equal(issuer.asked.refresh_token, undefined, 'and it is left to whoever has the lock')

  // Its time is over.
  await redis.client.pexpire(key, 1)
  while ((await redis.client.exists(key)) === 1) await pause(1)
  const third = await start()
  t.same(new Set(await Promise.all(calls(25, [third]))), new Set([200]))
  t.equal(issuer.asked.refresh_token, 1, 'one refresh, by another process')
  t.same(new Set(await Promise.all(calls(25, [second]))), new Set([200]))
  t.equal(issuer.asked.refresh_token, 1)
})
