import { once } from 'node:events'
import { Agent, request } from 'node:http'
import t, { type Test } from 'tap'
import { type RedisServer, startRedis } from '../fixtures/redis.ts'
import { skipWithout } from '../fixtures/tool.ts'
import { buildGateway, echo, type RunningGateway } from '../helper.ts'

interface Seen {
  status: number
  /** By `performance.now()`. */
  began: number
  /** Milliseconds. */
  took: number
  reason: string | null
}

/** A gateway whose route `all` has a limit, in Redis, and whose route `free` at `/free` has none. */
async function replica(
  t: Test,
  upstream: string,
  url: string,
  { limit = 100, onError = 'local', more = '' } = {}
): Promise<RunningGateway> {
  const yaml = `
redis: { url: { env: REDIS_URL }, onError: ${onError} }
upstreams: { backend: { url: "${upstream}" } }
routes:
  free:
    match: { path: /free }
    public: true
    upstream: backend
  all:
    match: { path: /* }
    public: true
    upstream: backend
    plugins: [{ rate-limit: { limit: ${limit}, window: 10m, by: route${more} } }]
`
  return buildGateway(t, yaml, { env: { REDIS_URL: url } })
}

const agent = new Agent({ keepAlive: true, maxSockets: 32 })
t.teardown(() => agent.destroy())

/** One request, whose failure is a failure of the test. */
async function ask(url: string): Promise<Seen> {
  const start = performance.now()
  const sent = request(url, { agent }).end()
  const [response] = (await once(sent, 'response')) as [import('node:http').IncomingMessage]
  let text = ''
  for await (const chunk of response) text += chunk
  const status = response.statusCode!
  const reason = status >= 400 ? (JSON.parse(text) as { reason: string }).reason : null
  return { status, began: start, took: performance.now() - start, reason }
}

/** Requests in `lanes`, one after the other in each, until `end` says so. */
async function load(urls: string[], lanes: number, end: () => boolean): Promise<Seen[]> {
  const seen: Seen[] = []
  const lane = async (index: number) => {
    for (let i = index; !end(); i++) seen.push(await ask(urls[i % urls.length]!))
  }
  await Promise.all(Array.from({ length: lanes }, (_, index) => lane(index)))
  return seen
}

async function after(seen: { length: number }, count: number): Promise<void> {
  const wanted = seen.length + count
  while (seen.length < wanted) await new Promise(resolve => setImmediate(resolve))
}

/** Waits for a line of the log. */
async function logged(gateway: RunningGateway, text: string, times = 1): Promise<void> {
  while (gateway.lines.filter(line => String(line.msg).includes(text)).length < times)
    await new Promise(resolve => setImmediate(resolve))
}

/** Milliseconds within which a quarter of them was answered: what else the machine does tells less there. */
function quarter(seen: Seen[]): number {
  const sorted = seen.map(({ took }) => took).sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 4)] ?? 0
}

function passed(seen: Seen[]): number {
  return seen.filter(({ status }) => status === 200).length
}

function shared(name: string, run: (t: Test, redis: RedisServer) => Promise<void>, more: string[] = []) {
  return t.test(name, async t => {
    const redis = await startRedis(t, more)
    if (redis === null) skipWithout(t, 'redis-server')
    else await run(t, redis)
  })
}

for (const algorithm of ['fixed-window', 'sliding-window', 'token-bucket']) {
  shared(`replicas together let as many pass as the limit says: ${algorithm}`, async (t, redis) => {
    const backend = await echo(t)
    const settings = { limit: 400, more: `, algorithm: ${algorithm}` }
    const gateways = [
      await replica(t, backend.url, redis.url, settings),
      await replica(t, backend.url, redis.url, settings)
    ]
    let left = 1200
    const seen = await load(
      gateways.map(({ url }) => url),
      32,
      () => left-- <= 0
    )
    t.equal(seen.length, 1200)
    t.same(new Set(seen.map(({ status }) => status)), new Set([200, 429]))
    const most = passed(seen)
    t.comment(`${most} of 1200 passed a limit of 400`)
    t.ok(most >= 400 && most <= 420, `${most}: at most 5 % more than 400`)
    for (const { metric, lines } of gateways) {
      t.equal(await metric('sallyport_rate_limit_store_errors_total{store="redis"}'), 0)
      t.notOk(lines.some(({ store }) => store === 'redis'))
    }
  })
}

