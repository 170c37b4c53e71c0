import { readFileSync } from 'node:fs'
import { cpus, loadavg, release } from 'node:os'
import { type Cell, cellId, manyTokens } from './cells.ts'
import { generator } from './load/wrk.ts'
import { connections, type Summary } from './measure.ts'
import type { Chain, Peer } from './peers/peer.ts'
import type { Profile, Share } from './profile.ts'
import { body, isPinned } from './runtime.ts'
import { targets } from './targets.ts'
import { upstreamTitle } from './upstream.ts'

export interface Result {
  readonly cell: Cell
  readonly summary: Summary
}

const chainTitles: Readonly<Record<Chain, string>> = {
  plain: 'plain',
  jwt: 'jwt',
  full: 'full',
  'full-log': 'full + access log',
  'full-uncached': 'full, tokens not cached'
}

// Before anything of the benchmark runs: above 0.5 or so somebody else was at work, and the figures are theirs too.
const loadBefore = (loadavg()[0] as number).toFixed(1)

/** Plain first, then by what is added to it; the gateway first in each. */
const order: readonly Chain[] = ['plain', 'jwt', 'full', 'full-uncached', 'full-log']

/** The table of costs, for the terminal and the document alike. */
export function costTable(results: readonly Result[], absent: readonly Peer[]): string {
  const sorted = results.toSorted(
    (a, b) => a.cell.tokens - b.cell.tokens || order.indexOf(a.cell.chain) - order.indexOf(b.cell.chain)
  )
  const rows = sorted.map(({ cell, summary }) => [
    `${chainTitles[cell.chain]}${cell.tokens === manyTokens ? `, ${manyTokens} tokens` : ''}`,
    cell.peer.title,
    summary.cost.toFixed(1),
    `${summary.lowest.toFixed(1)}-${summary.highest.toFixed(1)}`,
    Math.round(summary.requestsPerSecond).toLocaleString('en-US'),
    percent(summary.busy)
  ])
  for (const peer of absent) rows.push(['', peer.title, 'not installed', '', '', ''])
  return table(['chain', 'gateway', 'us/request', 'lowest-highest', 'requests/s', 'core used'], rows)
}

/** The ratios that were set as targets, reached or not. */
export function targetTable(results: readonly Result[]): string {
  const costs = new Map(results.map(({ cell, summary }) => [cellId(cell), summary.cost]))
  const rows = targets.map(({ what, ours, theirs, atMost }) => {
    const own = costs.get(ours)
    const other = costs.get(theirs)
    const limit = atMost === 1 ? 'below 1' : `at most ${atMost}`
    if (own === undefined || other === undefined) return [what, 'not measured', limit, '']
    const ratio = own / other
    const isReached = atMost === 1 ? ratio < 1 : ratio <= atMost
    return [
      what,
      `${own.toFixed(1)} / ${other.toFixed(1)} = ${ratio.toFixed(2)}`,
      limit,
      isReached ? 'yes' : '**no**'
    ]
  })
  return table(['cost of the gateway', 'measured', 'target', 'reached'], rows)
}

export function profileTable(shares: readonly Share[], most: number): string {
  return table(
    ['where', 'share'],
    shares.slice(0, most).map(({ name, share }) => [name, percent(share, 1)])
  )
}

/** The whole of docs/benchmarks.md. */
export function document(report: {
  results: readonly Result[]
  present: readonly Peer[]
  absent: readonly Peer[]
  verified: readonly string[]
  profiles: ReadonlyMap<Chain, Profile>
  rounds: number
  seconds: number
}): string {
  const { results, present, absent, verified, profiles, rounds, seconds } = report
  const missing = absent.map(peer => [peer.title, 'not installed', ''])
  return `# Benchmarks

Written by \`npm run bench\` on ${new Date().toISOString().slice(0, 10)}; do not edit. CPU microseconds that a gateway
spends on one proxied request: less is better.

${costTable(results, absent)}

${targetTable(results)}

## What is measured

One GET with a 1 KB answer (${Buffer.byteLength(body)} bytes), over and over, from ${connections} keep-alive connections that each have one request under
way. ${
    isPinned
      ? 'The gateway has one core to itself; the client, the upstream and the issuer share the other.'
      : 'Nothing is pinned to a core, for want of taskset or of a second core: the figures are rough.'
  } \`us/request\` is user and system time of the gateway's
processes (\`utime\` + \`stime\` in \`/proc/PID/stat\`, before and after) over the requests that the client completed.
Every cell is measured ${rounds} times for ${seconds} s, in turn with all the others, so that whatever else the machine does hits all
alike; in each turn it is warmed up first, for while it rests V8 throws compiled code away. The figure is the median; lowest and highest show the spread. Where \`core used\` is well below 100 %,
the other core was the limit (or somebody else used this one): requests/s then says nothing about the gateway.

Chains:

- plain: forwards
- jwt: and checks an RS256 token (2048 bits): signature, issuer, audience, expiry
- full: and limits the rate of each subject, and counts and times requests
- tokens: one, sent again and again, or ${manyTokens} of as many subjects in turn

In each round every answer must be a success and as long as the upstream's, and samples must be the upstream's answer byte
for byte. Before the run, each chain with tokens had to refuse no token, a forged, an expired and two foreign ones, and
each chain with a limit had to refuse a subject that passed it, and nobody else. Verified: ${verified.join(', ') || 'none'}.

Not measured: latency, TLS, HTTP/2, large bodies, new connections, more than one core, memory.

## Machine and versions

${cpus()[0]?.model.trim() ?? 'unknown processor'}, ${cpus().length} cores, Linux ${release()}${virtualisation()}. Load from ${generator}, upstream ${upstreamTitle}.
Load average of the machine before the run: ${loadBefore} (an idle one has 0; above 0.5 the figures say little).

${table(
  ['gateway', 'version', 'set up'],
  [...present.map(peer => [peer.title, peer.version() ?? '', peer.setup]), ...missing]
)}

## Where the gateway's time goes

Self time by V8's sampling profiler, in a run of its own (a profiled process is slower).
${[...profiles]
  .map(
    ([chain, profile]) => `
### ${chainTitles[chain]} chain

${profileTable(profile.groups, 12)}

${profileTable(profile.functions, 20)}
`
  )
  .join('')}
## Run it

\`\`\`sh
sh scripts/tools/bench.sh                        # installs the peers that it can, says which are missing
npm run bench                                    # everything; writes this file
npm run bench -- --quick --only sallyport,haproxy/full   # short, for development; writes nothing
npm run bench -- --profile full                  # where the gateway's time goes
\`\`\`
`
}

function percent(share: number, digits = 0): string {
  return `${(share * 100).toFixed(digits)} %`
}

function virtualisation(): string {
  return readFileSync('/proc/cpuinfo', 'latin1').includes('hypervisor') ? ' in a virtual machine' : ''
}

/** A Markdown table with aligned columns, so that it can be read on a terminal too. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((title, i) => Math.max(title.length, ...rows.map(row => row[i]?.length ?? 0)))
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell, i) => cell.padEnd(widths[i] as number)).join(' | ')} |`
  return [line(head), line(widths.map(width => '-'.repeat(width))), ...rows.map(line)].join('\n')
}
