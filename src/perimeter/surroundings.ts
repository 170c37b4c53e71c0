import { type Case, type Claim, type Finding, finding, gatewayEnds } from './claim.ts'
import type { Pod, Policy, Rule, Service } from './objects.ts'
import { allowedInto, dashSlip, destinationsOf, findForCause, isForeign } from './only-gateway.ts'
import { everybody, exampleOf } from './openings.ts'
import { evaluate, podEnd } from './policy.ts'
import { everyPort, type Protocol, portAt } from './ports.ts'
import { formatEnd } from './report.ts'
import {
  areCompatible,
  formatLabels,
  formatSelector,
  matches,
  namespaceName,
  selectorOf
} from './selector.ts'
import type { Upstream } from './upstreams.ts'
import { podName, policyName } from './world.ts'

/** What stands around the pods of one upstream: the Services in front of them, and what they run on. */
export function inspectUpstream(situation: Case, upstream: Upstream): Claim {
  const { world } = situation
  const pods = world.podsOf(upstream.namespace).filter(pod => matches(upstream.selector, pod.labels))
  const services = world.services.filter(service => isInFront(service, upstream, pods))
  const claim: Claim = { verdict: 'proven', counterexamples: [], findings: [] }
  if (pods.length === 0) {
    const text = `no declared pod in ${upstream.namespace} carries ${formatLabels(upstream.labels)}: ${upstream.name} is proven for pods to come`
    claim.findings.push(finding('selector-matches-nothing', text, upstream.at))
  }
  for (const pod of pods.filter(each => each.hostNetwork)) {
    claim.verdict = 'not-proven'
    const text = `${podName(pod)} is a pod of ${upstream.name} on the host's network: no policy protects it (S19)`
    claim.findings.push(finding('host-network', text, pod.at))
  }
  for (const service of services) {
    const text = exposure(service)
    if (text === undefined) continue
    claim.verdict = 'not-proven'
    claim.findings.push(finding('service-exposed', `${text} (A3, S24)`, service.at))
  }
  inspectDefaultDeny(situation, upstream, claim)
  inspectServicePorts(situation, upstream, pods, services, claim)
  return claim
}

function isInFront(service: Service, upstream: Upstream, pods: readonly Pod[]): boolean {
  if (service.namespace !== upstream.namespace || service.selector === undefined) return false
  const selector = selectorOf(service.selector)
  if (matches(selector, upstream.labels)) return true
  return pods.length > 0
    ? pods.some(pod => matches(selector, pod.labels))
    : areCompatible(selector, upstream.selector)
}

function exposure(service: Service): string | undefined {
  const name = `Service ${service.namespace}/${service.name}`
  const way = service.externalIPs.length > 0 ? `externalIPs ${service.externalIPs.join(', ')}` : service.type
  if (service.externalIPs.length === 0 && service.type !== 'NodePort' && service.type !== 'LoadBalancer')
    return undefined
  return `${name} is open to the outside by ${way}: connections may arrive with the address of a node, which policies let in from the pod's own node`
}

/** Where it was declared it is part of the claim; elsewhere pods that are no upstream are nobody's business here. */
function inspectDefaultDeny({ world, declared }: Case, { namespace, at }: Upstream, claim: Claim): void {
  if (declared.scope === 'upstreams') return
  for (const direction of declared.defaultDeny(namespace)) {
    const policies = world.policiesOf(namespace).filter(policy => policy[direction] !== undefined)
    if (policies.some(policy => policy.podSelector.length === 0)) continue
    const text = `${namespace} has no default-deny for ${direction}: no policy selects every pod of it, so pods that no policy names are open`
    claim.findings.push(finding('default-deny-missing', text, at))
    if (declared.isGiven) claim.verdict = 'not-proven'
  }
}