shared('counts outlive the gateway, and every key ends by itself', async (t, redis) => {
  const backend = await echo(t)
  const first = await replica(t, backend.url, redis.url, { limit: 5 })
  for (let i = 0; i < 3; i++) t.equal((await ask(first.url)).status, 200)
  await first.gateway.close()
  const second = await replica(t, backend.url, redis.url, { limit: 5 })
  const seen = []
  for (let i = 0; i < 4; i++) seen.push((await ask(second.url)).status)
  t.same(seen, [200, 200, 429, 429])
  let cursor = '0'
  let keys = 0
  do {
    const [next, found] = await redis.client.scan(cursor)
    cursor = next
    for (const key of found) {
      keys++
      t.match(key, /^sallyport:\{all\}:/)
      const left = await redis.client.ttl(key)
      t.ok(left > 0 && left <= 600, `${left} s`)
    }
  } while (cursor !== '0')
  t.equal(keys, 1)
})

for (const onError of ['local', 'allow', 'deny']) {
  shared(`Redis dies and comes back under load, onError: ${onError}`, async (t, redis) => {
    const backend = await echo(t)
    const gateway = await replica(t, backend.url, redis.url, { limit: 1_000_000, onError })
    let isOver = false
    const seen: Seen[] = []
    const lane = async () => {
      while (!isOver) seen.push(await ask(gateway.url))
    }
    const lanes = Promise.all(Array.from({ length: 8 }, lane))
    await after(seen, 300)
    const before = seen.length
    await redis.kill()
    await logged(gateway, 'Redis is down')
    const down = performance.now()
    await after(seen, 500)
    const [live, ready] = await Promise.all(
      ['/livez', '/readyz'].map(async path => (await fetch(`${gateway.admin}${path}`)).status)
    )
    t.same([live, ready], [200, 200], 'health does not depend on Redis')
    const up = performance.now()
    await redis.start()
    await logged(gateway, 'Redis is back')
    const back = performance.now()
    await after(seen, 300)
    isOver = true
    await lanes

    const well = seen.slice(0, before)
    const without = seen.filter(({ began, took }) => began > down && began + took < up)
    const again = seen.filter(({ began }) => began > back)
    t.equal(passed(well), well.length)
    t.equal(passed(again), again.length)
    t.ok(without.length >= 300)
    if (onError === 'deny') {
      t.match(
        without,
        without.map(() => ({ status: 503, reason: 'store.unavailable' }))
      )
    } else t.equal(passed(without), without.length)
    const slowest = Math.max(...seen.map(({ took }) => took))
    t.ok(slowest < 5000, 'nothing hangs')
    const errors = await gateway.metric('sallyport_rate_limit_store_errors_total{store="redis"}')
    t.ok(errors! >= without.length, `${errors} errors`)
    const lines = gateway.lines.filter(({ store }) => store === 'redis')
    t.match(
      lines.map(({ msg }) => msg),
      [/Redis is down/, /Redis is back/],
      'one line for the outage, one for its end'
    )
  })
}

shared('while Redis is down each replica counts for itself', async (t, redis) => {
  const backend = await echo(t)
  const gateway = await replica(t, backend.url, redis.url, { limit: 10 })
  await redis.kill()
  await logged(gateway, 'Redis is down')
  let left = 30
  const seen = await load([gateway.url], 8, () => left-- <= 0)
  t.equal(passed(seen), 10)
  t.ok(seen.filter(({ reason }) => reason === 'rate.exceeded').length === 20)
})

