/**
 * `node bench/grpc-calls.ts`: 100,000 calls of all four kinds, every tenth cancelled midway, through a gateway in a process of
 * its own: what of it is still there afterwards. Exits with 1 when something is.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { Client, credentials } from '@grpc/grpc-js'
import { cancelMidway, complete, kinds } from './grpc/caller.ts'
import { type EchoServer, startEchoServer } from './grpc/echo-server.ts'
import { gatewayForCalls, useCheckout } from './grpc/gateway.ts'
import { type Inspector, inspect } from './grpc/inspector.ts'
import { freePort, startInstance } from './instance.ts'
import { countFailure } from './load/call.ts'
import type { Command } from './peers/peer.ts'
import { table } from './report.ts'
import { node } from './runtime.ts'
import { writeSection } from './section.ts'

export interface CallsOptions {
  /** Calls that are counted; every tenth is cancelled. A tenth as many are made before the first look. */
  calls: number
  /** Client connections. */
  connections: number
  /** Calls under way on each. */
  together: number
  /** What is called through: the gateway, or the bare bridge to see what is Node's. */
  through: 'gateway' | 'bridge'
}

/** What is there while nobody calls. */
export interface Rest {
  /** `requests_in_flight` of the route; null where there are no metrics. */
  readonly inFlight: number | null
  readonly upstreamStreams: number
  readonly upstreamSessions: number
  /** Streams of node:http2 that are alive in the process after a collection. */
  readonly liveStreams: number
  readonly liveSessions: number
  /** Bytes after a full collection. */
  readonly heap: number
  readonly rss: number
}

export interface CallsFigures {
  readonly calls: number
  readonly cancelled: number
  /** Cancellations that the upstream saw. */
  readonly cancelledUpstream: number
  readonly failed: number
  readonly failures: Record<string, number>
  readonly seconds: number
  readonly before: Rest
  readonly after: Rest
}

/** How much more may be held afterwards: 110 bytes for each call, or 1 KB for each that was cancelled. */
export const heapBound = 10 * 2 ** 20
/** The compilers' code and the young generation grow for a while. */
export const rssBound = 64 * 2 ** 20
/** Who fails so often is not asked further: each may take its whole deadline. */
const mostFailures = 500
const settleTimeout = 10_000
const MiB = 2 ** 20

export async function runCalls(options: CallsOptions): Promise<CallsFigures> {
  const folder = await mkdtemp(join(tmpdir(), 'sallyport-grpc-calls-'))
  const upstream = await startEchoServer()
  const [port, adminPort] = [await freePort(), await freePort()]
  const command =
    options.through === 'gateway'
      ? gatewayForCalls({ folder, port, adminPort, upstreamPort: upstream.port })
      : bridge(port, upstream.port)
  const instance = await startInstance(command, 'gateway', port, folder)
  const inspector = await inspect(join(folder, 'stderr'))
  const clients = Array.from({ length: options.connections }, () => connect(port))
  const metrics = options.through === 'gateway' ? `http://127.0.0.1:${adminPort}/metrics` : null
  const failures: Record<string, number> = {}
  let number = 0
  let failed = 0

  async function makeCalls(count: number): Promise<number> {
    const last = number + count
    let cancelled = 0
    async function caller(client: Client): Promise<void> {
      while (number < last && failed < mostFailures) {
        const i = number++
        // Each kind meets every remainder of ten.
        const kind = kinds[(i + Math.floor(i / 10)) % kinds.length]!
        const isCancelled = i % 10 === 9
        if (isCancelled) cancelled++
        const failure = await (isCancelled
          ? cancelMidway(client, kind, String(i), upstream)
          : complete(client, kind))
        if (failure === null) continue
        failed++
        countFailure(failures, failure)
      }
    }
    await Promise.all(
      clients.flatMap(client => Array.from({ length: options.together }, () => caller(client)))
    )
    return cancelled
  }

  try {
    await makeCalls(options.calls / 10)
    const before = await lookAtRest(upstream, inspector, instance.pid, metrics)
    const seenBefore = upstream.cancelled
    const start = performance.now()
    const cancelled = await makeCalls(options.calls)
    const seconds = (performance.now() - start) / 1000
    const after = await lookAtRest(upstream, inspector, instance.pid, metrics)
    const cancelledUpstream = upstream.cancelled - seenBefore
    return { calls: options.calls, cancelled, cancelledUpstream, failed, failures, seconds, before, after }
  } finally {
    for (const client of clients) client.close()
    inspector.close()
    await instance.stop()
    await upstream.close()
    await rm(folder, { recursive: true, force: true })
  }
}

/** Connections of its own: clients of one process would share one. */
function connect(port: number): Client {
  return new Client(`127.0.0.1:${port}`, credentials.createInsecure(), {
    'grpc.use_local_subchannel_pool': 1
  })
}

function bridge(port: number, upstreamPort: number): Command {
  const program = join(import.meta.dirname, 'peers', 'bare-grpc-bridge.ts')
  return { argv: [node, '--inspect=127.0.0.1:0', program, String(port), String(upstreamPort)] }
}

