import type { Test } from 'tap'
import type { Limit, LimitStore } from '../../src/store/contract.ts'

export interface StoreCase {
  store: LimitStore
  /** Moves the store's clock. */
  advance(milliseconds: number): void | Promise<void>
}

const minute = 60_000
const algorithms = ['fixed-window', 'sliding-window', 'token-bucket'] as const

function limitOf(algorithm: Limit['algorithm'], limit: number, burst = limit): Limit {
  return { algorithm, limit, window: minute, burst }
}

/** What every store must do, wherever it keeps its counts. `create` gives an empty store and closes it with `t`. */
export function limitStoreContract(t: Test, create: (t: Test) => StoreCase | Promise<StoreCase>): void {
  for (const algorithm of algorithms) {
    t.test(
      `${algorithm}: lets exactly as many pass as the limit says, and says how many are left`,
      async t => {
        const { store } = await create(t)
        const limit = limitOf(algorithm, 3)
        for (const remaining of [2, 1, 0]) {
          t.match(await store.take('k', limit), { allowed: true, remaining, retryAfter: 0 })
        }
        const refused = await store.take('k', limit)
        t.match(refused, { allowed: false, remaining: 0 })
        t.ok(refused.retryAfter > 0)
        t.ok(refused.resetAfter >= refused.retryAfter)
      }
    )

    t.test(`${algorithm}: lets a request pass again after the time that it said`, async t => {
      const { store, advance } = await create(t)
      const limit = limitOf(algorithm, 3)
      for (let i = 0; i < 3; i++) await store.take('k', limit)
      const { retryAfter } = await store.take('k', limit)
      await advance(Math.ceil(retryAfter))
      t.match(await store.take('k', limit), { allowed: true })
    })

    t.test(`${algorithm}: is whole again after the time that it said`, async t => {
      const { store, advance } = await create(t)
      const limit = limitOf(algorithm, 3)
      await store.take('k', limit)
      const { resetAfter } = await store.take('k', limit)
      await advance(Math.ceil(resetAfter))
      t.match(await store.peek('k', limit), { allowed: true, remaining: 3 })
    })

    t.test(`${algorithm}: counts each key for itself`, async t => {
      const { store } = await create(t)
      const limit = limitOf(algorithm, 1)
      t.match(await store.take('k', limit), { allowed: true })
      t.match(await store.take('k', limit), { allowed: false })
      t.match(await store.take('other', limit), { allowed: true })
    })

    t.test(`${algorithm}: looking does not count`, async t => {
      const { store } = await create(t)
      const limit = limitOf(algorithm, 1)
      for (let i = 0; i < 5; i++)
        t.match(await store.peek('k', limit), { allowed: true, remaining: 1, retryAfter: 0 })
      t.match(await store.take('k', limit), { allowed: true })
      const seen = await store.peek('k', limit)
      t.match(seen, { allowed: false, remaining: 0 })
      t.ok(seen.retryAfter > 0)
    })

    t.test(`${algorithm}: a refused request is not charged`, async t => {
      const { store, advance } = await create(t)
      const limit = limitOf(algorithm, 2)
      for (let i = 0; i < 50; i++) await store.take('k', limit)
      await advance(2 * minute)
      t.match(await store.take('k', limit), { allowed: true, remaining: 1 })
    })

    t.test(`${algorithm}: a request may cost more than one`, async t => {
      const { store } = await create(t)
      const limit = limitOf(algorithm, 5)
      t.match(await store.take('k', limit, 4), { allowed: true, remaining: 1 })
      t.match(await store.take('k', limit, 2), { allowed: false, remaining: 1 })
      t.match(await store.take('k', limit, 1), { allowed: true, remaining: 0 })
    })

    t.test(`${algorithm}: never lets more pass than the limit when all come at once`, async t => {
      const { store } = await create(t)
      const limit = limitOf(algorithm, 10)
      const results = await Promise.all(Array.from({ length: 40 }, async () => store.take('k', limit)))
      t.equal(results.filter(result => result.allowed).length, 10)
    })
  }

  t.test('sliding-window: what passed before fades bit by bit', async t => {
    const { store, advance } = await create(t)
    const limit = limitOf('sliding-window', 4)
    for (let i = 0; i < 4; i++) await store.take('k', limit)
    await advance(minute)
    t.match(await store.peek('k', limit), { allowed: false, remaining: 0 })
    await advance(minute / 2)
    t.match(await store.peek('k', limit), { allowed: true, remaining: 2 })
    await advance(minute / 2)
    t.match(await store.peek('k', limit), { allowed: true, remaining: 4 })
  })

  t.test('token-bucket: a burst passes at once, after that the rate holds', async t => {
    const { store, advance } = await create(t)
    const limit = limitOf('token-bucket', 60, 100)
    for (let i = 0; i < 100; i++) t.match(await store.take('k', limit), { allowed: true })
    t.match(await store.take('k', limit), { allowed: false })
    await advance(2000)
    t.match(await store.take('k', limit), { allowed: true, remaining: 1 })
    t.match(await store.take('k', limit), { allowed: true, remaining: 0 })
    t.match(await store.take('k', limit), { allowed: false })
  })

  t.test('a key that another algorithm counted starts anew', async t => {
    const { store } = await create(t)
    for (const algorithm of algorithms) {
      t.match(await store.take('k', limitOf(algorithm, 1)), { allowed: true }, algorithm)
    }
  })

  t.test('a lower limit holds for what was counted under the higher one', async t => {
    const { store } = await create(t)
    for (let i = 0; i < 5; i++) await store.take('k', limitOf('fixed-window', 10))
    t.match(await store.take('k', limitOf('fixed-window', 4)), { allowed: false, remaining: 0 })
  })
}
