import { parseAddress } from './addresses.ts'
import { type Case, type Claim, type Finding, finding, gatewayEnds, worst } from './claim.ts'
import type { Edge, EndSpec } from './declared.ts'
import { ends } from './edges.ts'
import { verdictOf } from './only-gateway.ts'
import { causes, everybody, exampleOf, findOpening, type Opening } from './openings.ts'
import { type End, evaluate, type PodEnd } from './policy.ts'
import { type ContainerPort, everyPort, type PortSet, portAt, portSet } from './ports.ts'
import { formatEnd } from './report.ts'
import { namespaceName } from './selector.ts'
import type { PodParty } from './space.ts'
import { policyName } from './world.ts'

const adminPorts = new Set(['admin', 'metrics'])

/**
 * Where the perimeter is declared: the gateway's public ports are open to those who are meant and to nobody else, and so is its admin
 * port. Which is which the names of its container ports say.
 */
export function proveGatewayIngress(situation: Case): Claim {
  const claim: Claim = { verdict: 'proven', counterexamples: [], findings: [] }
  if (!situation.declared.isGiven) return claim
  for (const end of gatewayEnds(situation)) {
    if (end.pod === undefined || end.pod.ports.length === 0) continue
    const edges = declaredEdges(situation, end.pod.ports)
    const openings = findOpenings(situation, end, edges)
    const closed = findClosed(situation, end, edges)
    claim.findings.push(...openings.map(describe), ...closed)
    claim.verdict = worst([claim.verdict, verdictOf(openings), closed.length > 0 ? 'refuted' : 'proven'])
  }
  return claim
}

function declaredEdges({ gateway, declared }: Case, ports: readonly ContainerPort[]): Edge[] {
  const to: EndSpec = { kind: 'pods', namespace: gateway.namespace, selector: gateway.selector }
  const at = gateway.at ?? ''
  const anybody: readonly EndSpec[] = [{ kind: 'anything' }]
  const publicFrom = declared.gatewayFrom.length === 0 ? anybody : declared.gatewayFrom
  return ports.flatMap(({ name, port, protocol }) => {
    const isAdmin = adminPorts.has(name ?? '')
    const set: PortSet = portSet(protocol, port, port)
    const from = isAdmin ? declared.metricsFrom : publicFrom
    return from.map(each => ({ name: name ?? `port ${port}`, from: each, to, ports: set, at }))
  })
}

function findOpenings({ world, gateway }: Case, end: PodEnd, allowed: readonly Edge[]): Opening[] {
  const destination: PodParty = {
    kind: 'pod',
    side: 'destination',
    namespace: end.namespace,
    labels: end.labels,
    pod: end.pod
  }
  const question = {
    world,
    sources: everybody(world, 'source'),
    destinations: [destination],
    selector: gateway.selector,
    ports: everyPort,
    allowed
  }
  return causes(world.policiesOf(gateway.namespace), 'ingress').flatMap(
    cause => findOpening(question, cause) ?? []
  )
}

function describe({ source, cube, policy, rule, certainty }: Opening): Finding {
  const { port, protocol } = portAt(cube.ports[0]![0])
  const who = formatEnd(exampleOf(source, cube))
  const by =
    policy && rule
      ? `${policyName(policy)} ingress[${rule.index}]`
      : 'the lack of any policy that isolates it'
  const doubt = certainty === 'certain' ? '' : ', depending on the CNI or on policies at the source'
  const text = `${by} lets ${who} connect to ${protocol} ${port} of the gateway${doubt}: that is not declared`
  return finding('gateway-ingress-open', text, rule?.at)
}

function findClosed(situation: Case, end: PodEnd, edges: readonly Edge[]): Finding[] {
  return edges.flatMap(edge => {
    const { port, protocol } = portAt(edge.ports[0]![0])
    for (const from of callers(situation, edge.from)) {
      const answer = evaluate(situation.world, from, end, port, protocol)
      if (answer.ingress.verdict === 'allowed') continue
      const text = `the gateway is declared to take calls on ${edge.name} (${protocol} ${port}), and does not: ${answer.why}`
      return finding('gateway-ingress-closed', text, answer.ingress.policies[0]?.at ?? edge.at)
    }
    return []
  })
}

/** Anybody is stood for by a pod elsewhere and a client outside. */
function callers(situation: Case, spec: EndSpec): readonly End[] {
  if (spec.kind !== 'anything') return ends(situation, spec)
  const namespace = { name: 'elsewhere', labels: { [namespaceName]: 'elsewhere' }, at: undefined }
  const address = '203.0.113.1'
  return [
    { kind: 'pod', namespace, name: 'anybody', labels: {}, pod: undefined },
    { kind: 'address', address, point: parseAddress(address) ?? 0n }
  ]
}
