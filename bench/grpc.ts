/**
 * `node bench/grpc.ts`: CPU microseconds per unary gRPC call, through the gateway and through others, beside a bare bridge of
 * node:http2. Without options it measures everybody and writes the section "gRPC" of docs/benchmarks.md.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { cpuSeconds } from './cpu.ts'
import { createCredentials } from './credentials.ts'
import { useCheckout } from './grpc/gateway.ts'
import { applyCalls } from './grpc/h2load.ts'
import type { GrpcPeer } from './grpc/peer.ts'
import { grpcPeers } from './grpc/peers.ts'
import { callTable, type GrpcResult, section, verdict } from './grpc/report.ts'
import { expectCall, verifyFullChain } from './grpc/verify.ts'
import { freePort, type Instance, startInstance } from './instance.ts'
import type { Sample } from './measure.ts'
import { isPinned, node, pinMyself } from './runtime.ts'
import { writeSection } from './section.ts'

const usage = `node bench/grpc.ts [options]
  --only a,b    these proxies: ${grpcPeers.map(({ name }) => name).join(', ')}; writes no document
  --rounds N    measurements of each proxy (default 7)
  --seconds N   length of one (default 2)
  --gateway DIR the gateway of another checkout; writes no document
  --write       writes the document all the same
`

const { values: options } = parseArgs({
  options: {
    only: { type: 'string' },
    rounds: { type: 'string', default: '7' },
    seconds: { type: 'string', default: '2' },
    gateway: { type: 'string' },
    write: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false }
  }
})
const rounds = Number(options.rounds)
const seconds = Number(options.seconds)

/** Calls until a proxy counts as warm, as `measure.ts` has it for requests. */
const warmCalls = 120_000
const mostWarmUps = 15
const warmUpSeconds = 2
/** Before each measurement: what rests is slow at first. */
const rewarmSeconds = 2

interface World {
  readonly folder: string
  readonly upstreamPort: number
  readonly credentials: Awaited<ReturnType<typeof createCredentials>>
  readonly token: string
}

interface RunningPeer {
  readonly peer: GrpcPeer
  readonly instance: Instance
  readonly target: { port: number; folder: string; token: string | null }
  readonly samples: Sample[]
}

const closing: (() => unknown)[] = []

async function main(): Promise<void> {
  if (options.help) {
    process.stdout.write(usage)
    return
  }
  // This process serves the keys and starts the upstream and the load: it belongs to the world.
  pinMyself('world')
  if (!isPinned) say('nothing is pinned to a core: the figures are rough')
  if (options.gateway !== undefined) useCheckout(resolve(options.gateway))
  const world = await buildWorld()
  const only = options.only?.split(',')
  const wanted = grpcPeers.filter(({ name }) => only === undefined || only.includes(name))
  const present = wanted.filter(peer => peer.version() !== null)
  const absent = wanted.filter(peer => peer.version() === null)
  for (const peer of absent) say(`${peer.title}: not installed`)

  for (const peer of present.filter(({ chain }) => chain === 'full')) {
    await verifyFullChain(peer, world)
    say(`${peer.title}: verified`)
  }
  const direct = await measureDirect(world)
  const results = await measureAll(present, world)
  say(`\n${callTable(results, absent, direct)}\n\n${verdict(results)}`)
  if ((only !== undefined || options.gateway !== undefined) && !options.write) return
  writeSection('bench/grpc.ts', section({ results, absent, direct, rounds, seconds }))
  say('\nwrote docs/benchmarks.md')
}

async function buildWorld(): Promise<World> {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-bench-grpc-'))
  closing.push(() => rmSync(folder, { recursive: true, force: true }))
  const credentials = await createCredentials(folder)
  closing.push(() => credentials.close())
  const upstreamPort = await freePort()
  const program = join(import.meta.dirname, 'peers', 'servers', 'grpc-upstream.ts')
  const command = { argv: [node, program, String(upstreamPort)] }
  const upstream = await startInstance(command, 'world', upstreamPort, join(folder, 'upstream'))
  closing.push(() => upstream.stop())
  return { folder, credentials, upstreamPort, token: await credentials.sign('user') }
}

/** Calls a second without a proxy: more than that nobody can show here. */
async function measureDirect({ folder, upstreamPort }: World): Promise<number> {
  const target = { port: upstreamPort, folder, token: null }
  await expectCall(upstreamPort, null, 'the upstream')
  await applyCalls(target, warmUpSeconds * 3)
  const { calls } = await applyCalls(target, seconds)
  return calls / seconds
}

/** Warms every proxy up, then measures them in turn, round after round. */
async function measureAll(peers: readonly GrpcPeer[], world: World): Promise<GrpcResult[]> {
  const running: RunningPeer[] = []
  for (const peer of peers) {
    const one = await startPeer(peer, world)
    running.push(one)
    let calls = 0
    for (let i = 0; i < mostWarmUps && calls < warmCalls; i++) {
      calls += (await applyCalls(one.target, warmUpSeconds)).calls
    }
    say(`${peer.title}: warm`)
  }
  for (let round = 1; round <= rounds; round++) {
    for (const one of running) {
      await applyCalls(one.target, rewarmSeconds)
      const sample = await measure(one)
      one.samples.push(sample)
      say(`${round}/${rounds}  ${one.peer.title.padEnd(28)} ${sample.cost.toFixed(1)} us`)
    }
  }
  return running.map(({ peer, samples }) => ({ peer, samples }))
}

/** High enough never to refuse, and counted all the same. */
const limit = 1_000_000_000

async function startPeer(peer: GrpcPeer, world: World): Promise<RunningPeer> {
  const folder = join(world.folder, peer.name)
  mkdirSync(folder, { recursive: true })
  const port = await freePort()
  const command = peer.prepare({ ...world, folder, port, limit })
  const instance = await startInstance(command, 'gateway', port, folder)
  closing.push(() => instance.stop())
  const token = peer.chain === 'full' ? world.token : null
  return { peer, instance, target: { port, folder, token }, samples: [] }
}

async function measure({ peer, instance, target }: RunningPeer): Promise<Sample> {
  const before = cpuSeconds(instance.pid)
  const start = performance.now()
  const { calls } = await applyCalls(target, seconds)
  const cpu = cpuSeconds(instance.pid) - before
  const elapsed = (performance.now() - start) / 1000
  await expectCall(target.port, target.token, peer.title)
  return { cost: (cpu / calls) * 1e6, requestsPerSecond: calls / seconds, busy: cpu / elapsed }
}

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}

async function closeAll(): Promise<void> {
  for (let close = closing.pop(); close !== undefined; close = closing.pop()) await close()
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => void closeAll().finally(() => process.exit(1)))
}
try {
  await main()
} finally {
  await closeAll()
}
