import { type Assumption, assumptions } from './assumptions.ts'
import {
  type Case,
  type Counterexample,
  type Finding,
  finding,
  mergeClaims,
  type ProofVerdict,
  worst
} from './claim.ts'
import { proveEdges } from './edges.ts'
import type { Gateway } from './gateway.ts'
import { proveGatewayEgress } from './gateway-egress.ts'
import { proveGatewayIngress } from './gateway-ingress.ts'
import { proveGatewayReaches } from './gateway-reach.ts'
import type { Manifests } from './objects.ts'
import { proveOnlyGateway } from './only-gateway.ts'
import { inspectAll, inspectUpstream } from './surroundings.ts'
import type { Upstreams } from './upstreams.ts'
import { buildWorld } from './world.ts'

export interface UpstreamProof {
  name: string
  verdict: ProofVerdict
  counterexamples: Counterexample[]
  findings: Finding[]
}

export interface Proof {
  verdict: ProofVerdict
  upstreams: UpstreamProof[]
  findings: Finding[]
  assumptions: readonly Assumption[]
}

/** What the proof is about, with all of its indexes; the report draws from it too. */
export function buildCase(manifests: Manifests, upstreams: Upstreams, gateway: Gateway): Case {
  const { declared } = gateway
  const ends = [
    ...declared.edges.flatMap(edge => [edge.from, edge.to]),
    ...declared.gatewayEdges.map(edge => edge.to)
  ]
  const named = [
    gateway.namespace,
    ...upstreams.inside.map(each => each.namespace),
    ...ends.flatMap(end => (end.kind === 'pods' && end.namespace !== undefined ? [end.namespace] : []))
  ]
  return { world: buildWorld(manifests, named), gateway, upstreams: upstreams.inside, declared }
}

/**
 * Decides, for every upstream, whether the gateway is the only way in: over the declared pods and over every pod and namespace that
 * could still appear. Pure; what it takes for granted is in `assumptions`.
 */
export function prove(situation: Case, outside: Upstreams['outside'] = []): Proof {
  const upstreams = situation.upstreams.map(upstream => {
    const claim = mergeClaims([
      proveOnlyGateway(situation, upstream),
      proveGatewayReaches(situation, upstream),
      inspectUpstream(situation, upstream)
    ])
    return {
      name: upstream.name,
      verdict: claim.verdict,
      counterexamples: claim.counterexamples,
      findings: unique(claim.findings)
    }
  })
  const general = mergeClaims([
    proveGatewayEgress(situation),
    proveGatewayIngress(situation),
    proveEdges(situation),
    inspectAll(situation)
  ])
  const verdicts = [general.verdict, ...upstreams.map(each => each.verdict)]
  const findings = [...general.findings, ...outside.map(notProtected)]
  if (upstreams.length === 0) {
    verdicts.push('not-proven')
    findings.push(
      finding('nothing-to-prove', 'no upstream of the configuration has a kubernetes block', null)
    )
  }
  return { verdict: worst(verdicts), upstreams, findings: unique(findings), assumptions }
}

function notProtected({ name, at }: Upstreams['outside'][number]): Finding {
  const text = `${name} has no kubernetes block: it is taken to be outside the cluster, where no policy protects it`
  return finding('outside-cluster', text, at)
}

function unique(findings: readonly Finding[]): Finding[] {
  const seen = new Map<string, Finding>()
  for (const each of findings) seen.set(`${each.code} ${each.at} ${each.text}`, each)
  return [...seen.values()]
}
