import fc from 'fast-check'
import t from 'tap'
import type { Limit, LimitResult } from '../../../src/store/contract.ts'
import { MemoryLimitStore } from '../../../src/store/memory.ts'
import { limitStoreContract } from '../../contract/limit-store.ts'

/** A store and the hand on its clock. */
function clocked(max?: number) {
  let now = 1_000_000
  const store = new MemoryLimitStore({ max, now: () => now })
  return {
    store,
    now: () => now,
    advance(milliseconds: number) {
      now += milliseconds
    }
  }
}

t.test('the memory store keeps the contract of every store', async t => {
  limitStoreContract(t, () => clocked())
})

t.test('it answers at once, without a promise', async t => {
  const { store } = clocked()
  const limit: Limit = { algorithm: 'fixed-window', limit: 1, window: 1000, burst: 1 }
  t.notOk(store.take('k', limit) instanceof Promise)
  t.notOk(store.peek('k', limit) instanceof Promise)
})

t.test('it never remembers more keys than it may', async t => {
  const { store } = clocked(100)
  const limit: Limit = { algorithm: 'fixed-window', limit: 1, window: 60_000, burst: 1 }
  store.take('regular', limit)
  for (let i = 0; i < 1000; i++) {
    store.take(`visitor-${i}`, limit)
    t.notOk(store.take('regular', limit).allowed, 'whoever comes often is not forgotten')
  }
  t.equal(store.size, 100)
})

t.test('keys that have run out go, without a timer', async t => {
  const { store, advance } = clocked()
  for (const algorithm of ['fixed-window', 'sliding-window', 'token-bucket'] as const) {
    const limit: Limit = { algorithm, limit: 10, window: 1000, burst: 10 }
    for (let i = 0; i < 500; i++) store.take(`${algorithm}-${i}`, limit)
  }
  const eternal: Limit = { algorithm: 'fixed-window', limit: 1, window: 1e9, burst: 1 }
  store.take('eternal', eternal)
  advance(3000)
  for (let i = 0; i < 3000; i++) {
    store.take('one-more', eternal)
    store.take(`later-${i}`, { ...eternal, window: 10 })
    advance(20)
  }
  t.ok(store.size < 50, `${store.size} keys are left`)
  t.notOk(store.take('eternal', eternal).allowed, 'a key that still counts stays')
})

t.test('looking remembers nothing', async t => {
  const { store } = clocked()
  store.peek('k', { algorithm: 'fixed-window', limit: 1, window: 1000, burst: 1 })
  t.equal(store.size, 0)
})

t.test('a closed store is empty', async t => {
  const { store } = clocked()
  store.take('k', { algorithm: 'fixed-window', limit: 1, window: 1000, burst: 1 })
  await store.close()
  t.equal(store.size, 0)
})

/** Arrivals: how long after the one before, in ms; often 0 and often just at a window's edge. */
const window = 100
const arrivals = fc.array(
  fc.oneof(fc.constantFrom(0, 0, 1, window - 1, window, window + 1, 3 * window), fc.nat(60)),
  {
    minLength: 1,
    maxLength: 200,
    size: 'max'
  }
)
const runs = { numRuns: 300 }

function play(
  limit: Limit,
  gaps: number[],
  see: (now: number, result: LimitResult, accepted: number[]) => void
) {
  const { store, now, advance } = clocked()
  const accepted: number[] = []
  for (const gap of gaps) {
    advance(gap)
    const result = store.take('k', limit) as LimitResult
    see(now(), result, accepted)
    if (result.allowed) accepted.push(now())
  }
  return accepted
}

t.test('fixed window: agrees with a log of all requests', async () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 12 }), arrivals, (limit, gaps) => {
      let start = Number.NEGATIVE_INFINITY
      play({ algorithm: 'fixed-window', limit, window, burst: limit }, gaps, (now, result, accepted) => {
        if (now - start >= window) start = now
        const passed = accepted.filter(time => time >= start).length
        if (passed > limit) throw new Error(`${passed} passed in one window`)
        if (result.allowed !== passed < limit) throw new Error(`at ${now}: ${passed} of ${limit} have passed`)
        if (!result.allowed && result.retryAfter !== start + window - now) throw new Error('wrong retryAfter')
      })
    }),
    runs
  )
})

