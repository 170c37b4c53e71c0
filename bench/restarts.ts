import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Agent, Pool, request } from 'undici'
import { Program } from '../test/fixtures/program.ts'
import { startBackend } from './load/backend.ts'
import { call, countFailure } from './load/call.ts'

export interface RestartOptions {
  /** At least so many requests are made. */
  requests: number
  restarts: number
  /** Keep-alive connections to each process. */
  connections: number
}

export interface RestartFigures {
  requests: number
  failed: number
  restarts: number
  /** Exit codes of the processes that were stopped. */
  exitCodes: (number | null)[]
  failures: Record<string, number>
}

/** How often the load balancer asks for readiness. */
const readinessInterval = 50

/** One process behind the load balancer: its connections, and whether it gets requests. */
class Member {
  readonly process: Program
  readonly #probe = new Agent()
  pool: Pool | null = null
  url = ''
  isReady = false
  #probing: Promise<void> | null = null

  constructor(config: string) {
    this.process = new Program({ args: ['start', '--config', config] })
  }

  async start(connections: number): Promise<void> {
    const admin = await this.process.listening('admin')
    this.url = await this.process.listening('http')
    this.pool = new Pool(this.url, { connections, pipelining: 1 })
    let becameReady = () => {}
    const ready = new Promise<void>(resolve => (becameReady = resolve))
    this.#probing = this.#followReadiness(admin, becameReady)
    await ready
  }

  /** SIGTERM, and the exit code. What the load balancer has under way is its own matter. */
  async stop(): Promise<number | null> {
    this.process.child.kill('SIGTERM')
    const { code } = await this.process.exited
    await this.#probing
    await this.pool?.close()
    await this.#probe.close()
    return code
  }

  async #followReadiness(admin: string, becameReady: () => void): Promise<void> {
    while (this.process.child.exitCode === null) {
      this.isReady = await this.#asksReady(admin)
      if (this.isReady) becameReady()
      await sleep(readinessInterval)
    }
    this.isReady = false
  }

  async #asksReady(admin: string): Promise<boolean> {
    try {
      const { statusCode, body } = await request(`${admin}/readyz`, { dispatcher: this.#probe })
      await body.dump()
      return statusCode === 200
    } catch {
      return false
    }
  }
}

/**
 * Two processes behind a load balancer that follows `/readyz`; one after the other is stopped with SIGTERM and started
 * again, while clients with keep-alive connections go on asking.
 */
export async function runRestarts(options: RestartOptions): Promise<RestartFigures> {
  const folder = await mkdtemp(join(tmpdir(), 'sallyport-restarts-'))
  const backend = await startBackend()
  const config = join(folder, 'gateway.yaml')
  await writeFile(config, gatewayYaml(backend.url))
  const members = [new Member(config), new Member(config)]
  const figures: RestartFigures = { requests: 0, failed: 0, restarts: 0, exitCodes: [], failures: {} }
  let isOver = false
  let turn = 0

  async function restartAll(): Promise<void> {
    for (let i = 0; i < options.restarts; i++) {
      const exitCode = await (members[i % 2] as Member).stop()
      figures.exitCodes.push(exitCode)
      const next = new Member(config)
      members[i % 2] = next
      await next.start(options.connections)
      figures.restarts++
    }
    isOver = true
  }

  async function client(): Promise<void> {
    while (!isOver || figures.requests < options.requests) {
      const ready = members.filter(({ isReady }) => isReady)
      const member = ready[turn++ % ready.length]
      const i = figures.requests++
      const failure =
        member?.pool == null ? 'no process is ready' : (await call(member.pool, member.url, i)).failure
      if (failure === null) continue
      figures.failed++
      countFailure(figures.failures, failure)
      // Nothing to ask: let the processes come up.
      if (member === undefined) await sleep(readinessInterval)
    }
  }

  try {
    await Promise.all(members.map(member => member.start(options.connections)))
    const clients = Array.from({ length: options.connections * 2 }, client)
    await Promise.all([restartAll(), ...clients])
    return figures
  } finally {
    isOver = true
    await Promise.all(members.map(member => member.stop()))
    await backend.close()
    await rm(folder, { recursive: true, force: true })
  }
}

function gatewayYaml(backend: string): string {
  return `listeners:
  http: { host: 127.0.0.1, port: 0 }
  admin: { host: 127.0.0.1, port: 0 }
limits: { drainDelay: 500ms, drainTimeout: 10s, overload: { eventLoopLag: 5s } }
upstreams: { backend: { url: "${backend}" } }
plugins: [metrics]
routes:
  everything: { match: { path: /* }, public: true, upstream: backend }
`
}

if (import.meta.main) {
  const [requests = '100000', restarts = '10', connections = '16'] = process.argv.slice(2)
  const started = performance.now()
  const figures = await runRestarts({
    requests: Number(requests),
    restarts: Number(restarts),
    connections: Number(connections)
  })
  const seconds = ((performance.now() - started) / 1000).toFixed(1)
  process.stdout.write(
    `${figures.requests} requests, ${figures.failed} failed, ${figures.restarts} restarts in ${seconds} s; exit codes ${figures.exitCodes.join(' ')}\n`
  )
  for (const [failure, count] of Object.entries(figures.failures))
    process.stdout.write(`  ${count} x ${failure}\n`)
  process.exitCode = figures.failed === 0 ? 0 : 1
}
