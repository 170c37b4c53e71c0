import fc from 'fast-check'
import t from 'tap'
import type { Verdict } from '../../src/perimeter/policy.ts'
import { answer, type Manifest, namespace, pod, policy, worldOf } from '../src/perimeter/cluster.ts'
import { base, type Case, cases } from '../src/perimeter/semantics-cases.ts'
import {
  cyclonusEvaluator,
  type Evaluator,
  networkConfigAnalyzer,
  type PolicySet,
  type Query
} from './evaluators.ts'

/**
 * Our evaluator against two that others have written, on the table of semantics and on generated policy sets. Where they differ, the row
 * of the table in docs/guide/proof.md that settles it is named here; a difference that no row explains fails.
 */
t.setTimeout(600_000)

const runs = Number(process.env.DIFFERENTIAL_SETS ?? 2000)
const mustRun = process.env.SALLYPORT_NO_SKIP === '1'

interface Difference {
  query: Query
  ours: Verdict
  theirs: boolean
}

interface Explanation {
  row: string
  by: string
  why: string
  explains(found: Difference, set: PolicySet): boolean
}

const explanations: Explanation[] = [
  {
    row: 'S13',
    by: 'network-config-analyzer',
    why: 'takes a block for addresses outside the cluster only: we say that it depends',
    explains: ({ ours }) => ours === 'cni-dependent'
  },
  {
    row: 'S13',
    by: 'cyclonus',
    why: 'matches a pod by its address, as Calico does: we say that it depends',
    explains: ({ ours }) => ours === 'cni-dependent'
  },
  {
    row: 'S12',
    by: 'cyclonus',
    why: 'NotIn does not match where the key is missing; apimachinery says that it does',
    explains: (found, set) => explainedByReading(found, set, notInNeedsKey)
  },
  {
    row: 'S10',
    by: 'network-config-analyzer',
    why: "looks for Exists and DoesNotExist in the policy's own namespace only, though a namespaceSelector stands beside them",
    explains: (found, set) => explainedByReading(found, set, existsInOwnNamespace)
  },
  {
    row: 'S15',
    by: 'network-config-analyzer',
    why: 'keeps one port for each name of a pod; a name counts with its protocol',
    explains: (found, set) => explainedByReading(found, set, onePortForEachName)
  },
  {
    row: 'S26',
    by: 'network-config-analyzer',
    why: 'does not read the ports of sidecars',
    explains: (found, set) => explainedByReading(found, set, withoutSidecars)
  }
]

/** Do we answer as they do when the policies say what they take them to say? */
function explainedByReading(
  { query, theirs }: Difference,
  set: PolicySet,
  reading: (value: unknown) => unknown
): boolean {
  const world = worldOf(...(set.manifests.map(reading) as Manifest[]))
  const { verdict } = answer(world, query.from, query.to, query.port, query.protocol)
  return verdict === 'cni-dependent' || verdict === (theirs ? 'allowed' : 'denied')
}

function onePortForEachName(value: unknown): unknown {
  const { kind, spec } = value as { kind?: string; spec?: { containers?: { ports?: { name: string }[] }[] } }
  if (kind !== 'Pod') return value
  const ports = (spec?.containers ?? []).flatMap(each => each.ports ?? [])
  const last = new Map(ports.map(each => [each.name, each]))
  return { ...(value as Manifest), spec: { ...spec, containers: [{ ports: [...last.values()] }] } }
}

function existsInOwnNamespace(value: unknown): unknown {
  const policy = value as Manifest
  if (policy.kind !== 'NetworkPolicy') return value
  const own = (policy.metadata as { namespace: string }).namespace
  return walk(policy)

  function walk(part: unknown): unknown {
    if (Array.isArray(part)) return part.map(walk)
    if (typeof part !== 'object' || part === null) return part
    const { namespaceSelector, podSelector } = part as Record<
      string,
      { matchExpressions?: { operator: string }[] }
    >
    const asks = podSelector?.matchExpressions?.some(
      each => each.operator.endsWith('Exist') || each.operator === 'Exists'
    )
    if (namespaceSelector === undefined || !asks) {
      return Object.fromEntries(Object.entries(part).map(([key, each]) => [key, walk(each)]))
    }
    const here = { key: 'kubernetes.io/metadata.name', operator: 'In', values: [own] }
    const matchExpressions = [...(namespaceSelector.matchExpressions ?? []), here]
    return { podSelector, namespaceSelector: { ...namespaceSelector, matchExpressions } }
  }
}

