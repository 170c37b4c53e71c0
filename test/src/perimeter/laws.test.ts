import fc from 'fast-check'
import t from 'tap'
import { readManifests } from '../../../src/perimeter/manifests.ts'
import type { Verdict } from '../../../src/perimeter/policy.ts'
import type { Protocol } from '../../../src/perimeter/ports.ts'
import { answer, type Manifest, namespace, pod, policy, problemsOf, text, worldOf } from './cluster.ts'

/** What must hold of every policy set, whatever the policies say. */
const labels = fc.record(
  { app: fc.constantFrom('a', 'b'), tier: fc.constantFrom('x', 'y') },
  { requiredKeys: [] }
)
const selector = labels.map(matchLabels => ({ matchLabels }))
const peer = fc.oneof(
  fc.record({ podSelector: selector }),
  fc.record({ namespaceSelector: fc.constantFrom({}, { matchLabels: { team: 'one' } }) }),
  fc.record({
    namespaceSelector: fc.constantFrom({}, { matchLabels: { team: 'one' } }),
    podSelector: selector
  }),
  fc.constantFrom('10.0.0.0/8', '203.0.113.0/24').map(cidr => ({ ipBlock: { cidr } }))
)
const port = fc.constantFrom(
  { port: 80 },
  { port: 'web' },
  {},
  { port: 80, endPort: 90 },
  { protocol: 'UDP', port: 53 }
)
const rule = (key: 'from' | 'to'): fc.Arbitrary<Manifest> =>
  fc.record(
    { [key]: fc.array(peer, { maxLength: 3 }), ports: fc.array(port, { maxLength: 3 }) },
    { requiredKeys: [] }
  )

const spec: fc.Arbitrary<Manifest> = fc.record(
  {
    podSelector: selector,
    policyTypes: fc.constantFrom([], ['Ingress'], ['Egress'], ['Ingress', 'Egress']),
    ingress: fc.array(rule('from'), { maxLength: 2 }),
    egress: fc.array(rule('to'), { maxLength: 2 })
  },
  { requiredKeys: [] }
)
const policies = fc
  .array(fc.record({ where: fc.constantFrom('n', 'm'), spec }), { maxLength: 5 })
  .map(all => all.map((each, index) => policy(each.where, `p${index}`, each.spec)))

const containers = [{ ports: [{ name: 'web', containerPort: 80 }] }]
const fixed = [
  namespace('n', { team: 'one' }),
  namespace('m'),
  ...['n', 'm'].flatMap(where => [
    pod(where, 'ax', { app: 'a', tier: 'x' }, { containers }),
    pod(where, 'by', { app: 'b', tier: 'y' }, { containers }),
    pod(where, 'none')
  ])
]
const ends = ['n/ax', 'n/by', 'n/none', 'm/ax', 'm/by', 'm/none', '203.0.113.9', '10.1.1.1']
const ports: [number, Protocol][] = [
  [80, 'TCP'],
  [85, 'TCP'],
  [53, 'UDP']
]

function everyAnswer(all: readonly Manifest[]): Map<string, Verdict> {
  const world = worldOf(...fixed, ...all)
  const found = new Map<string, Verdict>()
  for (const from of ends) {
    for (const to of ends) {
      for (const [number, protocol] of ports) {
        found.set(`${from} ${to} ${number}/${protocol}`, answer(world, from, to, number, protocol).verdict)
      }
    }
  }
  return found
}

const options = { numRuns: 60, seed: 28 }

t.test('the order of policies, rules, peers and ports does not matter (S2)', async t => {
  const reversed = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(reversed).reverse()
    if (typeof value !== 'object' || value === null) return value
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, reversed(each)]))
  }
  fc.assert(
    fc.property(policies, all => {
      t.strictSame(everyAnswer(reversed(all) as Manifest[]), everyAnswer(all))
    }),
    options
  )
})

t.test('the names of policies do not matter', async t => {
  const renamed = (each: Manifest, index: number): Manifest => ({
    ...each,
    metadata: { ...(each.metadata as Manifest), name: `other-${9 - index}` }
  })
  fc.assert(
    fc.property(policies, all => {
      t.strictSame(everyAnswer(all.map(renamed)), everyAnswer(all))
    }),
    options
  )
})

t.test('a further policy for pods that are isolated already never takes an allow away (S2)', async t => {
  const rank: Record<Verdict, number> = { denied: 0, 'cni-dependent': 1, allowed: 2 }
  const isolated = ['n', 'm'].map(where => policy(where, 'deny', { policyTypes: ['Ingress', 'Egress'] }))
  fc.assert(
    fc.property(policies, policies, (all, more) => {
      const before = everyAnswer([...isolated, ...all])
      const renamed = more.map((each, index) => ({
        ...each,
        metadata: { ...(each.metadata as Manifest), name: `m${index}` }
      }))
      for (const [connection, verdict] of everyAnswer([...isolated, ...all, ...renamed])) {
        const was = before.get(connection)
        if (was === undefined || rank[verdict] < rank[was])
          throw new Error(`${connection}: ${was} became ${verdict}`)
      }
    }),
    options
  )
  t.pass('for every generated pair of sets')
})

t.test('applying the defaults of the API server twice is applying them once (S4, S8)', async t => {
  fc.assert(
    fc.property(policies, all => {
      const stored = all.map(defaulted)
      t.strictSame(everyAnswer(stored), everyAnswer(all))
      t.strictSame(stored.map(defaulted), stored)
    }),
    options
  )

  /** What `kubectl get -o json` would show of the policy. */
  function defaulted(each: Manifest): Manifest {
    const { podSelector = {}, policyTypes, ingress, egress } = each.spec as Record<string, Manifest[]>
    const [read] = readManifests([{ file: 'one.json', text: text([each]) }]).policies
    const types = [read?.ingress && 'Ingress', read?.egress && 'Egress'].filter(type => type !== undefined)
    const withProtocol = (rules: Manifest[] | undefined): Manifest[] | undefined =>
      rules?.map(rule => ({
        ...rule,
        ...(rule.ports
          ? { ports: (rule.ports as Manifest[]).map(entry => ({ protocol: 'TCP', ...entry })) }
          : {})
      }))
    const spec = {
      podSelector,
      policyTypes: policyTypes?.length ? policyTypes : types,
      ...(ingress ? { ingress: withProtocol(ingress) } : {}),
      ...(egress ? { egress: withProtocol(egress) } : {})
    }
    return { ...each, spec }
  }
})

t.test('the same object read twice is one object; two different ones are a mistake', async t => {
  const one = policy('n', 'p', { ingress: [{}] })
  t.strictSame(problemsOf(one, policy('n', 'p', { policyTypes: ['Ingress'], ingress: [{}] })), [])
  t.match(problemsOf(one, policy('n', 'p', { ingress: [] })), [/declared differently at/])
})

t.test('labels are no list: the API server returns them in an order of its own', async t => {
  const peered = (matchLabels: object): Manifest =>
    policy('n', 'p', {
      podSelector: { matchLabels },
      ingress: [{ from: [{ podSelector: { matchLabels } }] }]
    })
  t.strictSame(problemsOf(peered({ b: '1', a: '2' }), peered({ a: '2', b: '1' })), [])
  t.match(problemsOf(peered({ b: '1', a: '2' }), peered({ a: '1', b: '2' })), [/declared differently at/])
  t.strictSame(problemsOf(namespace('n', { b: '1', a: '2' }), namespace('n', { a: '2', b: '1' })), [])
})