t.test('sliding window: agrees with two windows counted from a log', async () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 12 }), arrivals, (limit, gaps) => {
      let start = Number.NEGATIVE_INFINITY
      const all = play(
        { algorithm: 'sliding-window', limit, window, burst: limit },
        gaps,
        (now, result, accepted) => {
          if (now - start >= 2 * window) start = now
          else if (now - start >= window) start += window
          // A window that nobody used, with nothing before it, starts with who comes next.
          if (!accepted.some(time => time >= start - window)) start = now
          const current = accepted.filter(time => time >= start).length
          const previous = accepted.filter(time => time >= start - window && time < start).length
          const weighted = previous * (1 - (now - start) / window) + current
          if (result.allowed !== weighted + 1 <= limit + 1e-6)
            throw new Error(`at ${now}: ${weighted} of ${limit}`)
        }
      )
      for (const from of all) {
        const stretch = all.filter(time => time >= from && time < from + window).length
        if (stretch >= 2 * limit && stretch > limit)
          throw new Error(`${stretch} in one stretch, limit ${limit}`)
      }
    }),
    runs
  )
})

t.test('sliding window: steady traffic gets its limit, with an error below a tenth', async t => {
  const limit = 100
  const gaps = Array.from({ length: 4000 }, () => 0.5)
  const accepted = play({ algorithm: 'sliding-window', limit, window, burst: limit }, gaps, () => {})
  const [first = 0] = accepted
  const later = accepted.filter(time => time >= first + 2 * window)
  const perWindow = later.length / ((later.at(-1)! - later[0]!) / window)
  t.ok(perWindow <= limit * 1.1, `${perWindow} in a window`)
  t.ok(perWindow >= limit * 0.9, `${perWindow} in a window`)
})

t.test('token bucket: never more than burst + rate * time, and never refuses what fits', async () => {
  const numbers = fc.integer({ min: 1, max: 12 })
  fc.assert(
    fc.property(numbers, numbers, arrivals, (limit, burst, gaps) => {
      // Exact arithmetic: a token is `window` parts, and `limit` parts drop in a millisecond.
      let parts = BigInt(burst * window)
      let last: number | null = null
      const bucket: Limit = { algorithm: 'token-bucket', limit, window, burst }
      const accepted = play(bucket, gaps, (now, result) => {
        if (last !== null) parts += BigInt((now - last) * limit)
        if (parts > BigInt(burst * window)) parts = BigInt(burst * window)
        last = now
        const fits = parts >= BigInt(window)
        if (result.allowed !== fits) throw new Error(`at ${now}: ${parts} parts of ${window}`)
        if (fits) parts -= BigInt(window)
      })
      for (let i = 0; i < accepted.length; i++) {
        for (let j = i; j < accepted.length; j++) {
          const most = burst + ((accepted[j]! - accepted[i]!) * limit) / window
          if (j - i + 1 > most + 1e-6) throw new Error(`${j - i + 1} passed where ${most} may`)
        }
      }
    }),
    runs
  )
})

t.test('whoever waits as long as it was told passes, and not before', async () => {
  const algorithm = fc.constantFrom(
    'fixed-window',
    'sliding-window',
    'token-bucket' as const
  ) as fc.Arbitrary<Limit['algorithm']>
  fc.assert(
    fc.property(algorithm, fc.integer({ min: 1, max: 12 }), arrivals, (algorithm, limit, gaps) => {
      const { store, advance } = clocked()
      const rule: Limit = { algorithm, limit, window, burst: limit }
      for (const gap of gaps) {
        advance(gap)
        const result = store.take('k', rule) as LimitResult
        if (result.allowed) continue
        advance(result.retryAfter * 0.99)
        if (store.peek('k', rule).allowed) throw new Error('one could have come back earlier')
        advance(result.retryAfter * 0.01 + 1e-6)
        if (!(store.take('k', rule) as LimitResult).allowed)
          throw new Error(`told to wait ${result.retryAfter}`)
      }
    }),
    runs
  )
})
