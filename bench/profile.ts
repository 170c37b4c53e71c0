import { globSync, mkdirSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { freePort, startInstance } from './instance.ts'
import { applyLoad } from './load/wrk.ts'
import { connections, type World } from './measure.ts'
import type { Chain } from './peers/peer.ts'
import { sallyportCommand } from './peers/sallyport.ts'
import { root } from './runtime.ts'

/** A `.cpuprofile` of V8, as far as it is read here. Times in microseconds of the monotonic clock. */
interface CpuProfile {
  nodes: { id: number; callFrame: { functionName: string; url: string; lineNumber: number } }[]
  startTime: number
  samples: number[]
  timeDeltas: number[]
}

export interface Share {
  readonly name: string
  /** Of the time that the process was busy. */
  readonly share: number
}

export interface Profile {
  readonly groups: readonly Share[]
  readonly functions: readonly Share[]
}

const warmUpSeconds = 3

/** Runs a chain of the gateway under load with V8's sampling profiler: where the time goes, by self time. */
export async function profileChain(chain: Chain, world: World, seconds: number): Promise<Profile> {
  const folder = join(world.folder, `profile-${chain}`)
  mkdirSync(folder, { recursive: true })
  const port = await freePort()
  const options = ['--cpu-prof', `--cpu-prof-dir=${folder}`, '--cpu-prof-interval=250']
  const command = sallyportCommand(root, chain, { ...world, folder, port, limit: 1_000_000_000 }, options)
  const instance = await startInstance(command, 'gateway', port, folder)
  const tokens = chain === 'plain' ? null : (world.tokens.get(1)?.file ?? null)
  const load = { port, connections, tokens }
  await applyLoad({ ...load, seconds: warmUpSeconds })
  const from = now()
  await applyLoad({ ...load, seconds })
  const to = now()
  await instance.stop()
  const [file] = globSync(join(folder, '*.cpuprofile'))
  if (file === undefined) throw new Error('Node wrote no profile')
  return evaluate(JSON.parse(readFileSync(file, 'utf8')) as CpuProfile, from, to)
}

function now(): number {
  return Number(process.hrtime.bigint() / 1000n)
}

function evaluate(profile: CpuProfile, from: number, to: number): Profile {
  const groups = new Map<string, number>()
  const functions = new Map<string, number>()
  const frames = new Map(profile.nodes.map(node => [node.id, node.callFrame]))
  let at = profile.startTime
  let busy = 0
  for (const [i, id] of profile.samples.entries()) {
    const spent = profile.timeDeltas[i + 1] ?? 0
    at += profile.timeDeltas[i] ?? 0
    const frame = frames.get(id)
    if (at < from || at > to || frame === undefined || frame.functionName === '(idle)') continue
    busy += spent
    add(groups, groupOf(frame.functionName, frame.url), spent)
    add(functions, describe(frame), spent)
  }
  return { groups: shares(groups, busy), functions: shares(functions, busy) }
}

function add(sums: Map<string, number>, key: string, value: number): void {
  sums.set(key, (sums.get(key) ?? 0) + value)
}

function shares(sums: ReadonlyMap<string, number>, busy: number): Share[] {
  return [...sums].map(([name, spent]) => ({ name, share: spent / busy })).sort((a, b) => b.share - a.share)
}

const builtIn = 'native code called from JavaScript (sockets, parser, buffers, strings)'

/** Whose code a function is. */
function groupOf(name: string, url: string): string {
  if (name === '(garbage collector)') return 'garbage collector'
  if (name === '(program)') return 'native code outside JavaScript (event loop, system calls)'
  if (url === '') return builtIn
  if (url.startsWith('node:')) return 'Node internals'
  const inPackage = /node_modules\/((?:@[^/]+\/)?[^/]+)\/(?!.*node_modules\/)/.exec(url)
  return inPackage === null ? 'Sallyport (src, plugins)' : (inPackage[1] as string)
}

function describe({ functionName, url, lineNumber }: CpuProfile['nodes'][number]['callFrame']): string {
  const name = functionName || '(anonymous)'
  if (url === '') return name
  const file = url.startsWith('file:') ? relative(root, fileURLToPath(url)) : url
  return `${name}  ${file.replace(/^.*node_modules\//, '')}:${lineNumber + 1}`
}
