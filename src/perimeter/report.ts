import type { Case, Counterexample, Finding, ProofVerdict } from './claim.ts'
import type { Example } from './openings.ts'
import type { Proof, UpstreamProof } from './prove.ts'
import { formatLabels } from './selector.ts'
import type { Upstream } from './upstreams.ts'

export const exitCodes: Readonly<Record<ProofVerdict, number>> = { proven: 0, refuted: 1, 'not-proven': 2 }

const headlines: Readonly<Record<ProofVerdict, string>> = {
  proven: 'PROVEN: the gateway is the only way to every upstream',
  refuted: 'REFUTED: there is a way around the gateway, or one that should work does not',
  'not-proven': 'NOT PROVEN: it depends on something that the manifests do not settle'
}

export function headline(verdict: ProofVerdict): string {
  return headlines[verdict]
}

/** `namespace (labels)`, or an address. */
export function formatEnd(end: Example): string {
  if (end.address !== undefined) return end.address
  const pod = end.pod === undefined ? '' : `/${end.pod}`
  const labelled =
    end.namespaceLabels === undefined ? '' : `, a namespace labelled ${formatLabels(end.namespaceLabels)},`
  return `${end.namespace}${pod}${labelled} (${formatLabels(end.labels)})`
}

export function formatRule(example: Counterexample): string {
  if (example.policy === null) return 'no policy'
  return example.rule === null ? example.policy : `${example.policy} rule ${example.rule}`
}

/** A person reads it in a minute: the verdict first, then what is wrong and where, then what was taken for granted. */
export function formatText(proof: Proof, situation: Case): string {
  const lines = [headline(proof.verdict), '']
  const width = Math.max(0, ...proof.upstreams.map(each => each.name.length))
  for (const [index, upstream] of proof.upstreams.entries()) {
    lines.push(...upstreamLines(upstream, situation.upstreams[index]!, width))
  }
  if (proof.findings.length > 0) lines.push('', 'Findings', ...proof.findings.flatMap(findingLines))
  const { edges, gatewayEdges, isGiven } = situation.declared
  const declared = [...edges, ...gatewayEdges].map(edge => edge.name)
  lines.push(
    '',
    `Declared open besides the upstreams: ${declared.join(', ') || 'nothing'}${isGiven ? '' : ' (assumed)'}`
  )
  lines.push('', 'Taken for granted', ...proof.assumptions.map(each => `  ${each.id}  ${each.text}`), '')
  return lines.join('\n')
}

function upstreamLines(proof: UpstreamProof, upstream: Upstream, width: number): string[] {
  const pods = `${upstream.namespace} (${formatLabels(upstream.labels)}) TCP ${upstream.port}`
  return [
    `  ${proof.name.padEnd(width)}  ${proof.verdict.padEnd(10)}  ${pods}`,
    ...proof.counterexamples.flatMap(exampleLines),
    ...proof.findings.flatMap(findingLines).map(line => `  ${line}`)
  ]
}

function exampleLines(example: Counterexample): string[] {
  return [
    `      ${formatEnd(example.from)} -> ${formatEnd(example.to)} ${example.protocol} ${example.port}`,
    `        ${formatRule(example)}${example.at === null ? '' : `  ${example.at}`}`,
    `        ${example.why}`
  ]
}

function findingLines({ code, text, at }: Finding): string[] {
  return [`  ${code}${at === null || at === '' ? '' : `  ${at}`}`, `    ${text}`]
}
