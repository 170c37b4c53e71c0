/**
 * `npm run bench`: CPU microseconds per proxied request, side by side with other gateways. Without options it measures
 * everything and writes docs/benchmarks.md.
 */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { type Cell, cellId, cellsOf, manyTokens } from './cells.ts'
import { createCredentials } from './credentials.ts'
import { measureCell, type RunningCell, startCell, summarise, type World, warmUp } from './measure.ts'
import { peers } from './peers/index.ts'
import type { Chain, Peer } from './peers/peer.ts'
import { baseline, tuneNode } from './peers/sallyport.ts'
import { type Profile, profileChain } from './profile.ts'
import { costTable, document, profileTable, type Result, targetTable } from './report.ts'
import { isPinned, pinMyself, root } from './runtime.ts'
import { startUpstream } from './upstream.ts'
import { verifyChain } from './verify.ts'

const usage = `node bench/run.ts [options]
  --only a,b        cells whose name starts with one of these, e.g. sallyport,haproxy/full; writes no document
  --rounds N        measurements of each cell (default 5)
  --seconds N       length of one (default 3)
  --quick           2 rounds of 1 s; writes no document
  --profile CHAIN   only where the gateway's time goes: plain, jwt, full, full-log
  --baseline a,b    the gateways of other checkouts as well, named after their folders; writes no document
  --node-options S  options of Node for the gateway of this checkout; writes no document
  --write           writes the document all the same
`

const { values: options } = parseArgs({
  options: {
    only: { type: 'string' },
    rounds: { type: 'string' },
    seconds: { type: 'string' },
    quick: { type: 'boolean', default: false },
    profile: { type: 'string' },
    baseline: { type: 'string' },
    'node-options': { type: 'string' },
    write: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false }
  }
})
const rounds = Number(options.rounds ?? (options.quick ? 2 : 5))
const seconds = Number(options.seconds ?? (options.quick ? 1 : 3))
const warmUpSeconds = options.quick ? 2 : 3
const profileSeconds = 5

const closing: (() => unknown)[] = []

async function main(): Promise<void> {
  if (options.help) {
    process.stdout.write(usage)
    return
  }
  // This process serves the keys and starts the upstream and the load: it belongs to the world.
  pinMyself('world')
  if (!isPinned) say('nothing is pinned to a core: the figures are rough')
  const world = await buildWorld()
  if (options.profile !== undefined) {
    printProfile(await profileChain(options.profile as Chain, world, profileSeconds))
    return
  }
  const all = [...(options.baseline?.split(',') ?? []).map(folder => baseline(resolve(folder))), ...peers]
  tuneNode(options['node-options']?.split(' ') ?? [])
  const wanted = cellsOf(all).filter(isWanted)
  const present = [...new Set(wanted.map(cell => cell.peer))].filter(peer => peer.version() !== null)
  const absent = [...new Set(wanted.map(cell => cell.peer))].filter(peer => peer.version() === null)
  for (const peer of absent) say(`${peer.title}: not installed`)

  const cells = wanted.filter(cell => present.includes(cell.peer))
  const verified = await verifyAll(cells, world)
  const results = await measureAll(cells, world)
  say(`\n${costTable(results, absent)}\n\n${targetTable(results)}`)
  const isPartial =
    options.quick ||
    options.only !== undefined ||
    options.baseline !== undefined ||
    options['node-options'] !== undefined
  if (isPartial && !options.write) return

  const profiles = new Map<Chain, Profile>()
  for (const chain of ['plain', 'full'] as const)
    profiles.set(chain, await profileChain(chain, world, profileSeconds))
  const file = join(root, 'docs', 'benchmarks.md')
  const measured = document({ results, present, absent, verified, profiles, rounds, seconds })
  writeFileSync(file, `${measured.trimEnd()}\n\n${keptPart(file)}`)
  say('\nwrote docs/benchmarks.md')
}

const keptMark =
  '<!-- What follows is measured by other programs of bench/ and kept when this page is written anew. -->'

/** What other programs of this folder have measured stands behind the mark, and stays. */
function keptPart(file: string): string {
  const before = existsSync(file) ? readFileSync(file, 'utf8') : ''
  const at = before.indexOf(keptMark)
  return at === -1 ? `${keptMark}\n` : before.slice(at)
}

async function buildWorld(): Promise<World> {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-bench-'))
  closing.push(() => rmSync(folder, { recursive: true, force: true }))
  const credentials = await createCredentials(folder)
  closing.push(() => credentials.close())
  const upstream = await startUpstream(join(folder, 'upstream'))
  closing.push(() => upstream.stop())
  const tokens: World['tokens'] = new Map([
    [1, await writeTokens(folder, 1, credentials.sign)],
    [manyTokens, await writeTokens(folder, manyTokens, credentials.sign)]
  ])
  return { folder, credentials, upstreamPort: upstream.port, tokens }
}

async function writeTokens(folder: string, count: number, sign: (subject: string) => Promise<string>) {
  const subjects = Array.from({ length: count }, (_, i) => `user-${i}`)
  const list = await Promise.all(subjects.map(subject => sign(subject)))
  const file = join(folder, `tokens-${count}`)
  mkdirSync(folder, { recursive: true })
  writeFileSync(file, `${list.join('\n')}\n`)
  return { list, file }
}

function isWanted(cell: Cell): boolean {
  if (options.only === undefined) return true
  const id = cellId(cell)
  return options.only.split(',').some(prefix => id === prefix || id.startsWith(`${prefix}/`))
}

async function verifyAll(cells: readonly Cell[], world: World): Promise<string[]> {
  const chains = new Map<string, [Peer, Chain]>()
  for (const { peer, chain } of cells) {
    if (chain !== 'plain') chains.set(`${peer.title} (${chain})`, [peer, chain])
  }
  for (const [title, [peer, chain]] of chains) {
    await verifyChain(peer, chain, world)
    say(`${title}: verified`)
  }
  return [...chains.keys()]
}

/** Milliseconds of rest after which a cell is no longer warm: connections close after 30 s, code goes after 100 s. */
const longRest = 20_000

/** Measures all cells in turn, round after round. Each is warmed up in its turn, unless it has hardly rested. */
async function measureAll(cells: readonly Cell[], world: World): Promise<Result[]> {
  const running: RunningCell[] = []
  const usedAt = new Map<RunningCell, number>()
  for (const cell of cells) {
    const started = await startCell(cell, world)
    closing.push(() => started.instance.stop())
    running.push(started)
  }
  for (let round = 1; round <= rounds; round++) {
    for (const one of running) {
      const rested = performance.now() - (usedAt.get(one) ?? Number.NEGATIVE_INFINITY)
      if (rested > longRest) await warmUp(one, warmUpSeconds)
      const sample = await measureCell(one, seconds)
      usedAt.set(one, performance.now())
      one.samples.push(sample)
      say(`${round}/${rounds}  ${cellId(one.cell).padEnd(32)} ${sample.cost.toFixed(1)} us`)
    }
  }
  return running.map(({ cell, samples }) => ({ cell, summary: summarise(samples) }))
}

function printProfile({ groups, functions }: Profile): void {
  say(`${profileTable(groups, 20)}\n\n${profileTable(functions, 60)}`)
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
