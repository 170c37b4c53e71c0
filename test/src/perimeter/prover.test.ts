import fc from 'fast-check'
import t from 'tap'
import { parseAddress } from '../../../src/perimeter/addresses.ts'
import { findGateway } from '../../../src/perimeter/gateway.ts'
import { readManifests } from '../../../src/perimeter/manifests.ts'
import { proveOnlyGateway } from '../../../src/perimeter/only-gateway.ts'
import { type End, evaluate, type PodEnd } from '../../../src/perimeter/policy.ts'
import type { Protocol } from '../../../src/perimeter/ports.ts'
import { buildCase } from '../../../src/perimeter/prove.ts'
import type { Labels } from '../../../src/perimeter/selector.ts'
import { upstreamsOf } from '../../../src/perimeter/upstreams.ts'
import { type Manifest, namespace, policy, text } from './cluster.ts'

/**
 * The prover against enumeration: a universe so small that every pod, namespace and port in it can be tried one after the other, and
 * so rich that for each value a policy can name there is one that it does not name. What the prover calls refuted must have a
 * connection in it (soundness), and what has one must be refuted (completeness).
 */
const name = 'kubernetes.io/metadata.name'
const values = [undefined, '1', '2', 'unnamed']
const ports: [number, Protocol][] = [
  [80, 'TCP'],
  [81, 'TCP'],
  [7, 'TCP'],
  [80, 'UDP'],
  [7, 'SCTP']
]
const addresses = ['203.0.113.9', '203.0.113.200', '198.51.100.1', '10.1.2.3', '10.200.0.1', '2001:db8::1']

function labelsOf(entries: Record<string, string | undefined>): Labels {
  return Object.fromEntries(Object.entries(entries).filter(([, value]) => value !== undefined)) as Labels
}

const everyLabels: Labels[] = values.flatMap(a => values.map(b => labelsOf({ a, b })))

const expression = (keys: string[]): fc.Arbitrary<Manifest> =>
  fc.oneof(
    fc.record({
      key: fc.constantFrom(...keys),
      operator: fc.constantFrom('In', 'NotIn'),
      values: fc.subarray(['1', '2'], { minLength: 1 })
    }),
    fc.record({ key: fc.constantFrom(...keys), operator: fc.constantFrom('Exists', 'DoesNotExist') })
  )

function selector(keys: string[]): fc.Arbitrary<Manifest> {
  return fc.oneof(
    {
      weight: 3,
      arbitrary: fc
        .dictionary(fc.constantFrom(...keys), fc.constantFrom('1', '2'), { maxKeys: 2 })
        .map(matchLabels => ({ matchLabels }))
    },
    {
      weight: 2,
      arbitrary: fc.array(expression(keys), { maxLength: 2 }).map(matchExpressions => ({ matchExpressions }))
    }
  )
}

const namespaces = fc.oneof(
  fc.constantFrom('gw', 'shop', 'new').map(each => ({ matchLabels: { [name]: each } })),
  fc.constant({ matchExpressions: [{ key: name, operator: 'NotIn', values: ['gw', 'shop'] }] }),
  selector(['t'])
)

const gatewayPeer = {
  namespaceSelector: { matchLabels: { [name]: 'gw' } },
  podSelector: { matchLabels: { a: '1' } }
}

const peer = fc.oneof(
  { weight: 3, arbitrary: fc.constant(gatewayPeer) },
  { weight: 2, arbitrary: fc.record({ podSelector: selector(['a', 'b']) }) },
  { weight: 1, arbitrary: fc.record({ namespaceSelector: namespaces }) },
  { weight: 2, arbitrary: fc.record({ namespaceSelector: namespaces, podSelector: selector(['a', 'b']) }) },
  {
    weight: 1,
    arbitrary: fc
      .constantFrom({ cidr: '203.0.113.0/24', except: ['203.0.113.128/25'] }, { cidr: '10.0.0.0/9' })
      .map(ipBlock => ({ ipBlock }))
  }
)

const port = fc.oneof(
  { weight: 4, arbitrary: fc.constant({ port: 80 }) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      {},
      { port: 81 },
      { port: 80, endPort: 81 },
      { protocol: 'UDP', port: 80 },
      { protocol: 'SCTP' }
    )
  }
)

function rules(peers: 'from' | 'to'): fc.Arbitrary<Manifest[]> {
  const rule = fc
    .record({
      peers: fc.oneof(
        { weight: 9, arbitrary: fc.array(peer, { minLength: 1, maxLength: 2 }) },
        { weight: 1, arbitrary: fc.constant([]) }
      ),
      ports: fc.oneof(
        { weight: 9, arbitrary: fc.array(port, { minLength: 1, maxLength: 2 }) },
        { weight: 1, arbitrary: fc.constant([]) }
      )
    })
    .map(each => ({ [peers]: each.peers, ports: each.ports }))
  return fc.array(rule, { maxLength: 2 })
}

const onePolicy = (index: number): fc.Arbitrary<Manifest> =>
  fc
    .record({
      where: fc.constantFrom('shop', 'shop', 'shop', 'gw', 'side', 'side'),
      podSelector: fc.oneof(fc.constant({}), fc.constant({ matchLabels: { a: '1' } }), selector(['a', 'b'])),
      policyTypes: fc.constantFrom(['Ingress'], ['Ingress'], ['Egress'], ['Ingress', 'Egress']),
      ingress: rules('from'),
      egress: rules('to')
    })
    .map(({ where, ...spec }) => policy(where, `p${index}`, spec))

const clusters = fc
  .integer({ min: 1, max: 4 })
  .chain(count => fc.tuple(...Array.from({ length: count }, (_, index) => onePolicy(index))))

