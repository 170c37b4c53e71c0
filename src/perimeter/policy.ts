import { parseAddress } from './addresses.ts'
import { contains } from './intervals.ts'
import type { At, Direction, Namespace, Peer, Pod, Policy, Rule } from './objects.ts'
import { namedPorts, numericPorts, type PortEntry, type Protocol, portPoint } from './ports.ts'
import { type Labels, matches } from './selector.ts'
import { policyName, type World } from './world.ts'

/** Three-valued: where the API leaves the answer to the network plugin, so do we. */
export type Verdict = 'denied' | 'cni-dependent' | 'allowed'

const rank: Readonly<Record<Verdict, number>> = { denied: 0, 'cni-dependent': 1, allowed: 2 }

export function weakest(a: Verdict, b: Verdict): Verdict {
  return rank[a] < rank[b] ? a : b
}

export function strongest(a: Verdict, b: Verdict): Verdict {
  return rank[a] > rank[b] ? a : b
}

/** One end of a connection. */
export type End = PodEnd | { kind: 'address'; address: string; point: bigint; isServiceAddress?: boolean }

export interface PodEnd {
  kind: 'pod'
  namespace: Namespace
  name: string
  labels: Labels
  /** Undefined for a pod that nobody has declared: nothing is known but its labels. */
  pod: Pod | undefined
}

/** What one end says: the rules that let the connection through or, where it is denied, the policies that isolate the pod. */
export interface Side {
  verdict: Verdict
  policies: { policy: string; rule: number | null; at: At }[]
}

export interface Answer {
  verdict: Verdict
  egress: Side
  ingress: Side
  why: string
}

const open: Side = { verdict: 'allowed', policies: [] }

/** May `from` open a connection to `to`? Egress of the one and ingress of the other must both let it (S3). */
export function evaluate(world: World, from: End, to: End, port: number, protocol: Protocol): Answer {
  if (isSamePod(from, to)) {
    return {
      verdict: 'allowed',
      egress: open,
      ingress: open,
      why: 'a pod always reaches itself by its address (S22)'
    }
  }
  const point = portPoint(protocol, port)
  const egress = evaluateSide(world, 'egress', from, to, point)
  const ingress = evaluateSide(world, 'ingress', to, from, point)
  return {
    verdict: weakest(egress.side.verdict, ingress.side.verdict),
    egress: egress.side,
    ingress: ingress.side,
    why: [egress.why, ingress.why].join('; ')
  }
}

function isSamePod(from: End, to: End): boolean {
  return from.kind === 'pod' && to.kind === 'pod' && from.pod?.kind === 'Pod' && from.pod === to.pod
}

interface Judged {
  side: Side
  why: string
}

export function evaluateSide(
  world: World,
  direction: Direction,
  self: End,
  other: End,
  point: number
): Judged {
  const plain = evaluatePolicies(world, direction, self, other, point)
  // A Service's address is rewritten before or after the policy looks, as the plugin likes (S23).
  if (other.kind === 'address' && other.isServiceAddress && plain.side.policies.length > 0) {
    return {
      side: { ...plain.side, verdict: 'cni-dependent' },
      why: `${plain.why}, but ${other.address} is the address of a Service: policies act on the pods behind it (S23)`
    }
  }
  if (self.kind === 'pod' && self.pod?.hostNetwork && plain.side.verdict === 'denied') {
    return {
      side: { ...plain.side, verdict: 'cni-dependent' },
      why: `${plain.why}, but most plugins apply no policy to hostNetwork pods (S19)`
    }
  }
  if (direction === 'ingress' && plain.side.verdict === 'denied' && mayShareNode(self, other)) {
    return {
      side: { ...plain.side, verdict: 'cni-dependent' },
      why: `${plain.why}, but a hostNetwork pod on the same node counts as the node, which is let in (S19, S20)`
    }
  }
  return plain
}

function mayShareNode(self: End, other: End): boolean {
  if (self.kind !== 'pod' || other.kind !== 'pod' || !other.pod?.hostNetwork) return false
  const mine = self.pod?.node
  return mine === undefined || other.pod.node === undefined || mine === other.pod.node
}

