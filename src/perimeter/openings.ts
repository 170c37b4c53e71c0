import { formatAddress } from './addresses.ts'
import type { Edge } from './declared.ts'
import type { Direction, Policy, Rule } from './objects.ts'
import type { PortSet } from './ports.ts'
import { type Labels, namespaceName, type Selector } from './selector.ts'
import { assumeAll, type Conjunction, type Cube, exampleLabels, type Literal, solve } from './solve.ts'
import {
  type Branch,
  endLiterals,
  namespaceAxis,
  type Party,
  type PodParty,
  podAxis,
  podLiterals,
  ruleBranches,
  startCube
} from './space.ts'
import type { World } from './world.ts'

/** How sure an opening is. `masked`: the destination lets it in, and only a policy of the source's namespace stops it. */
export type Certainty = 'certain' | 'cni-dependent' | 'masked'

/** A connection that nobody has declared, with the rule that opens it. */
export interface Opening {
  certainty: Certainty
  source: Party
  destination: Party
  cube: Cube
  /** Undefined: no policy isolates the destination. */
  policy: Policy | undefined
  rule: Rule | undefined
}

/** What a search is about: who could be at either end, on which ports, and what is meant to be open. */
export interface Question {
  world: World
  sources: readonly Party[]
  destinations: readonly PodParty[]
  /** Selects the destinations. */
  selector: Selector
  ports: PortSet
  allowed: readonly Edge[]
}

/** One way for pods to be open: a rule, or (when undefined) that no policy isolates them. */
export interface Cause {
  policy: Policy
  rule: Rule
}

export function causes(policies: readonly Policy[], direction: Direction): (Cause | undefined)[] {
  const rules = policies.flatMap(policy => (policy[direction] ?? []).map(rule => ({ policy, rule })))
  return [undefined, ...rules]
}

/** The surest connection that the cause opens and nobody has declared; the first of several equally sure ones. */
export function findOpening(question: Question, cause: Cause | undefined): Opening | undefined {
  let best: Opening | undefined
  for (const destination of question.destinations) {
    for (const source of question.sources) {
      const found = findBetween(question, cause, source, destination, best?.certainty)
      if (found?.certainty === 'certain') return found
      best = found ?? best
    }
  }
  return best
}

function findBetween(
  question: Question,
  cause: Cause | undefined,
  source: Party,
  destination: PodParty,
  known: Certainty | undefined
): Opening | undefined {
  const { world } = question
  const selected = podLiterals(question.selector, destination)
  if (selected === undefined) return undefined
  const entry = entryOf(world, cause, source, destination)
  if (entry.branches.length === 0) return undefined
  const start = assumeAll(startCube(world, [source, destination], question.ports), selected)
  if (start === undefined) return undefined
  const strict = declaredExclusions(question.allowed, source, destination, false)
  let best: Opening | undefined
  let bestRank = known === undefined ? 0 : ranks[known]
  for (const branch of entry.branches) {
    const cube = assumeAll(start, branch.literals)
    if (cube === undefined) continue
    const declared = branch.isLoose ? declaredExclusions(question.allowed, source, destination, true) : strict
    const exclusions = [...entry.exclusions, ...declared]
    const inside = solve(cube, exclusions)
    if (inside === undefined) continue
    const through = throughEgress(world, source, destination, cube, exclusions)
    const certainty = certaintyOf(branch, through)
    if (ranks[certainty] <= bestRank) continue
    bestRank = ranks[certainty]
    const policy = cause?.policy
    best = { certainty, source, destination, cube: through?.cube ?? inside, policy, rule: cause?.rule }
  }
  return best
}

const ranks: Readonly<Record<Certainty, number>> = { masked: 1, 'cni-dependent': 2, certain: 3 }

function certaintyOf(entry: Branch, through: Through | undefined): Certainty {
  if (through === undefined) return 'masked'
  return entry.isCertain && through.isCertain ? 'certain' : 'cni-dependent'
}

interface Entry {
  branches: readonly Branch[]
  exclusions: readonly Conjunction[]
}

const always: Branch = { literals: [], isCertain: true, isLoose: false }