shared('a Redis that is down costs a request less than 5 ms', async (t, redis) => {
  const backend = await echo(t)
  const gateway = await replica(t, backend.url, redis.url, { limit: 1_000_000 })
  await redis.kill()
  await logged(gateway, 'Redis is down')
  const limited: Seen[] = []
  const free: Seen[] = []
  for (let i = 0; i < 300; i++) {
    limited.push(await ask(gateway.url))
    free.push(await ask(`${gateway.url}/free`))
  }
  t.equal(passed(limited) + passed(free), 600)
  const added = quarter(limited) - quarter(free)
  t.comment(`${added.toFixed(3)} ms more than on a route without limits`)
  t.ok(added < 5)
})

shared('a Redis that is silent is waited for once', async (t, redis) => {
  const backend = await echo(t)
  const gateway = await replica(t, backend.url, redis.url, { limit: 1_000_000 })
  t.equal((await ask(gateway.url)).status, 200)
  redis.freeze()
  t.teardown(() => redis.thaw())
  const first = await ask(gateway.url)
  t.equal(first.status, 200)
  t.ok(first.took < 2000, `${first.took} ms`)
  let left = 200
  const seen = await load([gateway.url], 4, () => left-- <= 0)
  t.equal(passed(seen), 200)
  t.ok(quarter(seen) < 100)
  t.equal(await gateway.metric('sallyport_rate_limit_store_errors_total{store="redis"}'), 201)
  redis.thaw()
  await logged(gateway, 'Redis is back')
  t.match(gateway.lines.filter(({ store }) => store === 'redis')[0], { fault: 'timeout' })
  t.equal((await ask(gateway.url)).status, 200)
  t.equal(await gateway.metric('sallyport_rate_limit_store_errors_total{store="redis"}'), 201)
})

shared('the gateway starts without Redis, and uses it when it is there', async (t, redis) => {
  const backend = await echo(t)
  await redis.kill()
  const gateway = await replica(t, backend.url, redis.url, { limit: 2 })
  t.equal((await fetch(`${gateway.admin}/readyz`)).status, 200)
  t.equal((await ask(gateway.url)).status, 200)
  await redis.start()
  await logged(gateway, 'Redis is back')
  t.same([(await ask(gateway.url)).status, await redis.client.dbsize()], [200, 1])
})

shared(
  'the password opens Redis and is told to nobody',
  async (t, redis) => {
    const backend = await echo(t)
    const gateway = await replica(t, backend.url, redis.url, { onError: 'deny' })
    t.equal((await ask(gateway.url)).status, 200)
    const wrong = redis.url.replace('canary-4711', 'canary-0815')
    const locked = await replica(t, backend.url, wrong, { onError: 'deny' })
    const refused = await ask(locked.url)
    t.match(refused, { status: 503, reason: 'store.unavailable' })
    t.match(
      locked.lines.filter(({ store }) => store === 'redis'),
      [{ fault: 'WRONGPASS' }]
    )
    for (const { admin, lines } of [gateway, locked]) {
      const texts = [
        await (await fetch(`${admin}/config`)).text(),
        await (await fetch(`${admin}/metrics`)).text()
      ]
      for (const text of [...texts, JSON.stringify(lines)]) t.notMatch(text, /canary/)
    }
  },
  ['--requirepass', 'canary-4711']
)

shared('a reload keeps the connection and what was counted', async (t, redis) => {
  const backend = await echo(t)
  const gateway = await replica(t, backend.url, redis.url, { limit: 3 })
  t.equal((await ask(gateway.url)).status, 200)
  const connections = async () =>
    (await redis.client.info('stats')).match(/total_connections_received:(\d+)/)?.[1]
  const before = await connections()
  const { readFile, writeFile } = await import('node:fs/promises')
  const yaml = await readFile(gateway.config, 'utf8')
  await writeFile(gateway.config, yaml.replace('onError: local', 'onError: deny'))
  await gateway.gateway.reload()
  t.same(
    [(await ask(gateway.url)).status, (await ask(gateway.url)).status, (await ask(gateway.url)).status],
    [200, 200, 429]
  )
  t.equal(await connections(), before)
  await writeFile(gateway.config, yaml.replace(/redis: .*\n/, ''))
  await gateway.gateway.reload()
  t.equal((await ask(gateway.url)).status, 200, 'without Redis it counts for itself')
})
