import { type Case, type Claim, finding, gatewayEnds, upstreamEnds } from './claim.ts'
import type { Policy, Rule } from './objects.ts'
import { type Answer, evaluate, evaluateSide, type PodEnd } from './policy.ts'
import { portPoint, portSet } from './ports.ts'
import { formatLabels } from './selector.ts'
import { assumeAll, type Conjunction, exampleLabels, type Literal, solve } from './solve.ts'
import { type PodParty, podAxis, podLiterals, ruleBranches, startCube } from './space.ts'
import type { Upstream } from './upstreams.ts'
import { policyName } from './world.ts'

/** The gateway reaches the upstream: its declared pods, at both ends, and whatever other pods its selector may select. */
export function proveGatewayReaches(situation: Case, upstream: Upstream): Claim {
  const claim: Claim = { verdict: 'proven', counterexamples: [], findings: [] }
  for (const from of gatewayEnds(situation)) {
    for (const to of upstreamEnds(situation, upstream)) {
      const answer = evaluate(situation.world, from, to, upstream.port, 'TCP')
      if (answer.verdict !== 'allowed') return unreachable(upstream, from, to, answer)
      noteRanges(situation, upstream, from, to, claim)
    }
    const missed = missedPod(situation, upstream, from)
    if (missed !== undefined) {
      claim.verdict = 'not-proven'
      claim.findings.push(
        finding(
          'gateway-unreachable',
          `the gateway could not reach a pod of ${upstream.name} with ${formatLabels(missed)}: no rule of the policies covers all of its podSelector`,
          upstream.at
        )
      )
    }
  }
  return claim
}

function unreachable(upstream: Upstream, from: PodEnd, to: PodEnd, answer: Answer): Claim {
  const side = answer.egress.verdict === 'allowed' ? answer.ingress : answer.egress
  const [first] = side.policies
  const denied = answer.verdict === 'denied'
  const what = `the gateway ${denied ? 'cannot' : 'may not be able to'} reach ${upstream.name} on port ${upstream.port}`
  return {
    verdict: denied ? 'refuted' : 'not-proven',
    counterexamples: [
      {
        from: { namespace: from.namespace.name, labels: from.labels },
        to: { namespace: to.namespace.name, labels: to.labels },
        port: upstream.port,
        protocol: 'TCP',
        policy: first?.policy ?? null,
        rule: first?.rule ?? null,
        at: first?.at ?? upstream.at,
        why: `${what}: ${answer.why}`
      }
    ],
    findings: [finding('gateway-unreachable', what, first?.at ?? upstream.at)]
  }
}

/** A pod of the upstream that the policies, but no rule for the gateway, would select. */
function missedPod(
  { world }: Case,
  upstream: Upstream,
  from: PodEnd
): Readonly<Record<string, string>> | undefined {
  const future: PodParty = {
    kind: 'pod',
    side: 'destination',
    namespace: world.namespace(upstream.namespace),
    labels: undefined,
    pod: undefined
  }
  const source: PodParty = {
    ...future,
    side: 'source',
    namespace: from.namespace,
    labels: from.labels,
    pod: from.pod
  }
  const selected = podLiterals(upstream.selector, future) ?? []
  const start = assumeAll(startCube(world, [], portSet('TCP', upstream.port, upstream.port)), selected)
  if (start === undefined) return undefined
  const into = world.policiesOf(upstream.namespace).filter(policy => policy.ingress !== undefined)
  const letsIn = into.flatMap(policy =>
    (policy.ingress ?? []).flatMap(rule =>
      ways(policy, rule, source, future).map(way => [
        ...(podLiterals(policy.podSelector, future) ?? []),
        ...way
      ])
    )
  )
  for (const policy of into) {
    const isolated = assumeAll(start, podLiterals(policy.podSelector, future) ?? [])
    const found = isolated && solve(isolated, letsIn)
    if (found !== undefined) return exampleLabels(found, podAxis(future))
  }
  const out = world
    .selecting({ namespace: from.namespace.name, labels: from.labels })
    .filter(each => each.egress)
  if (out.length === 0) return undefined
  const letsOut = out.flatMap(policy =>
    (policy.egress ?? []).flatMap(rule => ways(policy, rule, future, future))
  )
  const found = solve(start, letsOut)
  return found && exampleLabels(found, podAxis(future))
}

/** What a rule asks of the destination. A port name is taken on trust: each pod says itself what it stands for (S15). */
function ways(policy: Policy, rule: Rule, other: PodParty, destination: PodParty): Conjunction[] {
  return ruleBranches(policy, rule, other, destination)
    .filter(branch => branch.isCertain || branch.isLoose)
    .map(branch =>
      branch.isLoose ? branch.literals.filter((each: Literal) => each.kind !== 'ports') : branch.literals
    )
}

/** A plugin without support for `endPort` applies only `port` (S16). */
function noteRanges({ world }: Case, upstream: Upstream, from: PodEnd, to: PodEnd, claim: Claim): void {
  const point = portPoint('TCP', upstream.port)
  for (const [direction, self, other] of [
    ['egress', from, to],
    ['ingress', to, from]
  ] as const) {
    const { side } = evaluateSide(world, direction, self, other, point)
    const rules = side.policies.map(each => {
      const policy = world.policiesOf(self.namespace.name).find(one => policyName(one) === each.policy)
      return each.rule === null ? undefined : policy?.[direction]?.[each.rule]
    })
    const isRangeOnly = (rule: Rule | undefined): boolean =>
      rule?.ports?.every(entry => entry.endPort !== undefined && entry.port !== upstream.port) ?? false
    if (rules.length > 0 && rules.every(isRangeOnly)) {
      const text = `${upstream.name} is reached through a range of ports (endPort): a CNI without support for it applies only its first port (S16)`
      if (!claim.findings.some(each => each.text === text)) {
        claim.findings.push(finding('port-range', text, side.policies[0]?.at))
      }
    }
  }
}