function evaluatePolicies(world: World, direction: Direction, self: End, other: End, point: number): Judged {
  const verb = direction === 'ingress' ? 'ingress of' : 'egress of'
  if (self.kind === 'address') return { side: open, why: `${self.address} is no pod: never isolated (S3)` }
  const name = `${verb} ${self.namespace.name}/${self.name}`
  const selecting = world
    .selecting({ namespace: self.namespace.name, labels: self.labels })
    .filter(policy => policy[direction] !== undefined)
  if (selecting.length === 0) return { side: open, why: `${name}: no policy isolates it` }
  let verdict: Verdict = 'denied'
  const policies: Side['policies'] = []
  const reasons: string[] = []
  for (const policy of selecting) {
    for (const rule of policy[direction] ?? []) {
      const found = judgeRule(policy, rule, direction, self, other, point)
      if (found === 'denied') continue
      if (rank[found] > rank[verdict]) policies.length = reasons.length = 0
      verdict = strongest(verdict, found)
      if (found !== verdict) continue
      policies.push({ policy: policyName(policy), rule: rule.index, at: rule.at })
      reasons.push(`${policyName(policy)} ${direction}[${rule.index}]`)
    }
  }
  if (verdict === 'denied') {
    const isolating = selecting.map(policy => ({ policy: policyName(policy), rule: null, at: policy.at }))
    const names = isolating.map(each => each.policy).join(', ')
    return {
      side: { verdict, policies: isolating },
      why: `${name}: isolated by ${names}, and no rule lets it through`
    }
  }
  const how = verdict === 'allowed' ? 'let through by' : 'may be let through, depending on the CNI, by'
  return { side: { verdict, policies }, why: `${name}: ${how} ${reasons.join(', ')}` }
}

/** A rule lets a connection through when one of its peers and one of its ports match (S7, S8). */
export function judgeRule(
  policy: Policy,
  rule: Rule,
  direction: Direction,
  self: PodEnd,
  other: End,
  point: number
): Verdict {
  const destination = direction === 'ingress' ? self : other
  const ports = judgePorts(rule.ports, destination, point)
  return ports === 'denied' ? 'denied' : weakest(ports, judgePeers(policy, rule, other))
}

export function judgePeers(policy: Policy, rule: Rule, other: End): Verdict {
  if (rule.peers === undefined) return 'allowed'
  let verdict: Verdict = 'denied'
  for (const peer of rule.peers) verdict = strongest(verdict, judgePeer(policy, peer, other))
  return verdict
}

function judgePeer(policy: Policy, peer: Peer, other: End): Verdict {
  if (peer.kind === 'block') return judgeBlock(peer, other)
  if (other.kind === 'address') return 'denied'
  const { namespace } = other
  if (peer.namespaces === undefined && namespace.name !== policy.namespace) return 'denied'
  if (peer.namespaces !== undefined && !matches(peer.namespaces, namespace.labels)) return 'denied'
  if (peer.pods !== undefined && !matches(peer.pods, other.labels)) return 'denied'
  return other.pod?.hostNetwork ? 'cni-dependent' : 'allowed'
}

/** Defined for addresses outside the cluster; whether a block matches the address of a pod is not (S13). */
function judgeBlock(peer: Peer & { kind: 'block' }, other: End): Verdict {
  if (other.kind === 'address') return contains(peer.set, other.point) ? 'allowed' : 'denied'
  const addresses = other.pod?.addresses ?? []
  const points = addresses.flatMap(each => parseAddress(each) ?? [])
  if (points.length > 0 && !points.some(each => contains(peer.set, each))) return 'denied'
  return peer.set.length === 0 ? 'denied' : 'cni-dependent'
}

function judgePorts(ports: readonly PortEntry[] | undefined, destination: End, point: number): Verdict {
  if (ports === undefined) return 'allowed'
  let verdict: Verdict = 'denied'
  for (const entry of ports) verdict = strongest(verdict, judgePort(entry, destination, point))
  return verdict
}

function judgePort(entry: PortEntry, destination: End, point: number): Verdict {
  const numeric = numericPorts(entry)
  if (numeric !== undefined) return contains(numeric, point) ? 'allowed' : 'denied'
  if (destination.kind === 'address') return 'denied'
  if (destination.pod === undefined) {
    // Nobody has said yet which number the name will stand for (S15).
    return Math.floor(point / 65536) === Math.floor(portPoint(entry.protocol, 0) / 65536)
      ? 'cni-dependent'
      : 'denied'
  }
  return contains(namedPorts(entry, destination.pod.ports), point) ? 'allowed' : 'denied'
}

export function podEnd(world: World, pod: Pod): PodEnd {
  return {
    kind: 'pod',
    namespace: world.namespace(pod.namespace),
    name: pod.name,
    labels: pod.labels,
    pod
  }
}
