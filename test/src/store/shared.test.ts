import t from 'tap'
import type { Limit, LimitStore } from '../../../src/store/contract.ts'
import { MemoryLimitStore } from '../../../src/store/memory.ts'
import { type OnStoreError, SharedLimitStore } from '../../../src/store/shared.ts'
import { limitStoreContract } from '../../contract/limit-store.ts'

const limit: Limit = { algorithm: 'fixed-window', limit: 2, window: 60_000, burst: 2 }

/** A store whose shared part works, fails, or is known to be down. */
function shared(onError: OnStoreError, state: 'works' | 'fails' | 'down') {
  const errors = { value: 0 }
  let now = 1_000_000
  let asked = 0
  const memory = new MemoryLimitStore({ now: () => now })
  const answer = <Result>(result: Result) => {
    asked++
    return state === 'works' ? Promise.resolve(result) : Promise.reject(new Error('down'))
  }
  const remote: LimitStore = {
    name: 'redis',
    take: (key, limit, cost) => answer(memory.take(key, limit, cost)),
    peek: (key, limit) => answer(memory.peek(key, limit)),
    close: async () => {}
  }
  const local = new MemoryLimitStore({ now: () => now })
  const store = new SharedLimitStore({ shared: remote, isUp: () => state !== 'down', local, onError, errors })
  return {
    store,
    errors,
    asked: () => asked,
    advance(milliseconds: number) {
      now += milliseconds
    }
  }
}

t.test('it keeps the contract of every store, with the shared one and without', async t => {
  limitStoreContract(t, () => shared('deny', 'works'))
  limitStoreContract(t, () => shared('local', 'fails'))
  limitStoreContract(t, () => shared('local', 'down'))
})

t.test('a store that is known to be down is not asked, and nobody waits', async t => {
  for (const onError of ['local', 'allow'] as const) {
    const { store, errors, asked } = shared(onError, 'down')
    t.notOk(store.take('k', limit) instanceof Promise)
    t.notOk(store.peek('k', limit) instanceof Promise)
    t.equal(asked(), 0)
    t.equal(errors.value, 2)
  }
})

t.test('without the shared store: local counts here', async t => {
  for (const state of ['fails', 'down'] as const) {
    const { store, errors } = shared('local', state)
    const allowed = []
    for (let i = 0; i < 4; i++) allowed.push((await store.take('k', limit)).allowed)
    t.same(allowed, [true, true, false, false])
    t.equal(errors.value, 4)
  }
})

t.test('without the shared store: allow lets everything pass', async t => {
  for (const state of ['fails', 'down'] as const) {
    const { store } = shared('allow', state)
    for (let i = 0; i < 4; i++)
      t.match(await store.take('k', limit), { allowed: true, remaining: 2, retryAfter: 0 })
  }
})

t.test('without the shared store: deny fails', async t => {
  for (const state of ['fails', 'down'] as const) {
    const { store, errors } = shared('deny', state)
    await t.rejects(async () => store.take('k', limit), { message: /is down/ })
    await t.rejects(async () => store.peek('k', limit), { message: /is down/ })
    t.equal(errors.value, 2)
  }
})
