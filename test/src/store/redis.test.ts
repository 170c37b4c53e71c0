import fc from 'fast-check'
import { pino } from 'pino'
import t from 'tap'
import type { Limit, LimitResult } from '../../../src/store/contract.ts'
import { MemoryLimitStore } from '../../../src/store/memory.ts'
import { RedisLimitStore, redisKey } from '../../../src/store/redis.ts'
import { RedisClient } from '../../../src/store/redis-client.ts'
import { limitStoreContract } from '../../contract/limit-store.ts'
import { startRedis } from '../../fixtures/redis.ts'
import { skipWithout } from '../../fixtures/tool.ts'

const silent = pino({ level: 'silent' })
const hour = 3_600_000
const algorithms = ['fixed-window', 'sliding-window', 'token-bucket'] as const

const server = await startRedis(t)
if (server === null) skipWithout(t, 'redis-server')
else {
  const { url, client: inspect } = server

  async function connect(t: { teardown(close: () => unknown): void }) {
    const client = new RedisClient(url, silent)
    t.teardown(() => client.close())
    await client.settled()
    return client
  }

  t.test('the Redis store keeps the contract of every store', async t => {
    const client = await connect(t)
    limitStoreContract(t, async () => {
      await inspect.flushall()
      let now = 1_000_000_000
      return {
        store: new RedisLimitStore(client, { now: () => now }),
        advance(milliseconds: number) {
          now += milliseconds
        }
      }
    })
  })

  t.test('it decides as the memory store does, whatever comes when', async t => {
    const client = await connect(t)
    let now = 1_800_000_000_000
    const memory = new MemoryLimitStore({ now: () => now })
    const redis = new RedisLimitStore(client, { now: () => now })
    let sequence = 0
    const step = fc.record({
      after: fc.oneof(
        fc.constantFrom(0, 0, 0, 10_000, hour - 10_000, hour, hour + 10_000, 2 * hour, 3 * hour),
        fc.integer({ min: 0, max: 100 }).map(part => (part * hour) / 100)
      ),
      cost: fc.integer({ min: 1, max: 3 }),
      looks: fc.boolean(),
      // Another limit under the same key, as after a reload.
      less: fc.nat(1)
    })
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...algorithms),
        fc.integer({ min: 4, max: 10 }),
        fc.nat(10),
        fc.array(step, { minLength: 1, maxLength: 40 }),
        async (algorithm, most, more, steps) => {
          const key = `route:${sequence++}`
          for (const { after, cost, looks, less } of steps) {
            now += after
            // A refused request refills a bucket in memory and not in Redis, at the rate that it knows: so one rate.
            const limit: Limit =
              algorithm === 'token-bucket'
                ? { algorithm, limit: most, window: hour, burst: most + more }
                : { algorithm, limit: most - less, window: hour, burst: most - less }
            const expected = looks ? memory.peek(key, limit) : memory.take(key, limit, cost)
            const found = looks ? await redis.peek(key, limit) : await redis.take(key, limit, cost)
            same(expected, found)
          }
        }
      ),
      { numRuns: 300 }
    )
    t.ok(sequence >= 300)
  })

  t.test("by the server's clock a limit is whole again when its window has passed", async t => {
    const store = new RedisLimitStore(await connect(t))
    for (const algorithm of algorithms) {
      const limit: Limit = { algorithm, limit: 5, window: 100, burst: 5 }
      const key = `clock:${algorithm}`
      for (let i = 0; i < 5; i++) await store.take(key, limit)
      const { allowed, retryAfter, resetAfter } = await store.peek(key, limit)
      t.ok(allowed || (retryAfter > 0 && retryAfter <= 200), `${algorithm}: ${retryAfter}`)
      t.ok(resetAfter > 0 && resetAfter <= 200, `${algorithm}: ${resetAfter}`)
      // The key is gone when Redis says so; no later than two windows.
      for (const until = Date.now() + 5000; (await inspect.exists(redisKey(key))) === 1; )
        if (Date.now() > until) t.fail('the key stays')
      t.match(await store.peek(key, limit), { allowed: true, remaining: 5, resetAfter: 0 })
    }
  })

  t.test('every key ends by itself, is short, and tells nothing about who is counted', async t => {
    await inspect.flushall()
    const store = new RedisLimitStore(await connect(t))
    const names = ['a:192.0.2.1', `s:${'x'.repeat(10_000)}`, 'r', 'h:{}*\r\n\0', 's:5:a:b{c}']
    for (const algorithm of algorithms) {
      for (const name of names) {
        const limit: Limit = { algorithm, limit: 3, window: 60_000, burst: 3 }
        for (let i = 0; i < 5; i++) await store.take(`orders:0:${algorithm}:${name}`, limit)
      }
    }
    const keys = await inspect.keys('*')
    t.equal(keys.length, algorithms.length * names.length)
    for (const key of keys) {
      t.match(key, /^sallyport:\{orders\}:[\w-]{43}$/)
      const left = await inspect.pttl(key)
      t.ok(left > 0 && left <= 120_000, `${left} ms`)
    }
  })

  t.test('what a stranger wrote under a key counts as nothing', async t => {
    const store = new RedisLimitStore(await connect(t))
    const limit: Limit = { algorithm: 'fixed-window', limit: 2, window: 60_000, burst: 2 }
    for (const [index, text] of [
      '',
      'x',
      'fixed-window nan 1',
      'fixed-window a b c',
      '\0'.repeat(99)
    ].entries()) {
      await inspect.set(redisKey(`r:${index}`), text, 'PX', 60_000)
      t.match(await store.take(`r:${index}`, limit), { allowed: true, remaining: 1 }, JSON.stringify(text))
    }
    await inspect.hset(redisKey('r:hash'), 'a', 'b')
    await t.rejects(store.take('r:hash', limit), { message: 'Redis failed (WRONGTYPE)' })
    await inspect.del(redisKey('r:hash'))
  })

  t.test('a clock that is set back makes no limit longer than its window', async t => {
    const client = await connect(t)
    let now = 1_000_000_000
    const store = new RedisLimitStore(client, { now: () => now })
    for (const algorithm of algorithms) {
      const limit: Limit = { algorithm, limit: 2, window: 60_000, burst: 2 }
      for (let i = 0; i < 2; i++) await store.take(`back:${algorithm}`, limit)
      now -= 10_000_000
      const { allowed, resetAfter } = await store.peek(`back:${algorithm}`, limit)
      t.notOk(allowed)
      t.ok(resetAfter <= 120_000, `${algorithm}: ${resetAfter}`)
    }
  })

  t.test('what costs more than the limit never passes', async t => {
    const store = new RedisLimitStore(await connect(t))
    for (const algorithm of algorithms) {
      const limit: Limit = { algorithm, limit: 2, window: 60_000, burst: 2 }
      const { allowed, remaining, retryAfter } = await store.take(`dear:${algorithm}`, limit, 3)
      t.match({ allowed, remaining }, { allowed: false, remaining: 2 })
      t.ok(retryAfter > 0)
    }
  })

  t.test('scripts that the server has forgotten are sent again', async t => {
    const store = new RedisLimitStore(await connect(t))
    const limit: Limit = { algorithm: 'fixed-window', limit: 5, window: 60_000, burst: 5 }
    await store.take('flush:1', limit)
    await inspect.script('FLUSH')
    t.match(await store.take('flush:1', limit), { allowed: true, remaining: 3 })
  })
}

/** Redis says microseconds, rounded up. */
function same(expected: LimitResult, found: LimitResult): void {
  const isSame =
    expected.allowed === found.allowed &&
    expected.remaining === found.remaining &&
    Math.abs(expected.resetAfter - found.resetAfter) <= 0.01 &&
    Math.abs(expected.retryAfter - found.retryAfter) <= 0.01
  if (!isSame) throw new Error(`${JSON.stringify(found)} instead of ${JSON.stringify(expected)}`)
}