function entryOf(world: World, cause: Cause | undefined, source: Party, destination: PodParty): Entry {
  if (cause === undefined)
    return { branches: [always], exclusions: unselected(world, 'ingress', destination) }
  const selected = podLiterals(cause.policy.podSelector, destination)
  if (selected === undefined) return { branches: [], exclusions: [] }
  const branches = ruleBranches(cause.policy, cause.rule, source, destination).map(branch => ({
    ...branch,
    literals: [...selected, ...branch.literals]
  }))
  return { branches, exclusions: [] }
}

/** To be isolated by nobody, a pod must be selected by none of the policies of the direction (S1). */
function unselected(world: World, direction: Direction, party: PodParty): Literal[][] {
  if (party.namespace === undefined) return []
  return world
    .policiesOf(party.namespace.name)
    .filter(policy => policy[direction] !== undefined)
    .flatMap(policy => {
      const literals = podLiterals(policy.podSelector, party)
      return literals === undefined ? [] : [literals]
    })
}

interface Through {
  cube: Cube
  isCertain: boolean
}

/** The surest way for the source to be let out (S3): no policy isolates it, or a rule of one does. */
function throughEgress(
  world: World,
  source: Party,
  destination: PodParty,
  cube: Cube,
  exclusions: readonly Conjunction[]
): Through | undefined {
  if (source.kind === 'address' || source.namespace === undefined) {
    const free = solve(cube, exclusions)
    return free && { cube: free, isCertain: true }
  }
  const free = solve(cube, [...exclusions, ...unselected(world, 'egress', source)])
  if (free !== undefined) return { cube: free, isCertain: true }
  let best: Through | undefined
  for (const cause of causes(world.policiesOf(source.namespace.name), 'egress')) {
    if (cause === undefined) continue
    const selected = podLiterals(cause.policy.podSelector, source)
    if (selected === undefined) continue
    for (const branch of ruleBranches(cause.policy, cause.rule, destination, destination)) {
      const out = assumeAll(cube, [...selected, ...branch.literals])
      const found = out && solve(out, exclusions)
      if (found === undefined) continue
      if (branch.isCertain) return { cube: found, isCertain: true }
      best ??= { cube: found, isCertain: false }
    }
  }
  return best
}

/** The declared edges as what an undeclared connection must not be. `isLoose`: whatever the port. */
export function declaredExclusions(
  allowed: readonly Edge[],
  source: Party,
  destination: Party,
  isLoose: boolean
): Conjunction[] {
  return allowed.flatMap(edge => {
    const from = endLiterals(edge.from, source)
    const to = from && endLiterals(edge.to, destination)
    if (from === undefined || to === undefined) return []
    const ports: Literal[] = isLoose ? [] : [{ kind: 'ports', set: edge.ports }]
    return [[...from, ...to, ...ports]]
  })
}

/** Everybody who could be at one end: new namespaces first, since those are what a selector by mistake lets in. */
export function everybody(world: World, side: PodParty['side']): Party[] {
  const pods: PodParty[] = [undefined, ...world.known.values()].map(namespace => ({
    kind: 'pod',
    side,
    namespace,
    labels: undefined,
    pod: undefined
  }))
  return [...pods, { kind: 'address' }]
}

export interface Example {
  namespace: string
  labels: Labels
  /** Labels that the namespace must carry, where no declared one does. */
  namespaceLabels?: Labels
  pod?: string
  address?: string
}

/** The party made concrete: a namespace, labels and, for an address, the address. */
export function exampleOf(party: Party, cube: Cube): Example {
  if (party.kind === 'address') {
    const first = cube.addresses.at(-1)?.[0]
    return { namespace: '', labels: {}, address: first === undefined ? undefined : formatAddress(first) }
  }
  const labels = party.labels ?? exampleLabels(cube, podAxis(party))
  if (party.namespace === undefined) {
    const { [namespaceName]: namespace = 'other', ...others } = exampleLabels(cube, namespaceAxis(party))
    return Object.keys(others).length === 0
      ? { namespace, labels }
      : { namespace, labels, namespaceLabels: others }
  }
  const namespace = party.namespace.name
  return party.pod === undefined ? { namespace, labels } : { namespace, labels, pod: party.pod.name }
}
