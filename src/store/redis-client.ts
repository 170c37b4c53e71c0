import { Redis } from 'ioredis'
import type { Logger } from '../log.ts'
import { LogLimit } from '../log-limit.ts'
import { Patience } from './patience.ts'
import { type RedisAddress, readRedisUrl } from './redis-url.ts'

/** What a request may wait for Redis; whoever gets no answer does without. In one network an answer takes less than 1 ms. */
const answerTimeout = 200
const connectTimeout = 500
/** A connection that has been silent for so long while something was asked is given up. */
const silenceTimeout = 1_000
/** Without an error for so long, an outage of single commands is over. */
const calm = 5_000
/** Longest pause between two attempts to connect. */
const longestPause = 2_000

/** Redis has not done what it was asked for. Holds no text of the library's: an error of AUTH carries the password. */
export class RedisUnavailable extends Error {
  override name = 'RedisUnavailable'
}

/** A Lua script on one key: one atomic step. Rejects with `RedisUnavailable`. */
export type RedisScript = (key: string, ...values: (string | number)[]) => Promise<unknown>

const tooLate = Object.assign(new Error('Redis answers late'), { code: 'timeout' })

type Commands = Record<string, (...values: (string | number)[]) => Promise<unknown>>

/**
 * The connection to one Redis, and the only file that knows the library. It connects by itself, again and again, and nobody waits
 * for it: `isUp` says at once whether asking makes sense, what was asked when the connection broke fails at once, and after
 * an answer that is late nobody asks until it has come, or a new connection. An outage is logged once, and so is its end.
 */
export class RedisClient {
  readonly #redis: Redis
  readonly #log: Logger
  readonly #now: () => number
  readonly #lines = new LogLimit(1)
  readonly #patience = new Patience(answerTimeout)
  readonly #scripts = new Map<string, RedisScript>()
  #isUp = false
  #isClosed = false
  /** When it last answered with an error, and when the connection was last given up for one. */
  #lastError = Number.NEGATIVE_INFINITY
  #lastMove = Number.NEGATIVE_INFINITY
  /** When the outage began that has been logged. */
  #downSince: number | null = null

  /**
   * @param url as `readRedisUrl` takes it
   * @throws Error for another one, with what is wrong and nothing of the text
   */
  constructor(url: string, log: Logger, now: () => number = () => performance.now()) {
    const address = readRedisUrl(url)
    if (typeof address === 'string') throw new Error(`the URL of Redis ${address}`)
    this.#log = log
    this.#now = now
    this.#redis = new Redis(optionsFor(address))
    this.#redis.on('ready', () => this.#cameUp())
    this.#redis.on('error', (error: Error) => this.#wentDown(error))
    this.#redis.on('close', () => this.#wentDown(null))
  }

  /** Whether Redis answers, as far as is known. */
  get isUp(): boolean {
    return this.#isUp
  }

  /** Resolves when the first attempt to connect has ended, well or not: at most 1.5 s. */
  async settled(): Promise<void> {
    if (this.#isUp || this.#downSince !== null || this.#isClosed) return
    await new Promise<void>(resolve => {
      this.#redis.once('ready', () => resolve())
      this.#redis.once('error', () => resolve())
      this.#redis.once('close', () => resolve())
    })
  }

  /** Makes a script known by a name; the same name gives the same script. */
  script(name: string, lua: string): RedisScript {
    const known = this.#scripts.get(name)
    if (known !== undefined) return known
    this.#redis.defineCommand(name, { lua, numberOfKeys: 1 })
    const commands = this.#redis as unknown as Commands
    const script: RedisScript = async (key, ...values) => {
      if (!this.#isUp) throw new RedisUnavailable('Redis is down')
      return this.#inTime(commands[name]!(key, ...values))
    }
    this.#scripts.set(name, script)
    return script
  }

  /** Ends the connection, and what still waits for an answer. */
  async close(): Promise<void> {
    this.#isClosed = true
    this.#isUp = false
    this.#patience.close()
    this.#redis.disconnect()
  }

  #inTime(answer: Promise<unknown>): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const late = () => {
        this.#wentDown(tooLate)
        reject(new RedisUnavailable('Redis failed (timeout)'))
      }
      this.#patience.begin(late)
      answer.then(
        value => {
          this.#patience.end(late)
          if (!this.#isUp || this.#isOver) this.#cameUp()
          resolve(value)
        },
        (error: Error) => {
          this.#patience.end(late)
          this.#failed(error)
          reject(new RedisUnavailable(`Redis failed (${faultOf(error)})`))
        }
      )
    })
  }

  /** Some commands of a Redis that is full or read-only work: an outage is over when none has failed for a while. */
  get #isOver(): boolean {
    return this.#downSince !== null && this.#now() - this.#lastError >= calm
  }

  #failed(error: Error): void {
    this.#lastError = this.#now()
    this.#announce(error)
    if (this.#redis.status !== 'ready' || this.#isClosed) return
    // A late error is an answer too.
    this.#isUp = true
    // After a failover the old primary only reads: its name leads to the new one by now.
    if (!error.message.startsWith('READONLY') || this.#lastError - this.#lastMove < calm) return
    this.#lastMove = this.#lastError
    this.#isUp = false
    this.#redis.disconnect(true)
  }

  #cameUp(): void {
    if (this.#isClosed) return
    this.#isUp = true
    if (this.#downSince === null) return
    const seconds = Math.round((this.#now() - this.#downSince) / 1000)
    this.#downSince = null
    this.#log.info({ store: 'redis', seconds }, 'Redis is back')
  }

  #wentDown(error: Error | null): void {
    this.#isUp = false
    this.#announce(error)
  }

  #announce(error: Error | null): void {
    // Two lines an outage; a Redis that fails every other command is no reason for more than two a second.
    if (this.#isClosed || this.#downSince !== null || this.#lines.take() === null) return
    this.#downSince = this.#now()
    this.#log.warn(
      { store: 'redis', fault: faultOf(error) },
      'Redis is down: what replicas share falls back to redis.onError'
    )
  }
}

function optionsFor({ host, port, tls, username, password, db }: RedisAddress) {
  return {
    host,
    port,
    db,
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    // Not left to the environment: NODE_TLS_REJECT_UNAUTHORIZED=0 is not meant for this connection.
    ...(tls ? { tls: { rejectUnauthorized: true } } : {}),
    connectTimeout,
    socketTimeout: silenceTimeout,
    // Until the socket of a server that is silent is given up.
    disconnectTimeout: connectTimeout,
    // Nothing waits for a connection, and nothing is sent twice: a check that is repeated counts twice.
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    disableClientInfo: true,
    connectionName: 'sallyport',
    retryStrategy: pause
  }
}

/** Milliseconds before the next attempt: 50 to 100, doubled each time up to two seconds; replicas do not all come at once. */
function pause(attempt: number): number {
  const whole = Math.min(longestPause, 100 * 2 ** Math.min(attempt - 1, 10))
  return whole * (0.5 + Math.random() / 2)
}

/** A word for the log: `ECONNREFUSED`, `WRONGPASS`, `timeout`, `closed`. */
function faultOf(error: Error | null): string {
  if (error === null) return 'closed'
  const { code } = error as NodeJS.ErrnoException
  if (typeof code === 'string') return code
  return /^[A-Z][A-Z_]+\b/.exec(error.message)?.[0] ?? 'closed'
}
