import fc from 'fast-check'
import t from 'tap'
import { type BreakerState, CircuitBreaker } from '../../../src/proxy/breaker.ts'

function breakerAt(failures = 2, open = 1000) {
  const time = { now: 0 }
  const states: BreakerState[] = []
  const breaker = new CircuitBreaker({
    failures,
    open,
    clock: () => time.now,
    onChange: state => states.push(state)
  })
  function fail(times: number): void {
    for (let i = 0; i < times; i++) breaker.failed(breaker.enter())
  }
  return { breaker, time, states, fail }
}

t.test('failures in a row open it, and a success between them does not count as one of them', async t => {
  const { breaker, fail } = breakerAt(3)
  fail(2)
  breaker.succeeded(breaker.enter())
  fail(2)
  t.equal(breaker.state, 'closed')
  fail(1)
  t.equal(breaker.state, 'open')
  t.equal(breaker.enter(), -1)
})

t.test('while it is open it says when to come back', async t => {
  const { breaker, time, fail } = breakerAt(1, 1000)
  t.equal(breaker.retryAfter, 0)
  fail(1)
  time.now = 300
  t.equal(breaker.retryAfter, 700)
})

t.test('after its rest one call goes through, and its success closes it', async t => {
  const { breaker, time, states, fail } = breakerAt()
  fail(2)
  time.now = 999
  t.equal(breaker.enter(), -1)
  time.now = 1000
  const probe = breaker.enter()
  t.not(probe, -1)
  t.equal(breaker.enter(), -1, 'one at a time')
  breaker.succeeded(probe)
  t.not(breaker.enter(), -1)
  t.same(states, ['open', 'half-open', 'closed'])
})

t.test('the head of a good answer is enough of a probe, and of nothing else', async t => {
  const { breaker, time, fail } = breakerAt()
  fail(1)
  breaker.answered(breaker.enter())
  fail(1)
  t.equal(breaker.state, 'open', 'an answer that breaks later is a failure')
  time.now = 1000
  breaker.answered(breaker.enter())
  t.equal(breaker.state, 'closed')
})

t.test('a probe that fails opens it again for the whole time', async t => {
  const { breaker, time, fail } = breakerAt()
  fail(2)
  time.now = 1500
  breaker.failed(breaker.enter())
  t.equal(breaker.state, 'open')
  time.now = 2499
  t.equal(breaker.enter(), -1)
  time.now = 2500
  t.not(breaker.enter(), -1)
})

t.test('a client that leaves the probe makes room for the next one', async t => {
  const { breaker, time, fail } = breakerAt()
  fail(2)
  time.now = 1000
  breaker.released(breaker.enter())
  t.equal(breaker.state, 'half-open')
  t.not(breaker.enter(), -1)
})

t.test('clients that leave open nothing', async t => {
  const { breaker } = breakerAt(1)
  for (let i = 0; i < 10; i++) breaker.released(breaker.enter())
  t.equal(breaker.state, 'closed')
})

t.test('a probe of which nothing is ever heard does not keep it shut for ever', async t => {
  const { breaker, time, fail } = breakerAt()
  fail(2)
  time.now = 1000
  const lost = breaker.enter()
  time.now = 2000
  const next = breaker.enter()
  t.not(next, -1)
  breaker.failed(lost)
  t.equal(breaker.state, 'half-open', 'the lost one no longer counts')
  breaker.succeeded(next)
  t.equal(breaker.state, 'closed')
})

t.test('calls from before the last change say nothing', async t => {
  const { breaker, time, fail } = breakerAt()
  const early = breaker.enter()
  const other = breaker.enter()
  fail(2)
  breaker.succeeded(early)
  t.equal(breaker.state, 'open')
  time.now = 1000
  breaker.enter()
  breaker.failed(other)
  t.equal(breaker.state, 'half-open')
})

/** The same rules with the state spelled out: no tickets, a set of the calls that count. */
class Model {
  state: BreakerState = 'closed'
  counting = new Set<number>()
  failures = 0
  until = 0
  readonly limit: number
  readonly open: number

  constructor(limit: number, open: number) {
    this.limit = limit
    this.open = open
  }

  enter(call: number, now: number): boolean {
    if (this.state !== 'closed') {
      if (now < this.until) return false
      this.become('half-open')
      this.until = now + this.open
    }
    this.counting.add(call)
    return true
  }

  end(call: number, result: string, now: number): void {
    if (!this.counting.delete(call)) return
    const isProbe = this.state === 'half-open'
    if (result === 'released' && isProbe) this.until = 0
    if (result === 'succeeded') {
      this.failures = 0
      if (isProbe) this.become('closed')
    }
    if (result === 'failed' && (isProbe || ++this.failures >= this.limit)) {
      this.become('open')
      this.failures = 0
      this.until = now + this.open
    }
  }

  become(state: BreakerState): void {
    this.state = state
    this.counting.clear()
  }
}

t.test('whatever happens in whatever order, it does what a simple model does', async () => {
  const step = fc.oneof(
    { weight: 3, arbitrary: fc.constant({ kind: 'enter' as const, n: 0 }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('wait' as const), n: fc.nat(1200) }) },
    {
      weight: 3,
      arbitrary: fc.record({
        kind: fc.constantFrom('succeeded' as const, 'failed' as const, 'released' as const),
        n: fc.nat(20)
      })
    }
  )
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 4 }), fc.array(step, { maxLength: 120 }), (limit, steps) => {
      const { breaker, time } = breakerAt(limit, 1000)
      const model = new Model(limit, 1000)
      const calls: { id: number; ticket: number }[] = []
      for (const [id, { kind, n }] of steps.entries()) {
        if (kind === 'wait') time.now += n
        else if (kind === 'enter') {
          const ticket = breaker.enter()
          if ((ticket !== -1) !== model.enter(id, time.now)) return false
          if (ticket !== -1) calls.push({ id, ticket })
        } else if (calls.length > 0) {
          const [call] = calls.splice(n % calls.length, 1) as [{ id: number; ticket: number }]
          breaker[kind](call.ticket)
          model.end(call.id, kind, time.now)
        }
        if (breaker.state !== model.state) return false
      }
      return true
    })
  )
})