function withoutSidecars(value: unknown): unknown {
  const { kind, spec } = value as { kind?: string; spec?: Manifest }
  return kind === 'Pod' ? { ...(value as Manifest), spec: { ...spec, initContainers: [] } } : value
}

function notInNeedsKey(value: unknown): unknown {
  if (Array.isArray(value)) {
    const keys = value
      .filter(each => each?.operator === 'NotIn')
      .map(each => ({ key: each.key, operator: 'Exists' }))
    return [...value.map(notInNeedsKey), ...keys]
  }
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, notInNeedsKey(each)]))
}

const labels = fc.record(
  { app: fc.constantFrom('a', 'b'), tier: fc.constantFrom('x', 'y') },
  { requiredKeys: [] }
)
const expression = fc.oneof(
  fc.record({
    key: fc.constantFrom('app', 'tier', 'none'),
    operator: fc.constantFrom('In', 'NotIn'),
    values: fc.subarray(['a', 'b', 'x'], { minLength: 1 })
  }),
  fc.record({
    key: fc.constantFrom('app', 'tier', 'none'),
    operator: fc.constantFrom('Exists', 'DoesNotExist')
  })
)
const selector = fc.oneof(
  { weight: 3, arbitrary: labels.map(matchLabels => ({ matchLabels })) },
  {
    weight: 1,
    arbitrary: fc
      .array(expression, { minLength: 1, maxLength: 2 })
      .map(matchExpressions => ({ matchExpressions }))
  },
  { weight: 1, arbitrary: fc.constant({}) }
)
const namespaces = fc.constantFrom(
  {},
  { matchLabels: { team: 'one' } },
  { matchLabels: { 'kubernetes.io/metadata.name': 'y' } },
  { matchExpressions: [{ key: 'team', operator: 'NotIn', values: ['one'] }] },
  { matchExpressions: [{ key: 'team', operator: 'Exists' }] }
)
const block = fc.constantFrom(
  { cidr: '203.0.113.0/24' },
  { cidr: '203.0.113.0/24', except: ['203.0.113.128/25'] },
  { cidr: '0.0.0.0/0' },
  { cidr: '10.0.0.0/8', except: ['10.1.0.0/16'] }
)
const peer = fc.oneof(
  fc.record({ podSelector: selector }),
  fc.record({ namespaceSelector: namespaces }),
  fc.record({ namespaceSelector: namespaces, podSelector: selector }),
  fc.record({ ipBlock: block })
)
const port = fc.constantFrom<Manifest>(
  { port: 80 },
  { port: 'web' },
  { protocol: 'TCP' },
  { port: 80, endPort: 85 },
  { protocol: 'UDP', port: 53 },
  { protocol: 'UDP', port: 'web' },
  { protocol: 'SCTP', port: 80 },
  {}
)

function rules(key: 'from' | 'to'): fc.Arbitrary<Manifest[]> {
  const rule = fc.record(
    { [key]: fc.array(peer, { maxLength: 2 }), ports: fc.array(port, { maxLength: 2 }) },
    { requiredKeys: [] }
  )
  return fc.array(rule, { maxLength: 2 })
}

const spec = fc.record(
  {
    podSelector: selector,
    policyTypes: fc.constantFrom([], ['Ingress'], ['Egress'], ['Ingress', 'Egress']),
    ingress: rules('from'),
    egress: rules('to')
  },
  { requiredKeys: ['podSelector'] }
)

const containers = [
  {
    name: 'c',
    image: 'i',
    ports: [
      { name: 'web', containerPort: 80, protocol: 'TCP' },
      { name: 'dns', containerPort: 53, protocol: 'UDP' }
    ]
  }
]
const at = (where: string, name: string, podIP: string, own: Record<string, string>): Manifest => ({
  ...pod(where, name, own, { containers }),
  status: { podIP }
})
const cluster = [
  namespace('x', { team: 'one', 'kubernetes.io/metadata.name': 'x' }),
  namespace('y', { team: 'two', 'kubernetes.io/metadata.name': 'y' }),
  namespace('z', { 'kubernetes.io/metadata.name': 'z' }),
  at('x', 'ax', '10.0.0.1', { app: 'a', tier: 'x' }),
  at('x', 'by', '10.1.0.2', { app: 'b', tier: 'y' }),
  at('y', 'ay', '10.0.0.3', { app: 'a', tier: 'y' }),
  at('y', 'none', '10.1.0.4', {}),
  at('z', 'bx', '192.168.0.5', { app: 'b', tier: 'x' })
]
const pods = ['x/ax', 'x/by', 'y/ay', 'y/none', 'z/bx']
const outside = ['203.0.113.9', '203.0.113.200', '198.51.100.1']
const asked: Pick<Query, 'port' | 'protocol'>[] = [
  { port: 80, protocol: 'TCP' },
  { port: 85, protocol: 'TCP' },
  { port: 7, protocol: 'TCP' },
  { port: 53, protocol: 'UDP' },
  { port: 80, protocol: 'SCTP' }
]
const pairs = [...pods, ...outside].flatMap(from =>
  [...pods, ...outside]
    .filter(to => from !== to && (pods.includes(from) || pods.includes(to)))
    .map(to => ({ from, to }))
)
const queries = fc.subarray(
  pairs.flatMap(pair => asked.map(each => ({ ...pair, ...each }))),
  { minLength: 16, maxLength: 16 }
)

