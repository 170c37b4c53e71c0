import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { type Cell, cellId } from './cells.ts'
import { cpuSeconds } from './cpu.ts'
import type { Credentials } from './credentials.ts'
import { freePort, type Instance, startInstance } from './instance.ts'
import { applyLoad } from './load/wrk.ts'
import { body } from './runtime.ts'
import { expectGood } from './verify.ts'

export const connections = 64

/** High enough never to refuse, and counted all the same. */
const limit = 1_000_000_000

/** One round of one cell. */
export interface Sample {
  /** CPU microseconds of the peer per request. */
  readonly cost: number
  readonly requestsPerSecond: number
  /** Share of its core that the peer used. */
  readonly busy: number
}

/** A cell whose peer runs. */
export interface RunningCell {
  readonly cell: Cell
  readonly instance: Instance
  readonly tokens: readonly string[]
  /** File with the tokens; null for the plain chain. */
  readonly tokenFile: string | null
  readonly samples: Sample[]
}

export interface World {
  readonly folder: string
  readonly upstreamPort: number
  readonly credentials: Credentials
  /** Tokens by how many. */
  readonly tokens: ReadonlyMap<number, { list: readonly string[]; file: string }>
}

export async function startCell(cell: Cell, world: World): Promise<RunningCell> {
  const folder = join(world.folder, cellId(cell).replaceAll('/', '-'))
  mkdirSync(folder, { recursive: true })
  const port = await freePort()
  const command = cell.peer.prepare(cell.chain, { ...world, folder, port, limit })
  const tokens = world.tokens.get(cell.tokens)
  return {
    cell,
    instance: await startInstance(command, 'gateway', port, folder),
    tokens: tokens?.list ?? [],
    tokenFile: tokens?.file ?? null,
    samples: []
  }
}

/**
 * Requests until a cell counts as warm: compilers and pools need so many, however slowly a busy machine lets them come. A cell
 * that has rested needs nearly as many again (README.md).
 */
const warmRequests = 120_000
const mostWarmUps = 5

/** Warms a cell up: for so long, and on a slow machine again until enough requests have passed. */
export async function warmUp(running: RunningCell, seconds: number): Promise<void> {
  let requests = 0
  for (let i = 0; i < mostWarmUps && requests < warmRequests; i++) {
    requests += (await measureCell(running, seconds)).requestsPerSecond * seconds
  }
}

/**
 * Puts load on a cell for so long and says what that cost its peer. Throws when an answer was not the upstream's: a peer
 * that refuses would win.
 */
export async function measureCell(
  { cell, instance, tokens, tokenFile }: RunningCell,
  seconds: number
): Promise<Sample> {
  const before = cpuSeconds(instance.pid)
  const start = performance.now()
  const load = await applyLoad({ port: instance.port, connections, seconds, tokens: tokenFile })
  const cpu = cpuSeconds(instance.pid) - before
  const elapsed = (performance.now() - start) / 1000
  const { requests, bytes, failures } = load
  if (failures > 0 || requests === 0 || bytes < requests * Buffer.byteLength(body)) {
    throw new Error(`${cellId(cell)}: ${failures} of ${requests} requests failed, ${bytes} bytes in all`)
  }
  await expectGood(instance.port, tokenFile === null ? [null] : tokens, cellId(cell))
  return { cost: (cpu / requests) * 1e6, requestsPerSecond: requests / load.seconds, busy: cpu / elapsed }
}

export interface Summary {
  /** Medians, but for the two ends. */
  readonly cost: number
  readonly lowest: number
  readonly highest: number
  readonly requestsPerSecond: number
  readonly busy: number
}

export function summarise(samples: readonly Sample[]): Summary {
  const costs = samples.map(sample => sample.cost)
  return {
    cost: median(costs),
    lowest: Math.min(...costs),
    highest: Math.max(...costs),
    requestsPerSecond: median(samples.map(sample => sample.requestsPerSecond)),
    busy: median(samples.map(sample => sample.busy))
  }
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1
    ? (sorted[middle] as number)
    : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2
}
