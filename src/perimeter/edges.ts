import { formatAddress } from './addresses.ts'
import { type Case, type Claim, endsOf, finding, gatewayEnds, worst } from './claim.ts'
import { type Edge, type EndSpec, roleLabel } from './declared.ts'
import { allowedInto, destinationsOf, findForCause, verdictOf } from './only-gateway.ts'
import { everybody, exampleOf } from './openings.ts'
import { type End, evaluate, podEnd } from './policy.ts'
import { everyPort, portAt } from './ports.ts'
import { formatEnd } from './report.ts'
import { formatLabels, type Labels, matches, type Selector } from './selector.ts'
import { policyName } from './world.ts'

/** Each declared edge works at both ends, and the policies that make the edges open nothing else. */
export function proveEdges(situation: Case): Claim {
  const findings = [...brokenEdges(situation), ...widePolicies(situation)]
  return {
    verdict: worst(findings.map(each => each.verdict)),
    counterexamples: [],
    findings: findings.map(each => each.finding)
  }
}

interface Judged {
  verdict: Claim['verdict']
  finding: Claim['findings'][number]
}

function brokenEdges(situation: Case): Judged[] {
  const { world, declared } = situation
  const between = declared.edges.flatMap(edge =>
    check(edge, ends(situation, edge.from), ends(situation, edge.to))
  )
  const fromGateway = declared.isGiven
    ? declared.gatewayEdges
        .filter(edge => !edge.name.startsWith('DNS'))
        .flatMap(edge =>
          check({ ...edge, from: { kind: 'anything' } }, gatewayEnds(situation), ends(situation, edge.to))
        )
    : []
  return [...between, ...fromGateway]

  function check(edge: Edge, sources: readonly End[], destinations: readonly End[]): Judged[] {
    const { port, protocol } = portAt(edge.ports[0]![0])
    for (const from of sources) {
      for (const to of destinations) {
        const answer = evaluate(world, from, to, port, protocol)
        if (answer.verdict === 'allowed') continue
        const denied = answer.verdict === 'denied'
        const text = `the declared edge ${edge.name} ${denied ? 'does not work' : 'may not work'} on ${protocol} ${port}: ${answer.why}`
        return [
          { verdict: denied ? 'refuted' : 'not-proven', finding: finding('edge-broken', text, edge.at) }
        ]
      }
    }
    return []
  }
}

/** Declared pods that are meant; if there is none, one that carries just the labels. */
export function ends({ world }: Case, spec: EndSpec): End[] {
  if (spec.kind === 'block') {
    const first = spec.set[0]?.[0]
    return first === undefined ? [] : [{ kind: 'address', address: formatAddress(first), point: first }]
  }
  if (spec.kind === 'anything' || spec.namespace === undefined) return []
  const pods = world
    .podsOf(spec.namespace)
    .filter(pod => matches(spec.selector, pod.labels) && !pod.hostNetwork)
    .map(pod => podEnd(world, pod))
  const labels = labelsOf(spec.selector)
  return endsOf(world, spec.namespace, labels, `a pod with ${formatLabels(labels)}`, pods)
}

function labelsOf(selector: Selector): Labels {
  return Object.fromEntries(selector.map(term => [term.key, [...term.domain.values][0] ?? '']))
}

/** What the chart's policies in protected namespaces are for. */
const protectingRoles = ['edge', 'upstream', 'default-deny']

function widePolicies(situation: Case): Judged[] {
  const { world } = situation
  const own = world.policies.filter(policy => protectingRoles.includes(policy.labels[roleLabel] ?? ''))
  return own.flatMap(policy =>
    (policy.ingress ?? []).flatMap(rule => {
      const question = {
        world,
        sources: everybody(world, 'source'),
        destinations: destinationsOf(situation, policy.namespace, []),
        selector: [],
        ports: everyPort,
        allowed: allowedInto(situation, policy.namespace)
      }
      const opening = findForCause(question, { policy, rule })
      if (opening === undefined) return []
      const from = exampleOf(opening.source, opening.cube)
      const to = exampleOf(opening.destination, opening.cube)
      const { port, protocol } = portAt(opening.cube.ports[0]![0])
      const code = policy.labels[roleLabel] === 'edge' ? 'edge-opens-more' : 'policy-opens-more'
      const text = `${policyName(policy)} ingress[${rule.index}] opens more than is declared: ${formatEnd(from)} to ${formatEnd(to)} on ${protocol} ${port}`
      return [{ verdict: verdictOf([opening]), finding: finding(code, text, rule.at) }]
    })
  )
}
