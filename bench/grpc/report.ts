import { cpus, loadavg, release } from 'node:os'
import { type Sample, summarise } from '../measure.ts'
import { table } from '../report.ts'
import { callsPerConnection, grpcConnections, grpcGenerator, messageSize } from './h2load.ts'
import type { GrpcPeer } from './peer.ts'

export interface GrpcResult {
  readonly peer: GrpcPeer
  readonly samples: readonly Sample[]
}

/** What a unary call may cost on the plain chain, over the bare bridge. */
const atMost = 1.3

// Before anything of the benchmark runs.
const loadBefore = (loadavg()[0] as number).toFixed(1)

/** The table of costs, for the terminal and the document alike. */
export function callTable(
  results: readonly GrpcResult[],
  absent: readonly GrpcPeer[],
  direct: number | null
): string {
  const bridge = results.find(({ peer }) => peer.name === 'bridge')
  const rows = results.map(({ peer, samples }) => {
    const { cost, lowest, highest, requestsPerSecond, busy } = summarise(samples)
    return [
      peer.title,
      cost.toFixed(1),
      `${lowest.toFixed(1)}-${highest.toFixed(1)}`,
      bridge === undefined ? '' : ratioOver(bridge.samples, samples).toFixed(2),
      Math.round(requestsPerSecond).toLocaleString('en-US'),
      `${(busy * 100).toFixed(0)} %`
    ]
  })
  for (const peer of absent) rows.push([peer.title, 'not installed', '', '', '', ''])
  if (direct !== null) rows.push(['no proxy', '', '', '', Math.round(direct).toLocaleString('en-US'), ''])
  return table(['proxy', 'us/call', 'lowest-highest', 'over the bridge', 'calls/s', 'core used'], rows)
}

/** Median of the rounds' ratios: what the machine does in a round hits both alike. */
function ratioOver(theirs: readonly Sample[], ours: readonly Sample[]): number {
  const ratios = ours.map((sample, round) => sample.cost / (theirs[round] as Sample).cost)
  return summarise(ratios.map(cost => ({ cost, requestsPerSecond: 0, busy: 0 }))).cost
}

/** The line of the target. */
export function verdict(results: readonly GrpcResult[]): string {
  const samplesOf = (name: string) => results.find(({ peer }) => peer.name === name)?.samples
  const ours = samplesOf('sallyport')
  const theirs = samplesOf('bridge')
  if (ours === undefined || theirs === undefined)
    return 'The target needs the gateway and the bridge: not measured.'
  const ratio = ratioOver(theirs, ours)
  return `The plain chain costs ${ratio.toFixed(2)} times the bridge; the target is at most ${atMost}: ${ratio <= atMost ? 'reached' : '**not reached**'}.`
}

/** The section of docs/benchmarks.md. */
export function section(report: {
  results: readonly GrpcResult[]
  absent: readonly GrpcPeer[]
  direct: number | null
  rounds: number
  seconds: number
}): string {
  const { results, absent, direct, rounds, seconds } = report
  return `## gRPC

Measured on ${new Date().toISOString().slice(0, 10)}. CPU microseconds that a proxy spends on one unary call: less is better.

${callTable(results, absent, direct)}

${verdict(results)}

One unary call with ${messageSize} bytes each way, over and over: ${grpcConnections} connections with ${callsPerConnection} calls under way on each, HTTP/2 without TLS on
both sides. Each proxy is one process or worker with a core to itself; ${grpcGenerator} and the upstream (node:http2) share the other.
\`us/call\` and \`core used\` are taken as above. Each proxy was warmed up by so many calls that Node's compilers are done, and in every
round again before it was measured; ${rounds} rounds of ${seconds} s, the proxies in turn. \`us/call\` is the median; \`over the bridge\` is the median
of the rounds' ratios. Every answer must bring its message; in each round a grpc-js client's call must end with OK and its message; before
the run the full chain had to refuse no token, an expired and a foreign one (UNAUTHENTICATED), a token without the scope
(PERMISSION_DENIED) and a subject over its limit (RESOURCE_EXHAUSTED), and nobody else. Where \`core used\` is well below 100 % the other
core was the limit.

Load average of the machine before the run: ${loadBefore} (above 0.5 others were at work, and the figures are theirs too). ${cpus()[0]?.model.trim() ?? 'unknown processor'}, ${cpus().length} cores,
Linux ${release()}.

${table(
  ['proxy', 'version', 'set up'],
  [...results.map(({ peer }) => [peer.title, peer.version() ?? '', peer.setup])]
)}
`
}
