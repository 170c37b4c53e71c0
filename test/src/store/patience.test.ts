import t from 'tap'
import { Patience } from '../../../src/store/patience.ts'

/** Lets intervals fire by hand. */
function manual(t: { teardown(close: () => unknown): void }) {
  const real = { set: globalThis.setInterval, clear: globalThis.clearInterval }
  const running = new Set<() => void>()
  globalThis.setInterval = ((run: () => void) => {
    running.add(run)
    return { unref: () => run }
  }) as unknown as typeof setInterval
  globalThis.clearInterval = ((run: () => void) => running.delete(run)) as unknown as typeof clearInterval
  t.teardown(() => {
    globalThis.setInterval = real.set
    globalThis.clearInterval = real.clear
  })
  return {
    running,
    tick(times = 1) {
      for (let i = 0; i < times; i++) for (const run of [...running]) run()
    }
  }
}

t.test('who waits too long is told once, in the order of coming', async t => {
  const { tick } = manual(t)
  const patience = new Patience(200)
  const told: string[] = []
  patience.begin(() => told.push('a'))
  tick()
  patience.begin(() => told.push('b'))
  tick(3)
  t.same(told, [], '200 ms have not passed for anybody')
  tick()
  t.same(told, ['a'])
  tick(10)
  t.same(told, ['a', 'b'])
})

t.test('who has an answer is told nothing, and nobody to wait for needs no timer', async t => {
  const { tick, running } = manual(t)
  const patience = new Patience(200)
  const late = () => t.fail('it was in time')
  patience.begin(late)
  t.equal(running.size, 1)
  patience.end(late)
  tick()
  t.equal(running.size, 0)
  patience.begin(late)
  patience.close()
  t.equal(running.size, 0)
})

t.test('however long this process stood still, that is one tick', async t => {
  const patience = new Patience(200)
  t.teardown(() => patience.close())
  let isLate = false
  patience.begin(() => {
    isLate = true
  })
  const end = performance.now() + 400
  while (performance.now() < end);
  await new Promise(resolve => setTimeout(resolve, 1))
  t.notOk(isLate)
})
