import { type Case, type Claim, type Counterexample, type Finding, finding, upstreamEdge } from './claim.ts'
import type { Edge } from './declared.ts'
import type { Policy, Rule } from './objects.ts'
import {
  type Cause,
  causes,
  everybody,
  exampleOf,
  findOpening,
  type Opening,
  type Question
} from './openings.ts'
import { everyPort, portAt, portSet } from './ports.ts'
import { areCompatible, formatLabels, matches, type Selector } from './selector.ts'
import type { Party, PodParty } from './space.ts'
import type { Upstream } from './upstreams.ts'
import { policyName } from './world.ts'

/**
 * The pods of the upstream accept connections from the gateway on its port, along declared edges, and from nobody else on any
 * port: whatever labels the other end and the pods themselves may carry.
 */
export function proveOnlyGateway(situation: Case, upstream: Upstream): Claim {
  const { world } = situation
  const question: Question = {
    world,
    sources: everybody(world, 'source'),
    destinations: destinationsOf(situation, upstream.namespace, upstream.selector),
    selector: upstream.selector,
    ports: everyPort,
    allowed: allowedInto(situation, upstream.namespace)
  }
  const openings: Opening[] = []
  for (const cause of causes(world.policiesOf(upstream.namespace), 'ingress')) {
    const opening = findForCause(question, cause)
    if (opening === undefined) continue
    const isShown = openings.length < illustrated
    openings.push(isShown ? illustrate(situation, question, cause, opening, upstream) : opening)
  }
  return {
    verdict: verdictOf(openings),
    counterexamples: openings.map(opening => toCounterexample(situation, opening, upstream)),
    findings: openings.flatMap(opening => findingsOf(opening, upstream))
  }
}

export function verdictOf(openings: readonly Opening[]): Claim['verdict'] {
  if (openings.length === 0) return 'proven'
  return openings.some(opening => opening.certainty === 'certain') ? 'refuted' : 'not-proven'
}

/** All that is meant to be open in a namespace. */
export function allowedInto({ gateway, upstreams, declared }: Case, namespace: string): Edge[] {
  // A pod with the gateway's labels in its namespace is the gateway (A4), whatever else it carries; `proveGatewayIngress` judges it.
  const itself: Edge = {
    name: 'the gateway itself',
    from: { kind: 'anything' },
    to: { kind: 'pods', namespace: gateway.namespace, selector: gateway.selector },
    ports: everyPort,
    at: gateway.at ?? ''
  }
  const all = [itself, ...upstreams.map(each => upstreamEdge(gateway, each)), ...declared.edges]
  return all.filter(
    edge => edge.to.kind !== 'pods' || edge.to.namespace === undefined || edge.to.namespace === namespace
  )
}

/** Pods that could still appear, and each declared one, because only a declared pod can say what its port names mean (S15). */
export function destinationsOf({ world }: Case, namespace: string, selector: Selector): PodParty[] {
  const future: PodParty = {
    kind: 'pod',
    side: 'destination',
    namespace: world.namespace(namespace),
    labels: undefined,
    pod: undefined
  }
  const declared = world
    .podsOf(namespace)
    .filter(pod => matches(selector, pod.labels) && !pod.hostNetwork)
    .map(pod => ({ ...future, labels: pod.labels, pod }))
  return [future, ...declared]
}

/** Nobody reads on; a search for declared pods costs more than the proof. */
const illustrated = 10

/** Only where a rule speaks of named ports do declared pods add anything to the question. */
export function findForCause(question: Question, cause: Cause | undefined): Opening | undefined {
  if (cause !== undefined && !areCompatible(cause.policy.podSelector, question.selector)) return undefined
  const isNamed = cause?.rule.ports?.some(entry => typeof entry.port === 'string') ?? false
  return findOpening(
    { ...question, destinations: isNamed ? question.destinations : question.destinations.slice(0, 1) },
    cause
  )
}