/** The configuration must name the port of the pods: policies act behind the Service (S23). */
function inspectServicePorts(
  situation: Case,
  upstream: Upstream,
  pods: readonly Pod[],
  services: readonly Service[],
  claim: Claim
): void {
  for (const service of services) {
    if (upstream.service !== undefined && upstream.service.name !== service.name) continue
    const tcp = service.ports.filter(port => port.protocol === 'TCP')
    const meant = tcp.filter(port => port.port === upstream.service?.port)
    for (const port of meant.length > 0 ? meant : tcp.filter(each => each.port === upstream.port)) {
      const targets = resolveTarget(port.target, port.protocol, pods)
      if (targets.length === 0 || targets.includes(upstream.port)) continue
      const text = `${upstream.name} has kubernetes.port ${upstream.port}, but Service ${service.namespace}/${service.name} sends its port ${port.port} to port ${targets.join(', ')} of the pods: name that port (S23)`
      claim.findings.push(finding('service-port', text, upstream.at))
      claim.verdict = 'refuted'
      claim.counterexamples.push(...lockedOut(situation, upstream, pods, targets, text))
    }
  }
  noteRulesWithServicePort(situation, upstream, pods, services, claim)
}

function resolveTarget(target: number | string, protocol: Protocol, pods: readonly Pod[]): number[] {
  if (typeof target === 'number') return [target]
  const numbers = pods.flatMap(pod =>
    pod.ports.filter(each => each.name === target && each.protocol === protocol).map(each => each.port)
  )
  return [...new Set(numbers)]
}

function lockedOut(
  situation: Case,
  upstream: Upstream,
  pods: readonly Pod[],
  targets: readonly number[],
  why: string
): Claim['counterexamples'] {
  const from = gatewayEnds(situation)[0]
  const pod = pods.find(each => !each.hostNetwork)
  const port = targets[0]
  if (from === undefined || pod === undefined || port === undefined) return []
  const to = podEnd(situation.world, pod)
  const answer = evaluate(situation.world, from, to, port, 'TCP')
  const side = answer.egress.verdict === 'allowed' ? answer.ingress : answer.egress
  const first = side.policies[0]
  return [
    {
      from: { namespace: from.namespace.name, labels: from.labels },
      to: { namespace: to.namespace.name, labels: to.labels },
      port,
      protocol: 'TCP',
      policy: first?.policy ?? null,
      rule: first?.rule ?? null,
      at: first?.at ?? upstream.at,
      why
    }
  ]
}

/** A rule that opens the Service's port opens nothing, and the pods' port stays shut. */
function noteRulesWithServicePort(
  { world }: Case,
  upstream: Upstream,
  pods: readonly Pod[],
  services: readonly Service[],
  claim: Claim
): void {
  for (const policy of world.policiesOf(upstream.namespace)) {
    if (!areCompatible(policy.podSelector, upstream.selector)) continue
    for (const entry of (policy.ingress ?? []).flatMap(rule => rule.ports ?? [])) {
      for (const service of services) {
        const port = service.ports.find(each => each.port === entry.port && each.protocol === entry.protocol)
        if (port === undefined || entry.port === upstream.port) continue
        const targets = resolveTarget(port.target, port.protocol, pods)
        if (targets.length === 0 || targets.includes(port.port)) continue
        const text = `${policyName(policy)} opens port ${port.port}, which is that of Service ${service.name}; the pods listen on ${targets.join(', ')} (S23)`
        claim.findings.push(finding('service-port', text, entry.at))
      }
    }
  }
}

/** What concerns all of the manifests. */
export function inspectAll(situation: Case): Claim {
  const { world } = situation
  const others = world.otherPolicies.map(each =>
    finding(
      'other-policy-api',
      `${each.kind} ${each.name} may allow or deny connections behind the NetworkPolicies: this proof does not read it`,
      each.at
    )
  )
  const onHost = gatewayEndsOnHost(situation)
  const findings = [
    ...others,
    ...onHost,
    ...hostNetworkPods(situation),
    ...sharedLabels(situation),
    ...foreignPolicies(situation),
    ...emptySelectors(situation)
  ]
  return {
    verdict: others.length > 0 || onHost.length > 0 ? 'not-proven' : 'proven',
    counterexamples: [],
    findings
  }
}

function gatewayEndsOnHost({ gateway }: Case): Finding[] {
  return gateway.pods
    .filter(pod => pod.hostNetwork)
    .map(pod =>
      finding(
        'host-network',
        `the gateway ${podName(pod)} is on the host's network: policies do not know it as a pod (S19)`,
        pod.at
      )
    )
}

