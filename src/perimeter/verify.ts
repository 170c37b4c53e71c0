import { writeFileSync } from 'node:fs'
import type { Case } from './claim.ts'
import { readDeclared } from './declared.ts'
import { findGateway, type Gateway } from './gateway.ts'
import { formatHtml } from './html.ts'
import { readManifests, readTexts } from './manifests.ts'
import { BadInput } from './objects.ts'
import { buildCase, type Proof, prove } from './prove.ts'
import { exitCodes, formatText, headline } from './report.ts'
import { readUpstreams, type UpstreamsView, upstreamsOf } from './upstreams.ts'

/** Exit code of both commands for input that cannot be read. */
export const badInputCode = 3

export interface CommandResult {
  exitCode: number
  /** What goes to standard output; on bad input the mistakes, one a line, for standard error. */
  output: string
}

export interface VerifyArgs {
  /** Path of the configuration (a file or a folder), or the configuration already parsed. */
  config: string | UpstreamsView
  /** Files, folders, or `-` for standard input. */
  manifests: readonly string[]
  /** `NAMESPACE/key=value,…`; default: from the Deployment labelled `app.kubernetes.io/name: sallyport`. */
  gateway?: string
  /** Default: `text`. */
  format?: 'text' | 'json' | 'html'
  /** A file to write the report to; standard output then has its first line only. */
  output?: string
  /** The chart's `perimeter` values, as JSON or YAML; default: the annotation `sallyport.io/perimeter` of the gateway's Deployment. */
  perimeter?: string
  /** Reads standard input; for tests. */
  stdin?: () => string
}

/** `sallyport verify`: exit code 0 proven, 1 refuted, 2 not proven, 3 bad input. */
export async function runVerify(args: VerifyArgs): Promise<CommandResult> {
  try {
    const upstreams =
      typeof args.config === 'string' ? readUpstreams(args.config) : upstreamsOf(args.config, '<config>')
    const manifests = readManifests(readTexts(args.manifests, args.stdin))
    const gateway = withDeclared(findGateway(manifests, args.gateway), args.perimeter)
    const situation = buildCase(manifests, upstreams, gateway)
    const proof = prove(situation, upstreams.outside)
    const report = formatProof(proof, situation, args.format ?? 'text')
    const exitCode = exitCodes[proof.verdict]
    if (args.output === undefined) return { exitCode, output: report }
    writeReport(args.output, report)
    return { exitCode, output: `${headline(proof.verdict)}\n` }
  } catch (cause) {
    return explainBadInput(cause)
  }
}

/** What cannot be read is an answer; anything else is a defect of ours and is thrown on. */
export function explainBadInput(cause: unknown): CommandResult {
  if (cause instanceof BadInput) return { exitCode: badInputCode, output: `${cause.problems.join('\n')}\n` }
  throw cause
}

function writeReport(file: string, report: string): void {
  try {
    writeFileSync(file, report)
  } catch (cause) {
    throw new BadInput([
      `--output ${file} cannot be written: ${cause instanceof Error ? cause.message : cause}`
    ])
  }
}

function withDeclared(gateway: Gateway, perimeter: string | undefined): Gateway {
  return perimeter === undefined ? gateway : { ...gateway, declared: readDeclared(perimeter, 'perimeter') }
}

export function formatProof(proof: Proof, situation: Case, format: 'text' | 'json' | 'html'): string {
  if (format === 'json') return `${JSON.stringify(proof, null, 2)}\n`
  return format === 'html' ? formatHtml(proof, situation) : formatText(proof, situation)
}