/** The same opening with pods that are there, and on the port that matters, if it can be had. */
function illustrate(
  situation: Case,
  question: Question,
  cause: Cause | undefined,
  opening: Opening,
  upstream: Upstream
): Opening {
  const { world, gateway } = situation
  const declared: Party[] = world.workloads
    .filter(
      pod =>
        !pod.hostNetwork && !(pod.namespace === gateway.namespace && matches(gateway.selector, pod.labels))
    )
    .map(pod => ({
      kind: 'pod',
      side: 'source',
      namespace: world.namespace(pod.namespace),
      labels: pod.labels,
      pod
    }))
  const [future, ...existing] = question.destinations
  const destinations = [...existing, ...(future ? [future] : [])]
  const port = portSet('TCP', upstream.port, upstream.port)
  for (const ports of [port, everyPort]) {
    for (const sources of [declared, question.sources]) {
      const found = findOpening({ ...question, sources, destinations, ports }, cause)
      if (found?.certainty === opening.certainty) return found
    }
  }
  return opening
}

function toCounterexample(situation: Case, opening: Opening, upstream: Upstream): Counterexample {
  const { cube, policy, rule } = opening
  const from = exampleOf(opening.source, cube)
  const to = exampleOf(opening.destination, cube)
  const { port, protocol } = portAt(cube.ports[0]![0])
  return {
    from,
    to,
    port,
    protocol,
    policy: policy ? policyName(policy) : null,
    rule: rule?.index ?? null,
    at: rule?.at ?? upstream.at,
    why: explain(situation, opening, upstream, from, port)
  }
}

function explain(
  { gateway }: Case,
  { certainty, policy, rule, source }: Opening,
  upstream: Upstream,
  from: Counterexample['from'],
  port: number
): string {
  const carriesLabels = matches(gateway.selector, from.labels)
  const isGateway = carriesLabels && from.namespace === gateway.namespace
  const rules =
    policy && rule
      ? `${policyName(policy)} ingress[${rule.index}]`
      : 'the lack of any policy that isolates them'
  const who = isGateway
    ? 'the gateway itself'
    : source.kind === 'address'
      ? `a client at ${from.address}`
      : carriesLabels
        ? "an impostor with the gateway's labels in another namespace"
        : from.pod !== undefined
          ? `pod ${from.namespace}/${from.pod}, which is not the gateway,`
          : 'a pod that is not the gateway'
  const where =
    port === upstream.port ? `the port of ${upstream.name}` : `port ${port}, which is not ${upstream.port},`
  const text = `${rules} lets ${who} connect to ${where}`
  if (certainty === 'certain') return text
  if (certainty === 'masked') return `${text}; only an egress policy of ${from.namespace} still stops it`
  if (source.kind === 'address') {
    return `${rules} lets in ${from.address}, which may be the address of a pod or a node: it depends on the CNI (S13)`
  }
  return `${text}, depending on the CNI or on what a port name will stand for (S13, S15)`
}

function findingsOf({ policy, rule }: Opening, upstream: Upstream): Finding[] {
  if (policy === undefined || rule === undefined) return []
  const findings: Finding[] = []
  if (isForeign(policy)) {
    const text = `${policyName(policy)} is no policy of the gateway's chart and opens pods of ${upstream.name} (${formatLabels(upstream.labels)} in ${upstream.namespace})`
    findings.push(finding('foreign-policy-opens', text, rule.at))
  }
  const slip = dashSlip(rule)
  if (slip !== undefined) {
    const text = `${policyName(policy)} ingress[${rule.index}] lists a namespaceSelector and a podSelector as two peers: either is enough. One item with both means both; remove the second dash`
    findings.push(finding('dash-slip', text, slip))
  }
  return findings
}

export function isForeign(policy: Policy): boolean {
  return (
    policy.labels['app.kubernetes.io/name'] !== 'sallyport' &&
    policy.labels['sallyport.io/role'] === undefined
  )
}

/** Two peers in a row where one was meant: namespaces alone, then pods alone (S10). */
export function dashSlip(rule: Rule): string | undefined {
  const peers = rule.peers ?? []
  for (const [index, second] of peers.entries()) {
    const first = peers[index - 1]
    if (first?.kind !== 'pods' || second.kind !== 'pods') continue
    const alone = [first, second].map(each =>
      each.namespaces === undefined ? 'pods' : each.pods ? 'both' : 'namespaces'
    )
    if (alone.includes('pods') && alone.includes('namespaces')) return second.at
  }
  return undefined
}
