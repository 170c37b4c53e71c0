import { type Case, type Claim, type Finding, finding, gatewayEnds, upstreamEdge } from './claim.ts'
import type { Edge } from './declared.ts'
import type { Policy, Rule } from './objects.ts'
import { declaredExclusions, everybody, exampleOf } from './openings.ts'
import type { PodEnd } from './policy.ts'
import { everyPort, portAt, portSet } from './ports.ts'
import { formatEnd } from './report.ts'
import { formatLabels } from './selector.ts'
import { assumeAll, type Cube, solve } from './solve.ts'
import { type Party, type PodParty, ruleBranches, startCube } from './space.ts'
import { policyName } from './world.ts'

/** The gateway connects to its upstreams, to DNS and to what is declared, and nowhere else: one that is taken over stays inside. */
export function proveGatewayEgress(situation: Case): Claim {
  const { world, gateway, declared } = situation
  const from: Edge['from'] = { kind: 'pods', namespace: gateway.namespace, selector: gateway.selector }
  const allowed: Edge[] = [
    ...situation.upstreams.map(each => upstreamEdge(gateway, each)),
    ...declared.gatewayEdges.map(edge => ({ ...edge, from })),
    ...declared.edges
  ]
  const findings: Finding[] = []
  let isRefuted = false
  for (const end of gatewayEnds(situation)) {
    const policies = world
      .selecting({ namespace: gateway.namespace, labels: end.labels })
      .filter(policy => policy.egress !== undefined)
    if (policies.length === 0) {
      isRefuted = true
      findings.push(
        finding(
          'gateway-egress-open',
          `no policy isolates the egress of the gateway (${gateway.namespace}, ${formatLabels(end.labels)}): it can connect to anything`,
          gateway.at
        )
      )
      continue
    }
    for (const policy of policies) {
      for (const rule of policy.egress ?? []) {
        const found = findWayOut(situation, end, allowed, policy, rule)
        if (found === undefined) continue
        isRefuted ||= found.isCertain
        const doubt = found.isCertain
          ? ''
          : ', depending on the CNI or on what a port name will stand for (S13, S15)'
        const text = `${policyName(policy)} egress[${rule.index}] lets the gateway connect to ${found.text}${doubt}: that is no upstream, not DNS and not declared`
        findings.push(finding('gateway-egress-open', text, rule.at))
      }
    }
    if (!findings.some(each => each.code === 'dns-closed') && !reachesDns(situation, end)) {
      findings.push(
        finding(
          'dns-closed',
          'the gateway is not let out to any DNS server (UDP 53 or 5353): it cannot resolve names',
          gateway.at
        )
      )
    }
  }
  const open = findings.some(each => each.code === 'gateway-egress-open')
  return { verdict: isRefuted ? 'refuted' : open ? 'not-proven' : 'proven', counterexamples: [], findings }
}

function partyOf(end: PodEnd): PodParty {
  return { kind: 'pod', side: 'source', namespace: end.namespace, labels: end.labels, pod: end.pod }
}

function findWayOut(
  { world }: Case,
  end: PodEnd,
  allowed: readonly Edge[],
  policy: Policy,
  rule: Rule
): { isCertain: boolean; text: string } | undefined {
  let best: { isCertain: boolean; text: string } | undefined
  const source = partyOf(end)
  const isNamed = rule.ports?.some(entry => typeof entry.port === 'string') ?? false
  const resolving: Party[] = world.pods
    .filter(pod => isNamed && !pod.hostNetwork)
    .map(pod => ({
      kind: 'pod',
      side: 'destination',
      namespace: world.namespace(pod.namespace),
      labels: pod.labels,
      pod
    }))
  for (const destination of [...everybody(world, 'destination'), ...resolving]) {
    const branches = ruleBranches(policy, rule, destination, destination)
    if (branches.length === 0) continue
    const start = startCube(world, [source, destination], everyPort)
    for (const branch of branches) {
      // A block is asked about as addresses; a pod that has one of them adds nothing to that.
      if (destination.kind === 'pod' && !branch.isCertain && !branch.isLoose) continue
      const cube = assumeAll(start, branch.literals)
      const found = cube && solve(cube, declaredExclusions(allowed, source, destination, branch.isLoose))
      if (found === undefined) continue
      const text = describe(destination, found)
      if (branch.isCertain) return { isCertain: true, text }
      best ??= { isCertain: false, text }
    }
  }
  return best
}

function describe(party: Party, cube: Cube): string {
  const example = exampleOf(party, cube)
  const { port, protocol } = portAt(cube.ports[0]![0])
  return `${formatEnd(example)} on ${protocol} ${port}`
}

function reachesDns({ world }: Case, end: PodEnd): boolean {
  const policies = world
    .selecting({ namespace: end.namespace.name, labels: end.labels })
    .filter(policy => policy.egress !== undefined)
  if (policies.length === 0) return true
  const dns = [...portSet('UDP', 53, 53), ...portSet('UDP', 5353, 5353)]
  return everybody(world, 'destination').some(destination => {
    const start = startCube(world, [destination], dns)
    return policies.some(policy =>
      policy.egress?.some(rule =>
        ruleBranches(policy, rule, destination, destination).some(branch => assumeAll(start, branch.literals))
      )
    )
  })
}
