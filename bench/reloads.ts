import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Agent, Pool, request } from 'undici'
import { ConfigMapVolume } from '../test/fixtures/config-map.ts'
import { Program } from '../test/fixtures/program.ts'
import { startBackend } from './load/backend.ts'
import { call, countFailure } from './load/call.ts'

export interface ReloadBenchOptions {
  /** Good and bad configurations take turns. */
  reloads: number
  /** Keep-alive connections. */
  connections: number
}

export interface ReloadFigures {
  requests: number
  failed: number
  reloads: number
  /** Good configurations that did not come into force. */
  ignored: number
  /** Bad configurations that did, or were not said to be bad. */
  badInForce: number
  failures: Record<string, number>
  /** Milliseconds from the swap of the files to the first answer of the new configuration, in the middle. */
  medianDelay: number
  /** Connections that the upstream saw. */
  upstreamConnections: number
}

/** Nothing that is not in force by then comes any more. */
const patience = 10_000

/** How a configuration is bad, in turn: each is found at another step of a reload. */
const faults: ((yaml: string) => string)[] = [
  yaml => yaml.replace('routes:', 'routes: ['),
  yaml => yaml.replace('upstream: backend', 'upstream: nowhere'),
  yaml => yaml.replace('public: true,', ''),
  yaml => yaml.replace('- headers:', '- fussy: {}\n  - headers:'),
  yaml => yaml.replace('limits:', 'limitz:')
]

/** Reloads while clients go on asking: the files are swapped as kubelet swaps those of a ConfigMap. */
export async function runReloads({ reloads, connections }: ReloadBenchOptions): Promise<ReloadFigures> {
  const folder = await mkdtemp(join(tmpdir(), 'sallyport-reloads-'))
  const backend = await startBackend()
  const plugins = join(folder, 'plugins')
  await mkdir(plugins)
  await writeFile(join(plugins, 'fussy.mjs'), fussyPlugin)
  const files = (n: string) => ({ 'gateway.yaml': gatewayYaml(backend.url, n) })
  const volume = await ConfigMapVolume.mount(join(folder, 'config'), files('0'))
  const gateway = new Program({ args: ['--config', volume.folder, '--plugins', plugins] })
  const admin = await gateway.listening('admin')
  const url = await gateway.listening('http')
  const pool = new Pool(url, { connections, pipelining: 1 })
  const probe = new Agent()
  const figures: ReloadFigures = {
    requests: 0,
    failed: 0,
    reloads: 0,
    ignored: 0,
    badInForce: 0,
    failures: {},
    medianDelay: 0,
    upstreamConnections: 0
  }
  const delays: number[] = []
  let isOver = false

  async function client(): Promise<void> {
    while (!isOver) {
      const { failure, headers } = await call(pool, url, figures.requests++)
      if (headers['x-config']?.includes('bad')) figures.badInForce++
      if (failure === null) continue
      figures.failed++
      countFailure(figures.failures, failure)
    }
  }

  async function currentConfig(): Promise<string | undefined> {
    const { headers, body } = await request(`${url}/quick`, { dispatcher: probe })
    await body.dump()
    return headers['x-config'] as string
  }

  async function failedReloads(): Promise<number> {
    const { body } = await request(`${admin}/metrics`, { dispatcher: probe })
    return Number(/config_reloads_total\{result="error"\} (\d+)/.exec(await body.text())?.[1])
  }

  async function reload(i: number): Promise<void> {
    const isBad = i % 2 === 1
    const name = `${isBad ? 'bad-' : ''}${i}`
    const good = gatewayYaml(backend.url, name)
    const before = await failedReloads()
    const started = performance.now()
    const fault = faults[(i >> 1) % faults.length] as (yaml: string) => string
    await volume.update({ 'gateway.yaml': isBad ? fault(good) : good })
    const isDone = isBad
      ? async () => (await failedReloads()) === before + 1
      : async () => (await currentConfig()) === name
    while (!(await isDone())) {
      if (performance.now() - started < patience) continue
      if (isBad) figures.badInForce++
      else figures.ignored++
      break
    }
    if (!isBad) delays.push(performance.now() - started)
    figures.reloads++
  }

  try {
    const clients = Array.from({ length: connections }, client)
    for (let i = 1; i <= reloads; i++) await reload(i)
    isOver = true
    await Promise.all(clients)
    figures.medianDelay = delays.toSorted((a, b) => a - b)[delays.length >> 1] ?? 0
    figures.upstreamConnections = backend.connections
    return figures
  } finally {
    isOver = true
    await pool.close()
    await probe.close()
    gateway.child.kill('SIGTERM')
    await gateway.exited
    await backend.close()
    await rm(folder, { recursive: true, force: true })
  }
}

const fussyPlugin = `export default {
  phase: 'guard',
  schema: {},
  register() { throw new Error('never satisfied') }
}
`

function gatewayYaml(backend: string, name: string): string {
  return `listeners:
  http: { host: 127.0.0.1, port: 0 }
  admin: { host: 127.0.0.1, port: 0 }
limits: { drainDelay: 1ms, overload: { eventLoopLag: 5s } }
upstreams: { backend: { url: "${backend}" } }
plugins:
  - metrics
  - headers: { response: { set: { x-config: "${name}" } } }
routes:
  everything: { match: { path: /* }, public: true, upstream: backend }
`
}

if (import.meta.main) {
  const [reloads = '200', connections = '8'] = process.argv.slice(2)
  const figures = await runReloads({ reloads: Number(reloads), connections: Number(connections) })
  process.stdout.write(
    `${figures.reloads} reloads, ${figures.requests} requests, ${figures.failed} failed, ${figures.ignored} good ignored, ${figures.badInForce} bad in force; ${Math.round(figures.medianDelay)} ms to take over, ${figures.upstreamConnections} connections to the upstream\n`
  )
  for (const [failure, count] of Object.entries(figures.failures))
    process.stdout.write(`  ${count} x ${failure}\n`)
  process.exitCode = figures.failed + figures.ignored + figures.badInForce === 0 ? 0 : 1
}