/** Waits until the last calls have ended everywhere, and looks. What has not ended in time is what is reported. */
async function lookAtRest(
  upstream: EchoServer,
  inspector: Inspector,
  pid: number,
  metrics: string | null
): Promise<Rest> {
  const deadline = performance.now() + settleTimeout
  const inFlight = () => (metrics === null ? null : readInFlight(metrics))
  while ((upstream.streams > 0 || ((await inFlight()) ?? 0) > 0) && performance.now() < deadline)
    await sleep(20)
  const live = await inspector.liveStreams()
  const heap = await inspector.heapAfterCollection()
  return {
    inFlight: await inFlight(),
    upstreamStreams: upstream.streams,
    upstreamSessions: upstream.sessions,
    liveStreams: (live.ServerHttp2Stream ?? 0) + (live.ClientHttp2Stream ?? 0),
    liveSessions: (live.ServerHttp2Session ?? 0) + (live.ClientHttp2Session ?? 0),
    heap,
    rss: await residentBytes(pid)
  }
}

async function readInFlight(url: string): Promise<number> {
  const text = await (await fetch(url)).text()
  const values = [...text.matchAll(/^sallyport_requests_in_flight\{.*\} (\S+)$/gm)].map(([, value]) =>
    Number(value)
  )
  return values.reduce((sum, value) => sum + value, 0)
}

async function residentBytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'latin1')
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) * 1024
}

/** What is measured, before, after, what it may be, and whether it is. */
export function judge(figures: CallsFigures): [string, string, string, string, boolean][] {
  const { before, after, cancelled, cancelledUpstream, failed } = figures
  const row = (what: string, of: (rest: Rest) => number | null, bound: string, isGood: boolean) =>
    [what, String(of(before) ?? 'no metrics'), String(of(after) ?? 'no metrics'), bound, isGood] as [
      string,
      string,
      string,
      string,
      boolean
    ]
  const megabytes = (what: string, of: (rest: Rest) => number, bound: number) =>
    [
      what,
      (of(before) / MiB).toFixed(1),
      (of(after) / MiB).toFixed(1),
      `+ ${bound / MiB}`,
      of(after) <= of(before) + bound
    ] as [string, string, string, string, boolean]
  return [
    ['calls that failed', '', String(failed), '0', failed === 0],
    [
      'cancellations that the upstream saw',
      '',
      String(cancelledUpstream),
      String(cancelled),
      cancelledUpstream === cancelled
    ],
    row('`requests_in_flight`', rest => rest.inFlight, '0', (after.inFlight ?? 0) === 0),
    row('streams at the upstream', rest => rest.upstreamStreams, '0', after.upstreamStreams === 0),
    row(
      'sessions at the upstream (the idle pool)',
      rest => rest.upstreamSessions,
      'as before',
      after.upstreamSessions <= before.upstreamSessions
    ),
    row(
      'live streams in the process, after gc',
      rest => rest.liveStreams,
      'as before',
      after.liveStreams <= before.liveStreams
    ),
    row(
      'live sessions in the process, after gc',
      rest => rest.liveSessions,
      'as before',
      after.liveSessions <= before.liveSessions
    ),
    megabytes('heap after gc (MiB)', rest => rest.heap, heapBound),
    megabytes('resident memory (MiB)', rest => rest.rss, rssBound)
  ]
}

function report(figures: CallsFigures): string {
  const rows = judge(figures).map(([what, before, after, bound, isGood]) => [
    what,
    before,
    after,
    bound,
    isGood ? 'yes' : '**no**'
  ])
  return table(['', 'before', 'after', 'at most', 'good'], rows)
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      calls: { type: 'string', default: '100000' },
      connections: { type: 'string', default: '8' },
      together: { type: 'string', default: '8' },
      through: { type: 'string', default: 'gateway' },
      gateway: { type: 'string' },
      write: { type: 'boolean', default: false }
    }
  })
  const options: CallsOptions = {
    calls: Number(values.calls),
    connections: Number(values.connections),
    together: Number(values.together),
    through: values.through === 'bridge' ? 'bridge' : 'gateway'
  }
  if (values.gateway !== undefined) useCheckout(resolve(values.gateway))
  const figures = await runCalls(options)
  const what =
    `${figures.calls.toLocaleString('en-US')} calls of four kinds through the ${options.through} over ${options.connections} connections, ` +
    `${figures.cancelled.toLocaleString('en-US')} of them cancelled midway, in ${figures.seconds.toFixed(0)} s.`
  process.stdout.write(`${what}\n\n${report(figures)}\n`)
  for (const [failure, count] of Object.entries(figures.failures))
    process.stdout.write(`  ${count} x ${failure}\n`)
  if (values.write)
    writeSection('bench/grpc-calls.ts', `## What is left of gRPC calls\n\n${what}\n\n${report(figures)}`)
  process.exitCode = judge(figures).every(([, , , , isGood]) => isGood) ? 0 : 1
}

if (import.meta.main) await main()