function hostNetworkPods({ world, gateway, upstreams }: Case): Finding[] {
  const protectedOnes = (pod: Pod): boolean =>
    upstreams.some(each => each.namespace === pod.namespace && matches(each.selector, pod.labels))
  return world.workloads
    .filter(pod => pod.hostNetwork && !gateway.pods.includes(pod) && !protectedOnes(pod))
    .map(pod =>
      finding(
        'host-network',
        `${podName(pod)} is on the host's network: it counts as its node, which reaches the pods that run there (A1, A2)`,
        pod.at
      )
    )
}

/** A test pod or a job with the gateway's labels is the gateway, as far as policies can tell. */
function sharedLabels({ world, gateway }: Case): Finding[] {
  const isDeployed = gateway.pods.some(pod => pod.kind === 'Deployment')
  return world.workloads
    .filter(pod => isDeployed && pod.kind !== 'Deployment' && gateway.pods.includes(pod))
    .map(pod =>
      finding(
        'gateway-labels-shared',
        `${pod.kind} ${podName(pod)} carries the gateway's labels (${formatLabels(gateway.labels)}): policies take it for the gateway (A4)`,
        pod.at
      )
    )
}

/** Policies of others that open pods of a protected namespace which are no upstream. */
function foreignPolicies(situation: Case): Finding[] {
  const { world, upstreams, declared } = situation
  if (declared.scope === 'upstreams') return []
  const namespaces = new Set(upstreams.map(each => each.namespace))
  return [...namespaces].flatMap(namespace => {
    const question = {
      world,
      sources: everybody(world, 'source'),
      destinations: destinationsOf(situation, namespace, []),
      selector: [],
      ports: everyPort,
      allowed: allowedInto(situation, namespace)
    }
    return world.policiesOf(namespace).flatMap(policy => {
      const opensUpstream = upstreams.some(
        each => each.namespace === namespace && areCompatible(each.selector, policy.podSelector)
      )
      if (opensUpstream || !isForeign(policy)) return []
      return (policy.ingress ?? []).flatMap(rule => {
        const opening = findForCause(question, { policy, rule })
        if (opening === undefined) return []
        const from = exampleOf(opening.source, opening.cube)
        const { port, protocol } = portAt(opening.cube.ports[0]![0])
        const text = `${policyName(policy)} ingress[${rule.index}] opens other pods of the protected namespace (${formatSelector(policy.podSelector)}) to ${formatEnd(from)}, ${protocol} ${port} among others`
        return finding('foreign-policy-opens', text, rule.at)
      })
    })
  })
}

function emptySelectors({ world, gateway, upstreams }: Case): Finding[] {
  const concerned = new Set([gateway.namespace, ...upstreams.map(each => each.namespace)])
  return world.policies
    .filter(policy => concerned.has(policy.namespace))
    .flatMap(policy => [
      ...emptySubject(policy),
      ...(['ingress', 'egress'] as const).flatMap(direction =>
        (policy[direction] ?? []).flatMap(rule => emptyPeers(policy, rule, direction))
      )
    ])

  function emptySubject(policy: Policy): Finding[] {
    const pods = world.podsOf(policy.namespace)
    if (pods.length === 0 || policy.podSelector.length === 0) return []
    if (pods.some(pod => matches(policy.podSelector, pod.labels))) return []
    const text = `${policyName(policy)} selects no declared pod (${formatSelector(policy.podSelector)})`
    return [finding('selector-matches-nothing', text, policy.at)]
  }

  function emptyPeers(policy: Policy, rule: Rule, direction: string): Finding[] {
    const slip = dashSlip(rule)
    return (rule.peers ?? []).flatMap(peer => {
      if (peer.kind !== 'pods' || peer.namespaces === undefined || peer.namespaces.length === 0) return []
      if (slip !== undefined) return []
      const found = [...world.known.values()].some(each => matches(peer.namespaces ?? [], each.labels))
      if (found || peer.namespaces.every(term => term.key === namespaceName)) return []
      const text = `${policyName(policy)} ${direction}[${rule.index}] selects no known namespace (${formatSelector(peer.namespaces)}): a stock cluster labels a namespace only with ${namespaceName} (S27)`
      return [finding('selector-matches-nothing', text, peer.at)]
    })
  }
}
