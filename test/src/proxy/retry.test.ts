import fc from 'fast-check'
import t from 'tap'
import { createRetryPolicy, isRepeatable } from '../../../src/proxy/retry.ts'
import { RetryBudget } from '../../../src/proxy/retry-budget.ts'

t.test('what was never sent may be sent, whatever it is', async t => {
  t.ok(isRepeatable('connect-failure', 'POST', true))
})

t.test('what may have been handled is only repeated when that changes nothing', async t => {
  for (const failure of ['reset', 502, 503, 504] as const) {
    for (const method of ['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE']) {
      t.ok(isRepeatable(failure, method, false), `${failure} ${method}`)
      t.notOk(isRepeatable(failure, method, true), `${failure} ${method} with a body`)
    }
    for (const method of ['POST', 'PATCH', 'PROPPATCH']) t.notOk(isRepeatable(failure, method, false))
  }
})

t.test('only the failures of the configuration are covered', async t => {
  const policy = createRetryPolicy({ attempts: 1, on: ['reset', 503], budget: 0.1 })
  t.ok(policy?.covers('reset'))
  t.ok(policy?.covers(503))
  t.notOk(policy?.covers(502))
  t.notOk(policy?.covers('connect-failure'))
})

t.test('no attempts are no policy', async t => {
  t.equal(createRetryPolicy(undefined), null)
  t.equal(createRetryPolicy({ attempts: 0, on: ['reset'], budget: 0.1 }), null)
})

function taken(budget: RetryBudget, now: number): number {
  let count = 0
  while (budget.take(now)) count++
  return count
}

t.test('little traffic has three second tries in ten seconds', async t => {
  const budget = new RetryBudget(0.1)
  budget.count(0)
  t.equal(taken(budget, 0), 3)
  t.equal(taken(budget, 9999), 0)
  t.equal(taken(budget, 11_000), 3)
})

t.test('much traffic has its share', async t => {
  const budget = new RetryBudget(0.2)
  for (let i = 0; i < 100; i++) budget.count(i * 10)
  t.equal(taken(budget, 1000), 20)
})

t.test('a long pause forgets everything', async t => {
  const budget = new RetryBudget(0.5)
  for (let i = 0; i < 100; i++) budget.count(500)
  t.equal(taken(budget, 600), 50)
  t.equal(taken(budget, 3_600_000), 3)
})

t.test('in no ten seconds is the budget exceeded', async () => {
  const event = fc.record({ pause: fc.nat(900), requests: fc.nat(12), tries: fc.nat(6) })
  fc.assert(
    fc.property(fc.constantFrom(0, 0.1, 0.5, 1), fc.array(event, { maxLength: 80 }), (share, events) => {
      const budget = new RetryBudget(share)
      const requests: number[] = []
      const retries: number[] = []
      let now = 0
      for (const { pause, requests: begun, tries } of events) {
        now += pause
        for (let i = 0; i < begun; i++) {
          budget.count(now)
          requests.push(now)
        }
        for (let i = 0; i < tries; i++) {
          if (!budget.take(now)) continue
          retries.push(now)
          const recent = (at: number) => at > now - 10_000
          if (retries.filter(recent).length > Math.max(3, share * requests.filter(recent).length))
            return false
        }
      }
      return true
    })
  )
})
