import { setTimeout as sleep } from 'node:timers/promises'
import { Browser } from '../test/fixtures/browser.ts'
import { type RedisServer, startRedis } from '../test/fixtures/redis.ts'
import { type PersonalIssuer, personalIssuer } from '../test/fixtures/sign-in.ts'
import { type Replica, replicaStarter } from '../test/fixtures/sign-in-processes.ts'
import type { Closing } from '../test/helper.ts'
import { startBackend } from './load/backend.ts'
import { writeSection } from './section.ts'

/** Seconds. */
const staleIfError = 40
const keyRefresh = 10
const tokenLife = 20
const people = 10
const tokenClients = 10
/** Milliseconds between two calls of one client. */
const thinkTime = 25
/** Longest wait for recovery. */
const patience = 60

const phases = [
  'before',
  'outage, for the configured time',
  'outage, between',
  'outage, after it',
  'back',
  'Redis killed'
] as const
type Phase = (typeof phases)[number]
type Client = 'sessions' | 'tokens' | 'unknown keys' | 'tokens, cold start'

/** Which statuses are right, by phase and client. Whatever else comes is a failure. */
const right: Record<Phase, Partial<Record<Client, readonly number[]>>> = {
  before: { sessions: [200], tokens: [200] },
  'outage, for the configured time': { sessions: [200], tokens: [200], 'unknown keys': [401] },
  // Tokens of people expire at different times, and keys are as old as the last fetch of them.
  'outage, between': { sessions: [200, 503], tokens: [200, 503] },
  'outage, after it': { sessions: [503], tokens: [503], 'unknown keys': [503], 'tokens, cold start': [503] },
  // Issuers that were down are asked again after a while.
  back: { sessions: [200, 503], tokens: [200, 503], 'tokens, cold start': [200, 503] },
  'Redis killed': { sessions: [503], tokens: [200] }
}

export interface OutageFigures {
  /** Statuses by phase and client. */
  readonly counts: Map<string, Map<number, number>>
  failed: number
  /** Fetches of keys that all processes tried while the issuer was down. */
  fetches: number
  /** Seconds from the issuer's return to the last answer that was not 200. */
  recovery: number
  signIns: number
}

class Outage {
  readonly figures: OutageFigures = { counts: new Map(), failed: 0, fetches: 0, recovery: 0, signIns: 0 }
  readonly #issuer: PersonalIssuer
  readonly #replicas: Replica[]
  #phase: Phase = 'before'
  #isOver = false
  #lastRefusal = 0
  #turn = 0

  constructor(issuer: PersonalIssuer, replicas: Replica[]) {
    this.#issuer = issuer
    this.#replicas = replicas
  }

  /** A call counts for the phase that it began in, unless that has ended meanwhile: then it belongs to neither. */
  async count(client: Client, ask: () => Promise<number>): Promise<void> {
    const phase = this.#phase
    const status = await ask().catch(() => 0)
    if (phase !== this.#phase) return
    const name = `${phase} / ${client}`
    const statuses = this.figures.counts.get(name) ?? new Map<number, number>()
    this.figures.counts.set(name, statuses)
    statuses.set(status, (statuses.get(status) ?? 0) + 1)
    if (status !== 200) this.#lastRefusal = performance.now()
    if (right[phase][client]?.includes(status) !== true) this.figures.failed++
  }

  enter(phase: Phase): void {
    this.#phase = phase
  }

  end(): void {
    this.#isOver = true
  }

  get #next(): Replica {
    return this.#replicas[this.#turn++ % 2] as Replica
  }

  async person(browser: Browser): Promise<void> {
    while (!this.#isOver) {
      const { url } = this.#next
      await this.count('sessions', async () => {
        const answer = await browser.call(`${url}/a`)
        await answer.arrayBuffer()
        return answer.status
      })
      await sleep(thinkTime)
    }
  }

