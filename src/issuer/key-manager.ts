import { FifoMap } from 'toad-cache'
import { keysUnavailable } from './challenge.ts'
import { discoverKeysUrl, isTrustworthyUrl } from './discovery.ts'
import { type FetchContext, fetchJson } from './fetch-json.ts'
import { KeySet } from './key-set.ts'
import type { IssuerOptions, IssuerSettings } from './keys.ts'
import type { PreparedKey } from './verifier.ts'

/** Where `jwks` is not given. */
const defaults = { refresh: 600_000, cooldown: 30_000, staleIfError: 86_400_000 }

/** A discovered address is looked up again after this long, and after every failure. */
const rediscoverAfter = 3_600_000
/** Cold, i.e. without keys, the waits between attempts double from the first to the last. */
const firstBackoff = 1000
const lastBackoff = 30_000
/** What a fetch in time may take: without it, `staleIfError: 0` would drop the keys at every refresh. */
const grace = 15_000
/** A `kid` of a token that is longer is not looked for. */
const maxKidLength = 256
/** The longest delay that `setTimeout` takes; a longer one would fire at once. */
const maxDelay = 2_147_483_647

/**
 * The keys of one issuer: fetched in the background, kept while the issuer is down, never fetched because a client says
 * so more than once per `cooldown`. There is one fetch under way at a time, whoever asked for it.
 */
export class KeyManager {
  readonly #name: string
  readonly #settings: IssuerSettings
  readonly #options: IssuerOptions
  readonly #pace: { refresh: number; cooldown: number; staleIfError: number }
  readonly #abort = new AbortController()
  readonly #fetchContext: FetchContext
  /** `kid`s that were looked for in vain, with the time until which they are not looked for again. */
  readonly #unknown = new FifoMap<number>(1000)
  #keys = new KeySet([])
  #fetchedAt: number | undefined
  #flight: Promise<void> | undefined
  #failures = 0
  #retryAt = 0
  #soughtAt = Number.NEGATIVE_INFINITY
  #discovered: { url: string; at: number } | undefined
  #timer: unknown