/** Most clusters worth asking about are shut by default, on either side. */
const shut = fc.subarray([
  policy('shop', 'deny', { policyTypes: ['Ingress'] }),
  policy('shop', 'deny-out', { policyTypes: ['Egress'] }),
  policy('side', 'deny-out', { policyTypes: ['Egress'] }),
  policy('gw', 'deny-out', { policyTypes: ['Egress'] })
])

const declared = fc.constantFrom(
  undefined,
  { from: { namespace: 'side', podLabels: { b: '2' } }, to: { podLabels: { a: '1' } }, port: 81 },
  { from: { cidr: '203.0.113.0/26' }, to: { podLabels: { b: '1' } }, port: 80 },
  { from: { namespace: 'shop' }, to: {}, port: 80 }
)

function isDeclared(
  edge: typeof declared extends fc.Arbitrary<infer T> ? T : never,
  from: End,
  to: PodEnd,
  port: number,
  protocol: Protocol
): boolean {
  if (protocol !== 'TCP') return false
  const isGateway = from.kind === 'pod' && from.namespace.name === 'gw' && from.labels.a === '1'
  if (isGateway && to.labels.a === '1' && port === 80) return true
  if (edge === undefined || edge.port !== port) return false
  const has = (labels: Labels, wanted: Record<string, string | undefined> = {}): boolean =>
    Object.entries(wanted).every(([key, value]) => labels[key] === value)
  if (!has(to.labels, (edge.to as { podLabels?: Record<string, string> }).podLabels)) return false
  const source = edge.from as { cidr?: string; namespace?: string; podLabels?: Record<string, string> }
  if (source.cidr !== undefined) return from.kind === 'address' && from.address === '203.0.113.9'
  return from.kind === 'pod' && from.namespace.name === source.namespace && has(from.labels, source.podLabels)
}

t.test('the prover agrees with trying everything', async t => {
  const seen = { proven: 0, refuted: 0, 'not-proven': 0 }
  fc.assert(
    fc.property(clusters, declared, shut, (policies, edge, denials) => {
      const objects = [namespace('side', { t: '1' }), ...policies, ...denials]
      const perimeter = { protect: { namespaces: { shop: { allow: edge === undefined ? [] : [edge] } } } }
      const gateway: Manifest = {
        apiVersion: 'apps/v1',
        kind: 'Deployment',
        metadata: {
          namespace: 'gw',
          name: 'g',
          labels: { 'app.kubernetes.io/name': 'sallyport' },
          annotations: { 'sallyport.io/perimeter': JSON.stringify(perimeter) }
        },
        spec: { selector: { matchLabels: { a: '1' } }, template: { metadata: { labels: { a: '1' } } } }
      }
      const manifests = readManifests([{ file: 'test.json', text: text([gateway, ...objects]) }])
      const upstreams = upstreamsOf(
        { upstreams: { u: { kubernetes: { namespace: 'shop', podSelector: { a: '1' }, port: 80 } } } },
        'gateway.yaml'
      )
      const situation = buildCase(manifests, upstreams, findGateway(manifests, undefined))
      const { world } = situation
      const pod = (where: PodEnd['namespace'], labels: Labels): PodEnd => ({
        kind: 'pod',
        namespace: where,
        labels,
        name: 'n',
        pod: undefined
      })
      const news = ['new', 'unnamed'].flatMap(each =>
        values.map(value => ({ name: each, labels: labelsOf({ [name]: each, t: value }), at: undefined }))
      )
      const places = [...world.known.values(), ...news]
      const sources: End[] = [
        ...places.flatMap(where => everyLabels.map(labels => pod(where, labels))),
        ...addresses.map(address => ({ kind: 'address' as const, address, point: parseAddress(address)! }))
      ]
      const destinations = everyLabels
        .filter(each => each.a === '1')
        .map(each => pod(world.namespace('shop'), each))
      let expected: 'proven' | 'not-proven' | 'refuted' = 'proven'
      for (const to of destinations) {
        for (const [number, protocol] of ports) {
          for (const from of sources) {
            if (isDeclared(edge, from, to, number, protocol)) continue
            const found = evaluate(world, from, to, number, protocol)
            // A block that a pod's address could lie in is asked about as addresses (S13).
            if (found.ingress.verdict === 'denied' || found.ingress.verdict === 'cni-dependent') continue
            const isInside =
              from.kind === 'address' && from.address.startsWith('10.') && found.ingress.policies.length > 0
            const opensToAll = found.ingress.policies.some(each => isForEverybody(policies, each))
            if (found.verdict === 'allowed' && (!isInside || opensToAll)) expected = 'refuted'
            else if (expected === 'proven') expected = 'not-proven'
          }
        }
      }
      const claim = proveOnlyGateway(situation, situation.upstreams[0]!)
      seen[claim.verdict]++
      if (claim.verdict !== expected)
        throw new Error(`prover says ${claim.verdict}, trying everything ${expected}`)
    }),
    { numRuns: Number(process.env.PROVER_RUNS ?? 300), seed: Number(process.env.PROVER_SEED ?? 4) }
  )
  t.ok(seen.proven > 20 && seen.refuted > 20 && seen['not-proven'] > 5, JSON.stringify(seen))
})

function isForEverybody(
  policies: readonly Manifest[],
  found: { policy: string; rule: number | null }
): boolean {
  const index = Number(/\/p(\d)$/.exec(found.policy)?.[1] ?? -1)
  const spec = policies[index]?.spec as { ingress: { from: unknown[] }[] } | undefined
  return spec?.ingress[found.rule ?? -1]?.from.length === 0
}
