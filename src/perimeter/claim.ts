import type { Declared, Edge } from './declared.ts'
import type { Gateway } from './gateway.ts'
import type { At } from './objects.ts'
import type { Example } from './openings.ts'
import type { PodEnd } from './policy.ts'
import type { Protocol } from './ports.ts'
import { portSet } from './ports.ts'
import { type Labels, matches } from './selector.ts'
import type { Upstream } from './upstreams.ts'
import type { World } from './world.ts'

export type ProofVerdict = 'proven' | 'not-proven' | 'refuted'

export interface Counterexample {
  /** A namespace that is the empty string stands for an address outside of all namespaces. */
  from: Example
  to: Example
  port: number
  protocol: Protocol
  /** `namespace/name`; null when it is the lack of a policy. */
  policy: string | null
  rule: number | null
  at: At | null
  why: string
}

/** Codes of findings: public, never reused. `docs/guide/proof.md` lists them. */
export type FindingCode =
  | 'selector-matches-nothing'
  | 'service-exposed'
  | 'service-port'
  | 'host-network'
  | 'foreign-policy-opens'
  | 'default-deny-missing'
  | 'dash-slip'
  | 'port-range'
  | 'gateway-unreachable'
  | 'gateway-egress-open'
  | 'gateway-ingress-open'
  | 'gateway-ingress-closed'
  | 'gateway-labels-shared'
  | 'dns-closed'
  | 'edge-broken'
  | 'edge-opens-more'
  | 'policy-opens-more'
  | 'other-policy-api'
  | 'outside-cluster'
  | 'nothing-to-prove'

export interface Finding {
  code: FindingCode
  text: string
  at: At | null
}

/** What one check found out. */
export interface Claim {
  verdict: ProofVerdict
  counterexamples: Counterexample[]
  findings: Finding[]
}

export interface Case {
  world: World
  gateway: Gateway
  upstreams: readonly Upstream[]
  declared: Declared
}

const rank: Readonly<Record<ProofVerdict, number>> = { proven: 0, 'not-proven': 1, refuted: 2 }

export function worst(verdicts: Iterable<ProofVerdict>): ProofVerdict {
  let result: ProofVerdict = 'proven'
  for (const verdict of verdicts) if (rank[verdict] > rank[result]) result = verdict
  return result
}

export function mergeClaims(claims: readonly Claim[]): Claim {
  return {
    verdict: worst(claims.map(each => each.verdict)),
    counterexamples: claims.flatMap(each => each.counterexamples),
    findings: claims.flatMap(each => each.findings)
  }
}

export function finding(code: FindingCode, text: string, at: At | null | undefined): Finding {
  return { code, text, at: at ?? null }
}

/** The gateway may connect to the pods of the upstream, on its port. */
export function upstreamEdge(gateway: Gateway, upstream: Upstream): Edge {
  return {
    name: upstream.name,
    from: { kind: 'pods', namespace: gateway.namespace, selector: gateway.selector },
    to: { kind: 'pods', namespace: upstream.namespace, selector: upstream.selector },
    ports: portSet('TCP', upstream.port, upstream.port),
    at: upstream.at
  }
}

/** Pods as ends, one for each set of labels; if none is declared, one with just the given labels. */
export function endsOf(
  world: World,
  namespace: string,
  labels: Labels,
  name: string,
  pods: readonly PodEnd[]
): PodEnd[] {
  const seen = new Map<string, PodEnd>()
  for (const end of pods) {
    const key = JSON.stringify([Object.entries(end.labels).sort(), end.pod?.ports, end.pod?.addresses])
    if (!seen.has(key)) seen.set(key, end)
  }
  if (seen.size > 0) return [...seen.values()]
  return [{ kind: 'pod', namespace: world.namespace(namespace), name, labels, pod: undefined }]
}

/** The gateway's own pods: those of its Deployment, if that is given. */
export function gatewayEnds({ world, gateway }: Case): PodEnd[] {
  const deployed = gateway.pods.filter(pod => pod.kind === 'Deployment')
  const pods = (deployed.length > 0 ? deployed : gateway.pods).filter(pod => !pod.hostNetwork)
  const ends = pods.map(pod => endOf(world, pod))
  return endsOf(world, gateway.namespace, gateway.labels, 'the gateway', ends)
}

export function upstreamEnds({ world }: Case, upstream: Upstream): PodEnd[] {
  const pods = world
    .podsOf(upstream.namespace)
    .filter(pod => matches(upstream.selector, pod.labels) && !pod.hostNetwork)
  const ends = pods.map(pod => endOf(world, pod))
  return endsOf(world, upstream.namespace, upstream.labels, `the pods of ${upstream.name}`, ends)
}

function endOf(world: World, pod: NonNullable<PodEnd['pod']>): PodEnd {
  return { kind: 'pod', namespace: world.namespace(pod.namespace), name: pod.name, labels: pod.labels, pod }
}