const sets: fc.Arbitrary<PolicySet> = fc
  .record({
    policies: fc.array(fc.record({ where: fc.constantFrom('x', 'y'), spec }), { minLength: 1, maxLength: 4 }),
    queries
  })
  .map(each => ({
    manifests: [...cluster, ...each.policies.map((one, index) => policy(one.where, `p${index}`, one.spec))],
    queries: each.queries
  }))

interface Comparison {
  same: number
  /** How many differences each row explains. */
  explained: Map<string, number>
  unexplained: string[]
  /** Sets that the other program does not read. */
  refused: number
}

async function compare(evaluator: Evaluator, all: readonly PolicySet[]): Promise<Comparison> {
  const theirs = await evaluator.answer(all)
  const explained = new Map<string, number>()
  const unexplained: string[] = []
  let same = 0
  let refused = 0
  for (const [index, set] of all.entries()) {
    const given = theirs[index]
    if (given === null || given === undefined) {
      refused++
      continue
    }
    const world = worldOf(...set.manifests)
    for (const [number, query] of set.queries.entries()) {
      const { verdict: ours, why } = answer(world, query.from, query.to, query.port, query.protocol)
      const other = given[number]!
      if (ours === (other ? 'allowed' : 'denied')) {
        same++
        continue
      }
      const difference = { query, ours, theirs: other }
      const reason = explanations.find(each => each.by === evaluator.name && each.explains(difference, set))
      if (reason !== undefined) explained.set(reason.row, (explained.get(reason.row) ?? 0) + 1)
      else {
        const policies = set.manifests.filter(each => each.kind === 'NetworkPolicy')
        unexplained.push(JSON.stringify({ ...query, ours, theirs: other, why, policies }))
      }
    }
  }
  return { same, explained, unexplained, refused }
}

for (const evaluator of [networkConfigAnalyzer, cyclonusEvaluator]) {
  const skip = evaluator.isInstalled || mustRun ? false : `skipped: ${evaluator.name} is not installed`
  t.test(`${evaluator.name} agrees on ${runs} generated policy sets`, { skip }, async t => {
    const all = fc.sample(sets, { numRuns: runs, seed: 2026 })
    const { same, explained, unexplained, refused } = await compare(evaluator, all)
    t.strictSame(unexplained.slice(0, 3), [], `${unexplained.length} differences that no row explains`)
    t.ok(same > runs * 10, `${same} answers are the same`)
    t.ok(refused < runs / 20, `${refused} sets are refused`)
    t.comment(JSON.stringify({ same, refused, explained: Object.fromEntries(explained) }))
  })
  t.test(`${evaluator.name} agrees on the table of semantics`, { skip }, async t => {
    const all = cases.filter(isComparable).map(toSet)
    const { same, unexplained } = await compare(evaluator, all)
    t.strictSame(unexplained, [])
    t.ok(same > 50, `${same} rows are the same`)
  })
}

/** What the other two do not model at all. */
function isComparable({ row, from, to }: Case): boolean {
  return !['S19', 'S20'].includes(row) && from !== to
}

function toSet({ cluster: own, from, to, port: number = 80, protocol = 'TCP' }: Case): PolicySet {
  const named = [...base, ...own]
  for (const where of new Set(
    named.filter(each => each.kind === 'Pod').map(each => (each.metadata as { namespace: string }).namespace)
  )) {
    if (!named.some(each => each.kind === 'Namespace' && (each.metadata as { name: string }).name === where))
      named.push(namespace(where))
  }
  const manifests = named.map(each => {
    if (each.kind !== 'Namespace') return each
    const metadata = each.metadata as { name: string; labels: Record<string, string> }
    return {
      ...each,
      metadata: { ...metadata, labels: { ...metadata.labels, 'kubernetes.io/metadata.name': metadata.name } }
    }
  })
  return { manifests, queries: [{ from, to, port: number, protocol }] }
}
