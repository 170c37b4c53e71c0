import { execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import type { Protocol } from '../../src/perimeter/ports.ts'
import type { Manifest } from '../src/perimeter/cluster.ts'

export interface Query {
  /** `namespace/pod` or an address. */
  from: string
  to: string
  port: number
  protocol: Protocol
}

/** A cluster, and what is asked about it. */
export interface PolicySet {
  manifests: Manifest[]
  queries: Query[]
}

/** Another program that decides the same question; each was written from the specification by other people. */
export interface Evaluator {
  name: string
  isInstalled: boolean
  /** One answer for each query; undefined for a set that the program refuses. */
  answer(sets: readonly PolicySet[]): Promise<(boolean[] | null)[]>
}

const cache = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'sallyport-tools')
const python = join(cache, 'nca-2.1.0/bin/python')
const cyclonus = join(cache, 'cyclonus-0.5.6/cyclonus')
const limit = 512 * 1024 * 1024

/** PyPI network-config-analyzer: symbolic, over sets of peers and ports. Needs Namespace objects. */
export const networkConfigAnalyzer: Evaluator = {
  name: 'network-config-analyzer',
  isInstalled: existsSync(python),
  answer: async sets => {
    const half = Math.ceil(sets.length / 2)
    const parts = await Promise.all([askAnalyzer(sets.slice(0, half)), askAnalyzer(sets.slice(half))])
    return parts.flat()
  }
}

async function askAnalyzer(sets: readonly PolicySet[]): Promise<(boolean[] | null)[]> {
  const script = join(import.meta.dirname, 'ask-network-config-analyzer.py')
  const child = spawn(python, [script], { stdio: ['pipe', 'pipe', 'ignore'] })
  child.stdin.end(
    JSON.stringify(sets.map(each => ({ ...each, manifests: each.manifests.map(withTypes).map(withoutIdle) })))
  )
  return JSON.parse(await text(child.stdout))
}

/** mattfenwick/cyclonus: one connection at a time, pods matched by address too. */
export const cyclonusEvaluator: Evaluator = {
  name: 'cyclonus',
  isInstalled: existsSync(cyclonus),
  answer: async sets => {
    const answers: boolean[][] = []
    // Many sets go into one run, each with namespaces of its own; a connection never leaves its set.
    for (let start = 0; start < sets.length; start += 50)
      answers.push(...askCyclonus(sets.slice(start, start + 50)))
    return answers
  }
}

function askCyclonus(sets: readonly PolicySet[]): boolean[][] {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-cyclonus-'))
  try {
    const policies = sets.flatMap((each, index) =>
      each.manifests.filter(one => one.kind === 'NetworkPolicy').map(one => moved(withTypes(one), index))
    )
    const list = { apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicyList', items: policies }
    const traffic = sets.flatMap((each, index) => each.queries.map(query => trafficOf(each, index, query)))
    writeFileSync(join(folder, 'policies.yaml'), JSON.stringify(list))
    writeFileSync(join(folder, 'traffic.json'), JSON.stringify(traffic))
    const args = ['analyze', '--mode', 'query-traffic', '--policy-path', join(folder, 'policies.yaml')]
    const output = execFileSync(cyclonus, [...args, '--traffic-path', join(folder, 'traffic.json')], {
      encoding: 'utf8',
      maxBuffer: limit,
      stdio: ['ignore', 'pipe', 'ignore']
    })
    const found = [...output.matchAll(/IS ALLOWED\? \| +(TRUE|FALSE)/g)].map(match => match[1] === 'TRUE')
    if (found.length !== traffic.length)
      throw new Error(`cyclonus answered ${found.length} of ${traffic.length}`)
    let next = 0
    return sets.map(each => each.queries.map(() => found[next++]!))
  } finally {
    rmSync(folder, { recursive: true })
  }
}

function moved(policy: Manifest, index: number): Manifest {
  const metadata = policy.metadata as { namespace: string }
  return { ...policy, metadata: { ...metadata, namespace: `${metadata.namespace}-${index}` } }
}

/** Neither program applies this default of the API server (S4); cyclonus refuses a policy without it. */
function withTypes(policy: Manifest): Manifest {
  if (policy.kind !== 'NetworkPolicy') return policy
  const spec = (policy.spec ?? {}) as { policyTypes?: string[]; egress?: unknown[]; podSelector?: unknown }
  const policyTypes = spec.policyTypes?.length
    ? spec.policyTypes
    : (spec.egress?.length ?? 0) > 0
      ? ['Ingress', 'Egress']
      : ['Ingress']
  return { ...policy, spec: { podSelector: {}, ...spec, policyTypes } }
}

/** Refused by network-config-analyzer, though the API takes it and it means nothing: rules of a direction that is not listed (S5). */
function withoutIdle(policy: Manifest): Manifest {
  if (policy.kind !== 'NetworkPolicy') return policy
  const { ingress, egress, ...spec } = policy.spec as {
    ingress?: unknown
    egress?: unknown
    policyTypes: string[]
  }
  const kept = {
    ...(spec.policyTypes.includes('Ingress') && ingress ? { ingress } : {}),
    ...(spec.policyTypes.includes('Egress') && egress ? { egress } : {})
  }
  return { ...policy, spec: { ...spec, ...kept } }
}

interface PodView {
  metadata: { namespace: string; name: string; labels?: Record<string, string> }
  spec: { containers?: ContainerView[]; initContainers?: ContainerView[] }
  status?: { podIP?: string }
}

interface ContainerView {
  ports?: { name?: string; containerPort: number; protocol?: string }[]
}

function trafficOf(set: PolicySet, index: number, query: Query): unknown {
  const destination = podOf(set, query.to)
  const containers = [...(destination?.spec.containers ?? []), ...(destination?.spec.initContainers ?? [])]
  const named = containers
    .flatMap(each => each.ports ?? [])
    .find(each => each.containerPort === query.port && (each.protocol ?? 'TCP') === query.protocol)
  return {
    Source: peerOf(set, index, query.from),
    Destination: peerOf(set, index, query.to),
    ResolvedPort: query.port,
    ResolvedPortName: named?.name ?? '',
    Protocol: query.protocol
  }
}

function podOf(set: PolicySet, end: string): PodView | undefined {
  const pods = set.manifests.filter(each => each.kind === 'Pod') as unknown as PodView[]
  return pods.find(each => `${each.metadata.namespace}/${each.metadata.name}` === end)
}

function peerOf(set: PolicySet, index: number, end: string): unknown {
  const pod = podOf(set, end)
  if (pod === undefined) return { IP: end }
  const { namespace, labels = {} } = pod.metadata
  const object = set.manifests.find(
    each => each.kind === 'Namespace' && (each.metadata as { name: string }).name === namespace
  )
  const own = (object?.metadata as { labels?: Record<string, string> } | undefined)?.labels
  const NamespaceLabels = { ...own, 'kubernetes.io/metadata.name': namespace }
  return {
    Internal: { PodLabels: labels, NamespaceLabels, Namespace: `${namespace}-${index}` },
    IP: pod.status?.podIP ?? '192.168.255.254'
  }
}
