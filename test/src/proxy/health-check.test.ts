import t from 'tap'
import { HealthCheck } from '../../../src/proxy/health-check.ts'
import { ManualTime } from '../../fixtures/manual-time.ts'

/** A check whose answers are given one by one: `true` and `false`, in order. */
async function checked(answers: boolean[], { healthy = 2, unhealthy = 3, random = 0.5 } = {}) {
  const time = new ManualTime()
  const changes: boolean[] = []
  let asked = 0
  const check = new HealthCheck({
    config: { path: '/', interval: 1000, timeout: 100, healthy, unhealthy },
    probe: async () => answers[asked++] ?? true,
    onChange: isHealthy => changes.push(isHealthy),
    timers: time,
    random: () => random
  })
  await settle()
  async function next(milliseconds = 1000): Promise<void> {
    time.advance(milliseconds)
    await settle()
  }
  return { check, changes, next, asked: () => asked }
}

/** Lets what has been resolved already be heard of. */
function settle(): Promise<void> {
  return new Promise(resolve => setImmediate(resolve))
}

t.test('an endpoint is asked at once, and counts as well until it has failed often enough', async t => {
  const { check, changes, next, asked } = await checked([false, false, false])
  t.equal(asked(), 1)
  await next()
  t.ok(check.isHealthy)
  await next()
  t.notOk(check.isHealthy)
  t.same(changes, [false])
})

t.test('a good answer between bad ones begins the count again', async t => {
  const { check, next } = await checked([false, false, true, false, false])
  for (let i = 0; i < 4; i++) await next()
  t.ok(check.isHealthy)
})

t.test('it is back after good answers in a row', async t => {
  const { check, changes, next } = await checked([false, true, false, true, true], { unhealthy: 1 })
  t.notOk(check.isHealthy)
  for (let i = 0; i < 3; i++) await next()
  t.notOk(check.isHealthy)
  await next()
  t.ok(check.isHealthy)
  t.same(changes, [false, true])
})

t.test('checks are spread by a tenth either way', async t => {
  const early = await checked([], { random: 0 })
  await early.next(899)
  t.equal(early.asked(), 1)
  await early.next(1)
  t.equal(early.asked(), 2)
  const late = await checked([], { random: 1 })
  await late.next(1099)
  t.equal(late.asked(), 1)
  await late.next(1)
  t.equal(late.asked(), 2)
})

t.test('a closed one asks no more, and an answer that comes too late changes nothing', async t => {
  const running = await checked([])
  running.check.close()
  await running.next(10_000)
  t.equal(running.asked(), 1)

  let answer: (isWell: boolean) => void = () => {}
  const time = new ManualTime()
  const check = new HealthCheck({
    config: { path: '/', interval: 1000, timeout: 100, healthy: 1, unhealthy: 1 },
    probe: () => new Promise(resolve => (answer = resolve)),
    onChange: () => t.fail('it is closed'),
    timers: time,
    random: () => 0.5
  })
  check.close()
  answer(false)
  await settle()
  t.ok(check.isHealthy)
})