  constructor(name: string, settings: IssuerSettings, options: IssuerOptions) {
    this.#name = name
    this.#settings = settings
    this.#options = options
    this.#pace = {
      refresh: settings.jwks?.refresh ?? defaults.refresh,
      cooldown: settings.jwks?.cooldown ?? defaults.cooldown,
      staleIfError: settings.jwks?.staleIfError ?? defaults.staleIfError
    }
    this.#fetchContext = { fetch: options.fetch, timers: options.timers, signal: this.#abort.signal }
    // Not awaited: an issuer that is down stops no start.
    void this.#refresh()
  }

  /** Seconds since the keys were last fetched; undefined before. */
  age(): number | undefined {
    return this.#fetchedAt === undefined ? undefined : (this.#options.clock() - this.#fetchedAt) / 1000
  }

  /** Whether there are keys and they may still be used. */
  isFresh(now: number): boolean {
    if (this.#fetchedAt === undefined) return false
    return now < this.#fetchedAt + Math.max(this.#pace.staleIfError, this.#pace.refresh + grace)
  }

  /**
   * The key for a token. Answers at once unless keys have to be fetched first. Undefined: the issuer has no such key.
   * Throws (or rejects with) the `Refusal` `key.unavailable` when there are no keys to choose from.
   */
  find(
    kid: string | undefined,
    algorithm: string
  ): PreparedKey | undefined | Promise<PreparedKey | undefined> {
    const now = this.#options.clock()
    if (!this.isFresh(now)) return this.#findCold(kid, algorithm, now)
    const key = this.#keys.find(kid, algorithm)
    if (key !== undefined || kid === undefined || !this.#isWorthAsking(kid, now)) return key
    return this.#findAfterFetch(kid, algorithm)
  }

  close(): void {
    this.#abort.abort(new Error('the issuer is closed'))
    this.#options.timers.clearTimeout(this.#timer)
  }

  /** Waits for the first attempt only: after a failure the next one is due at its time, not when a client asks. */
  #findCold(kid: string | undefined, algorithm: string, now: number): Promise<PreparedKey | undefined> {
    if (this.#failures > 0 || this.#abort.signal.aborted) throw this.#unavailable(now)
    return this.#refresh().then(() => {
      const then = this.#options.clock()
      if (!this.isFresh(then)) throw this.#unavailable(then)
      return this.#keys.find(kid, algorithm)
    })
  }

  #unavailable(now: number): Error {
    return keysUnavailable(`no keys of ${this.#name}`, this.#retryAt - now)
  }

  /** A key that is not known: perhaps the issuer has a new one, perhaps a client makes up names. */
  #isWorthAsking(kid: string, now: number): boolean {
    if (this.#keys.has(kid) || kid.length > maxKidLength || this.#abort.signal.aborted) return false
    if (this.#flight !== undefined) return true
    if (this.#failures > 0 || now - this.#soughtAt < this.#pace.cooldown) return false
    if (now < (this.#unknown.get(kid) ?? 0)) return false
    this.#soughtAt = now
    return true
  }

  async #findAfterFetch(kid: string, algorithm: string): Promise<PreparedKey | undefined> {
    await this.#refresh()
    if (!this.#keys.has(kid)) this.#unknown.set(kid, this.#options.clock() + 2 * this.#pace.cooldown)
    return this.#keys.find(kid, algorithm)
  }

  /** Fetches the keys, or joins the fetch under way. Never rejects. */
  #refresh(): Promise<void> {
    this.#flight ??= this.#fetchAndInstall().finally(() => {
      this.#flight = undefined
    })
    return this.#flight
  }

  async #fetchAndInstall(): Promise<void> {
    const { log, metrics, clock, timers } = this.#options
    timers.clearTimeout(this.#timer)
    try {
      const keys = await this.#keys.next(await this.#fetchDocument(), this.#settings, log)
      this.#keys.retireAllBut(keys)
      this.#keys = keys
      this.#fetchedAt = clock()
      this.#failures = 0
      metrics.fetches(this.#name, 'success')
      this.#schedule(this.#pace.refresh)
    } catch (error) {
      if (this.#abort.signal.aborted) return
      this.#failures++
      this.#discovered = undefined
      metrics.fetches(this.#name, 'error')
      const wait = this.#backoff()
      log.warn(
        { err: error, failures: this.#failures, retryIn: wait },
        'the keys of the issuer cannot be fetched'
      )
      this.#schedule(wait)
    }
  }

  async #fetchDocument(): Promise<unknown> {
    const url = this.#settings.jwks?.url ?? (await this.#discover())
    if (!isTrustworthyUrl(url)) throw new Error(`${url} is neither https nor on the loopback interface`)
    return fetchJson(url, this.#fetchContext)
  }

  async #discover(): Promise<string> {
    const now = this.#options.clock()
    if (this.#discovered === undefined || now - this.#discovered.at >= rediscoverAfter) {
      this.#discovered = { url: await discoverKeysUrl(this.#settings.issuer, this.#fetchContext), at: now }
    }
    return this.#discovered.url
  }

  /** With keys in hand there is no hurry: the cooldown then bounds all fetches, whatever asked for them. */
  #backoff(): number {
    const doubled = Math.min(firstBackoff * 2 ** (this.#failures - 1), lastBackoff)
    return this.isFresh(this.#options.clock()) ? Math.max(doubled, this.#pace.cooldown) : doubled
  }

  /** Up to a tenth early, so that the replicas of a deployment do not ask in step. */
  #schedule(delay: number): void {
    if (this.#abort.signal.aborted) return
    const jittered = Math.min(delay * (1 - Math.random() / 10), maxDelay)
    this.#retryAt = this.#options.clock() + jittered
    this.#timer = this.#options.timers.setTimeout(() => this.#refresh(), jittered)
  }
}
