import fc from 'fast-check'
import t from 'tap'
import { createBalancer } from '../../../src/proxy/balancer.ts'

interface Fake {
  readonly name: number
  inFlight: number
}

function fakes(count: number): Fake[] {
  return Array.from({ length: count }, (_, name) => ({ name, inFlight: 0 }))
}

const kinds = fc.constantFrom('round-robin' as const, 'least-requests' as const)

t.test('round robin takes the endpoints in turn', async t => {
  const balancer = createBalancer('round-robin', fakes(3))
  t.same(
    Array.from({ length: 7 }, () => balancer.pick(null).name),
    [0, 1, 2, 0, 1, 2, 0]
  )
})

t.test('one endpoint gets everything, also the second try', async t => {
  const [only] = fakes(1) as [Fake]
  for (const kind of ['round-robin', 'least-requests'] as const) {
    const balancer = createBalancer(kind, [only])
    t.equal(balancer.pick(null), only)
    t.equal(balancer.pick(only), only)
  }
})

t.test('a second try goes to another endpoint', async () => {
  fc.assert(
    fc.property(kinds, fc.array(fc.nat(5), { minLength: 2, maxLength: 6 }), fc.nat(), (kind, loads, at) => {
      const endpoints = loads.map((inFlight, name) => ({ name, inFlight }))
      const balancer = createBalancer(kind, endpoints)
      const failed = endpoints[at % endpoints.length] as Fake
      return endpoints.every(() => balancer.pick(failed) !== failed)
    })
  )
})

t.test('least requests never takes an endpoint that has more to do than another', async () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 2, max: 6 }),
      fc.array(fc.option(fc.nat(), { nil: null }), { maxLength: 60 }),
      (count, steps) => {
        const endpoints = fakes(count)
        const balancer = createBalancer('least-requests', endpoints)
        const running: Fake[] = []
        for (const step of steps) {
          if (step !== null && running.length > 0) {
            const [ended] = running.splice(step % running.length, 1) as [Fake]
            ended.inFlight--
            continue
          }
          const picked = balancer.pick(null)
          if (picked.inFlight > Math.min(...endpoints.map(one => one.inFlight))) return false
          picked.inFlight++
          running.push(picked)
        }
        return true
      }
    )
  )
})

t.test('no endpoint starves: equals take turns, whatever the balance', async () => {
  fc.assert(
    fc.property(
      kinds,
      fc.integer({ min: 1, max: 7 }),
      fc.integer({ min: 1, max: 5 }),
      (kind, count, rounds) => {
        const balancer = createBalancer(kind, fakes(count))
        const picks = new Array<number>(count).fill(0)
        for (let i = 0; i < rounds * count; i++) picks[balancer.pick(null).name]!++
        return picks.every(one => one === rounds)
      }
    )
  )
})

t.test('least requests spreads calls that do not end', async () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 7 }), fc.nat(50), (count, calls) => {
      const endpoints = fakes(count)
      const balancer = createBalancer('least-requests', endpoints)
      for (let i = 0; i < calls; i++) balancer.pick(null).inFlight++
      const loads = endpoints.map(one => one.inFlight)
      return Math.max(...loads) - Math.min(...loads) <= 1
    })
  )
})
