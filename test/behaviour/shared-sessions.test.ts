import { readFile } from 'node:fs/promises'
import t, { type Test } from 'tap'
import { Browser } from '../fixtures/browser.ts'
import { echoUpstream } from '../fixtures/echo.ts'
import { type RedisServer, startRedis } from '../fixtures/redis.ts'
import { ahead, env, type SignInGateway, signInGateway } from '../fixtures/sign-in.ts'
import { skipWithout } from '../fixtures/tool.ts'
import { buildGateway, type RunningGateway } from '../helper.ts'

interface Replicas {
  first: SignInGateway
  second: RunningGateway
  browser: Browser
  status(gateway: RunningGateway): Promise<number>
}

/** Two replicas with one Redis, and somebody who has signed in at the first; tokens live for 100 seconds. */
async function replicas(t: Test, redis: RedisServer): Promise<Replicas> {
  const upstream = await echoUpstream(t)
  const options = { env: { ...env, REDIS_URL: redis.url } }
  const routes = `  console:
    match: { hosts: [127.0.0.1], path: /* }
    upstream: backend
    plugins: [oidc: { issuer: corp }]
redis: { url: { env: REDIS_URL }, onError: allow }
`
  const first = await signInGateway(t, upstream.url, { routes, options })
  first.issuer.tokenLife = 100
  const second = await buildGateway(t, await readFile(first.config, 'utf8'), options)
  const browser = new Browser()
  await browser.open(`${first.url}/a`)
  return { first, second, browser, status: async ({ url }) => (await browser.call(`${url}/a`)).status }
}

function shared(name: string, run: (t: Test, redis: RedisServer) => Promise<void>) {
  return t.test(name, async t => {
    const redis = await startRedis(t)
    if (redis === null) skipWithout(t, 'redis-server')
    else await run(t, redis)
  })
}

shared('who has signed in at one replica is signed in at all, also after a restart', async (t, redis) => {
  const { first, second, status } = await replicas(t, redis)
  t.equal(await status(first), 200)
  t.equal(await status(second), 200)
  await first.gateway.close()
  t.equal(await status(second), 200)
  t.equal((await new Browser().call(`${second.url}/a`)).status, 401, 'and nobody else is')
})

shared('a session that one replica ends has ended at all', async (t, redis) => {
  const { first, second, browser, status } = await replicas(t, redis)
  const cookie = browser.cookie(first.url, 'sallyport')
  const { body } = await browser.open(`${first.url}/oauth2/sign-out`)
  const token = /name="token" value="([^"]+)"/.exec(body)?.[1] ?? ''
  const headers = { 'sec-fetch-site': 'same-origin' }
  await browser.open(`${first.url}/oauth2/sign-out`, { method: 'POST', form: { token }, headers })
  t.equal(await status(second), 401)
  const stolen = await fetch(`${second.url}/a`, { headers: { cookie: `sallyport=${cookie}` } })
  t.equal(stolen.status, 401, 'its old cookie opens nothing')
})

shared('replicas refresh the tokens of a session once', async (t, redis) => {
  const { first, second, status } = await replicas(t, redis)
  ahead(t, 101)
  const found = await Promise.all(
    Array.from({ length: 60 }, (_, index) => status(index % 2 ? first : second))
  )
  t.same(new Set(found), new Set([200]))
  t.equal(first.issuer.asked.refresh_token, 1, 'at the issuer')
})

shared(
  'without Redis nobody is let in, whatever holds for limits, and everybody is when it is back',
  async (t, redis) => {
    const { first, status } = await replicas(t, redis)
    redis.freeze()
    t.equal(await status(first), 503)
    const start = performance.now()
    t.equal(await status(first), 503)
    t.ok(performance.now() - start < 1000)
    const strange = new Browser()
    for (const path of ['/a', '/oauth2/sign-in']) {
      const page = await strange.open(`${first.url}${path}`)
      t.equal(page.status, 503, 'and nobody begins a sign-in')
      t.match(page.body, 'Reason: session.unavailable')
    }
    redis.thaw()
    while (!first.lines.some(({ msg }) => msg === 'Redis is back'))
      await new Promise(resolve => setImmediate(resolve))
    t.equal(await status(first), 200)
  }
)