  async machine(): Promise<void> {
    while (!this.#isOver) {
      await this.withToken('tokens', this.#next)
      await sleep(thinkTime)
    }
  }

  async withToken(client: Client, { url }: Replica, header: Record<string, unknown> = {}): Promise<void> {
    const authorization = `Bearer ${this.#issuer.sign({ jti: String(this.#turn++) }, header)}`
    await this.count(client, async () => {
      const answer = await fetch(`${url}/api/1`, { headers: { authorization } })
      await answer.arrayBuffer()
      return answer.status
    })
  }

  async flood(requests: number): Promise<void> {
    for (let i = 0; i < requests; i += 20)
      await Promise.all(
        Array.from({ length: 20 }, (_, k) =>
          this.withToken('unknown keys', this.#next, { kid: `kid-${i + k}` })
        )
      )
  }

  /** Resolves when nothing was refused for three seconds. */
  async recovered(): Promise<void> {
    const start = performance.now()
    this.#lastRefusal = start
    while (performance.now() - this.#lastRefusal < 3000 && performance.now() - start < patience * 1000)
      await sleep(50)
    this.figures.recovery = (this.#lastRefusal - start) / 1000
  }
}

async function knowsKeys(issuer: PersonalIssuer, { url }: Replica): Promise<void> {
  const headers = { authorization: `Bearer ${issuer.sign()}` }
  while ((await fetch(`${url}/api/1`, { headers })).status !== 200) await sleep(100)
}

const failedFetches = (replica: Replica) =>
  replica.metric('sallyport_jwks_fetches_total{issuer="corp",result="error"}').then(count => count ?? 0)

/**
 * Two processes with one Redis, people who have signed in and machines with tokens; then nobody listens at the issuer any more, for
 * longer than `staleIfError`; then it is back; then Redis is killed.
 */
export async function runOutage(t: Closing, redis: RedisServer): Promise<OutageFigures> {
  const backend = await startBackend()
  t.teardown(() => backend.close())
  const issuer = await personalIssuer(t)
  issuer.tokenLife = tokenLife
  const start = await replicaStarter(t, {
    issuer: issuer.url,
    upstream: backend.url,
    redis: redis.url,
    staleIfError: `${staleIfError}s`,
    refresh: `${keyRefresh}s`
  })
  const replicas = await Promise.all([start(), start()])
  await issuer.serve([(replicas[0] as Replica).url])
  // They were there before the issuer was.
  await Promise.all(replicas.map(replica => knowsKeys(issuer, replica)))
  const outage = new Outage(issuer, replicas)
  const browsers = Array.from({ length: people }, () => new Browser())
  for (const browser of browsers) await browser.open(`${(replicas[0] as Replica).url}/a`)
  const clients = [
    ...browsers.map(browser => outage.person(browser)),
    ...Array.from({ length: tokenClients }, () => outage.machine())
  ]
  // Long enough for a refresh of every session.
  await sleep(tokenLife * 1000)

  outage.enter('outage, for the configured time')
  let early = 0
  for (const replica of replicas) early += await failedFetches(replica)
  await issuer.kill()
  const killed = performance.now()
  const until = (seconds: number) => sleep(Math.max(0, killed + seconds * 1000 - performance.now()))
  const flood = outage.flood(2000)
  await until(staleIfError - keyRefresh)
  outage.enter('outage, between')
  await flood
  await until(tokenLife + staleIfError + 1)
  outage.enter('outage, after it')
  const cold = await start()
  await outage.flood(500)
  for (let i = 0; i < 100; i++) await outage.withToken('tokens, cold start', cold)
  await until(tokenLife + staleIfError + 15)
  for (const replica of [...replicas, cold]) outage.figures.fetches += await failedFetches(replica)
  outage.figures.fetches -= early

  outage.enter('back')
  await issuer.start()
  const late = coldClient(outage, cold)
  await outage.recovered()
  await late.end()
  outage.figures.signIns = issuer.asked.authorization_code ?? 0

  outage.enter('Redis killed')
  await redis.kill()
  await sleep(3000)
  outage.end()
  await Promise.all(clients)
  return outage.figures
}

function coldClient(outage: Outage, cold: Replica): { end(): Promise<void> } {
  let isOver = false
  async function run(): Promise<void> {
    while (!isOver) {
      await outage.withToken('tokens, cold start', cold)
      await sleep(thinkTime)
    }
  }
  const running = run()
  return {
    async end() {
      isOver = true
      await running
    }
  }
}

function table({ counts }: OutageFigures): string {
  const lines = ['| phase | who | answers |', '| ----- | --- | ------- |']
  for (const [name, statuses] of counts) {
    const [phase, client] = name.split(' / ')
    const answers = [...statuses]
      .sort(([a], [b]) => a - b)
      .map(([status, count]) => `${count.toLocaleString('en')} x ${status}`)
    lines.push(`| ${phase} | ${client} | ${answers.join(', ')} |`)
  }
  return lines.join('\n')
}

if (import.meta.main) {
  const closes: (() => unknown)[] = []
  const closing: Closing = { teardown: close => void closes.push(close) }
  try {
    const redis = await startRedis(closing)
    if (redis === null) throw new Error('redis-server is not installed: scripts/tools/install.sh')
    const figures = await runOutage(closing, redis)
    process.stdout.write(
      `${table(figures)}\n${figures.failed} wrong answers; ${figures.fetches} fetches of keys while the issuer was down; all is well ${figures.recovery.toFixed(1)} s after its return; ${figures.signIns} sign-ins of ${people} people\n`
    )
    if (process.argv.includes('--write')) writeSection('bench/issuer-outage.ts', section(figures))
    process.exitCode = figures.failed === 0 && figures.signIns === people ? 0 : 1
  } finally {
    for (const close of closes.reverse()) await close()
  }
}

function section(figures: OutageFigures): string {
  return `## An issuer that is down

${people} people who have signed in and ${tokenClients} clients with tokens call two gateways that share a Redis, \`staleIfError: ${staleIfError}s\`, access tokens
of sessions live for ${tokenLife} s. Then nobody listens at the issuer any more. Wrong answers, a 401 for somebody who was let in before or any other 5xx
than the 503 of that phase: **${figures.failed}**. Sign-ins: ${figures.signIns}, one for each person.

${table(figures)}

2,500 requests with made-up key ids and all others caused ${figures.fetches} fetches of keys by three processes while the issuer was down. After its
return the last answer that was not 200 came ${figures.recovery.toFixed(1)} s later, at the process that had started meanwhile as well.`
}
