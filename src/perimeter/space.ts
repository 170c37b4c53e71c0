import { everyAddress, insideOnly, outsideOnly } from './addresses.ts'
import type { EndSpec } from './declared.ts'
import { intersect } from './intervals.ts'
import type { Namespace, Peer, Pod, Policy, Rule } from './objects.ts'
import { everyPort, namedPorts, numericPorts, type PortEntry, type PortSet, portSet } from './ports.ts'
import { admits, type Labels, namespaceName, noneOf, oneOf, present, type Selector } from './selector.ts'
import { assumeAll, type Conjunction, type Cube, type Literal } from './solve.ts'
import type { World } from './world.ts'

/**
 * One end of the connections that a question is about: a declared pod, every pod that a known namespace could still hold, every pod
 * of a namespace that nobody has named, or every address.
 */
export type Party = PodParty | { kind: 'address' }

export interface PodParty {
  kind: 'pod'
  side: 'source' | 'destination'
  /** Undefined: a namespace that the manifests do not name, with whatever labels. */
  namespace: Namespace | undefined
  /** Undefined: whatever labels. */
  labels: Labels | undefined
  pod: Pod | undefined
}

/** One way for a rule to match. `isCertain`: on every CNI. `isLoose`: the port is a name that nobody has given a number yet. */
export interface Branch {
  literals: Conjunction
  isCertain: boolean
  isLoose: boolean
}

export const everything: Cube = { labels: new Map(), ports: everyPort, addresses: everyAddress }

/** A new namespace can carry any label, but never the name of another one (S27). */
export function startCube(world: World, parties: readonly Party[], ports: PortSet = everyPort): Cube {
  const literals: Literal[] = []
  for (const party of parties) {
    if (party.kind !== 'pod' || party.namespace !== undefined) continue
    const axis = namespaceAxis(party) + namespaceName
    literals.push({ kind: 'label', axis, domain: present })
    literals.push({ kind: 'label', axis, domain: noneOf(world.known.keys()) })
  }
  return assumeAll({ ...everything, ports: intersect(ports, everyPort) }, literals) ?? everything
}

export function podAxis(party: PodParty): string {
  return `${party.side}.pod:`
}

export function namespaceAxis(party: PodParty): string {
  return `${party.side}.namespace:`
}

function labelLiterals(selector: Selector, labels: Labels | undefined, axis: string): Literal[] | undefined {
  const literals: Literal[] = []
  for (const { key, domain } of selector) {
    if (labels === undefined) literals.push({ kind: 'label', axis: axis + key, domain })
    else if (!admits(domain, Object.hasOwn(labels, key) ? labels[key] : undefined)) return undefined
  }
  return literals
}

/** What must hold for the selector to select the pod; undefined when it cannot. */
export function podLiterals(selector: Selector, party: PodParty): Literal[] | undefined {
  return labelLiterals(selector, party.labels, podAxis(party))
}

/** What must hold for the end of a declared edge to be the party; undefined when it cannot. */
export function endLiterals(spec: EndSpec, party: Party): Literal[] | undefined {
  if (spec.kind === 'anything') return []
  if (spec.kind === 'block')
    return party.kind === 'address' ? [{ kind: 'addresses', set: spec.set }] : undefined
  if (party.kind === 'address') return undefined
  const pods = podLiterals(spec.selector, party)
  if (spec.namespace === undefined || pods === undefined) return pods
  if (party.namespace !== undefined) return party.namespace.name === spec.namespace ? pods : undefined
  return [
    { kind: 'label', axis: namespaceAxis(party) + namespaceName, domain: oneOf([spec.namespace]) },
    ...pods
  ]
}

function certain(literals: Conjunction): Branch {
  return { literals, isCertain: true, isLoose: false }
}

/** The ways for one of the rule's peers to be the party. */
export function peerBranches(policy: Policy, rule: Rule, party: Party): Branch[] {
  if (rule.peers === undefined) return [certain([])]
  return rule.peers.flatMap(peer => branchesOfPeer(policy, peer, party))
}

export function branchesOfPeer(policy: Policy, peer: Peer, party: Party): Branch[] {
  if (peer.kind === 'block') return branchesOfBlock(peer, party)
  if (party.kind === 'address') return []
  const pods = podLiterals(peer.pods ?? [], party)
  if (pods === undefined) return []
  if (peer.namespaces === undefined) return party.namespace?.name === policy.namespace ? [certain(pods)] : []
  const namespaces = labelLiterals(peer.namespaces, party.namespace?.labels, namespaceAxis(party))
  return namespaces === undefined ? [] : [certain([...namespaces, ...pods])]
}

/**
 * A block is asked about as a set of addresses (S13). Those that can only lie outside the cluster are decided alike by every CNI; an
 * address that a pod or a node could have is not.
 */
function branchesOfBlock(peer: Peer & { kind: 'block' }, party: Party): Branch[] {
  if (party.kind === 'pod') {
    return party.side === 'destination' && peer.set.length > 0
      ? [{ literals: [], isCertain: false, isLoose: false }]
      : []
  }
  const branches: Branch[] = []
  const outside = outsideOnly(peer.set)
  const inside = insideOnly(peer.set)
  if (outside.length > 0) branches.push(certain([{ kind: 'addresses', set: outside }]))
  if (inside.length > 0) {
    branches.push({ literals: [{ kind: 'addresses', set: inside }], isCertain: false, isLoose: false })
  }
  return branches
}

/** The ways for one of the rule's ports to match at the destination. */
export function portBranches(rule: Rule, destination: Party): Branch[] {
  if (rule.ports === undefined) return [certain([])]
  return rule.ports.flatMap(entry => branchesOfPort(entry, destination))
}

function branchesOfPort(entry: PortEntry, destination: Party): Branch[] {
  const numeric = numericPorts(entry)
  if (numeric !== undefined) return [certain([{ kind: 'ports', set: numeric }])]
  if (destination.kind === 'address') return []
  if (destination.pod === undefined) {
    return [{ literals: [{ kind: 'ports', set: portSet(entry.protocol) }], isCertain: false, isLoose: true }]
  }
  const set = namedPorts(entry, destination.pod.ports)
  return set.length === 0 ? [] : [certain([{ kind: 'ports', set }])]
}

/** The ways for the rule to let a connection through. */
export function ruleBranches(policy: Policy, rule: Rule, other: Party, destination: Party): Branch[] {
  const ports = portBranches(rule, destination)
  return peerBranches(policy, rule, other).flatMap(peer =>
    ports.map(port => ({
      literals: [...peer.literals, ...port.literals],
      isCertain: peer.isCertain && port.isCertain,
      isLoose: port.isLoose && peer.isCertain
    }))
  )
}
