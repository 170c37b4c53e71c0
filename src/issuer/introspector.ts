import { hash } from 'node:crypto'
import { FifoMap, LruMap } from 'toad-cache'
import type { Identity } from '../identity.ts'
import { keysUnavailable, refuseToken } from './challenge.ts'
import { discoverIntrospection, type IntrospectionEndpoint } from './discovery.ts'
import { type FetchContext, fetchText, UnexpectedStatus } from './fetch-json.ts'
import { answerReader, type Verdict } from './introspection-answer.ts'
import type { IssuerOptions, IssuerSettings } from './keys.ts'
import { maxTokenLength } from './token.ts'

/** What plugins see of it. */
export interface TokenIntrospector {
  /**
   * The identity of a good token. At once where the answer is younger than `maxAge` (ms), else with a promise. Throws (or rejects
   * with) a `Refusal`: `token.*`, or `key.unavailable` when the issuer does not answer.
   */
  introspect(token: string, maxAge: number): Identity | Promise<Identity>
}

export interface IntrospectionClient {
  readonly id: string
  readonly secret: string
}

export interface IntrospectorOptions extends Omit<IssuerOptions, 'metrics'> {
  /** An issuer was asked: the token is good, it is not, or there was no answer to go by. */
  onAnswer(result: 'active' | 'refused' | 'error'): void
}

interface Remembered {
  readonly verdict: Verdict
  readonly at: number
}

const maxRemembered = 10_000
/** Calls to the issuer at one time: a flood of made-up tokens is not passed on. */
const maxFlights = 100
/** After failures the issuer is left alone, twice as long each time from the first to the last of these. */
const firstBackoff = 1000
const lastBackoff = 30_000
const rediscoverAfter = 3_600_000
/** What the issuer, or a proxy before it, says to a token that is malformed or too long for it. */
const aboutTheToken: ReadonlySet<number> = new Set([400, 413, 414, 422, 431])
/** RFC 6750, section 2.1. */
const bearerToken = /^[A-Za-z0-9\-._~+/]+=*$/

/** Asks one issuer about tokens (RFC 7662), each once however many requests carry it, and remembers what it says for a while. */
export class Introspector implements TokenIntrospector {
  readonly #name: string
  readonly #settings: IssuerSettings
  readonly #client: IntrospectionClient
  readonly #options: IntrospectorOptions
  readonly #readAnswer: (text: string, now: number) => Verdict
  readonly #abort = new AbortController()
  readonly #context: FetchContext
  readonly #good = new LruMap<Remembered>(maxRemembered)
  /** Apart from the good ones: bad tokens are free to make, and would push them out. */
  readonly #bad = new FifoMap<Remembered>(maxRemembered)
  readonly #flights = new Map<string, Promise<Verdict>>()
  #endpoint: { found: Promise<IntrospectionEndpoint>; at: number } | null = null
  #failures = 0
  #retryAt = 0

  constructor(
    name: string,
    settings: IssuerSettings,
    client: IntrospectionClient,
    options: IntrospectorOptions
  ) {
    this.#name = name
    this.#settings = settings
    this.#client = client
    this.#options = options
    this.#readAnswer = answerReader(settings)
    this.#context = { fetch: options.fetch, timers: options.timers, signal: this.#abort.signal }
  }

  introspect(token: string, maxAge: number): Identity | Promise<Identity> {
    if (token.length > maxTokenLength) throw refuseToken('token.invalid', 'longer than 16 KiB')
    if (!bearerToken.test(token)) throw refuseToken('token.invalid', 'not the form of a bearer token')
    // The tokens themselves are kept nowhere.
    const key = hash('sha256', token, 'base64')
    const known = this.#recall(key, maxAge)
    if (known !== null) return settle(known)
    let flight = this.#flights.get(key)
    if (flight === undefined) {
      flight = this.#ask(token, key).finally(() => this.#flights.delete(key))
      this.#flights.set(key, flight)
    }
    return flight.then(settle)
  }

  close(): void {
    this.#abort.abort(new Error('the issuer is closed'))
  }

  #recall(key: string, maxAge: number): Verdict | null {
    const now = this.#options.clock()
    const known = this.#good.get(key) ?? this.#bad.get(key)
    if (known === undefined || now >= known.at + maxAge) return null
    const { verdict } = known
    return 'until' in verdict && now >= verdict.until ? null : verdict
  }

  async #ask(token: string, key: string): Promise<Verdict> {
    const { clock, log, onAnswer } = this.#options
    const now = clock()
    if (now < this.#retryAt || this.#abort.signal.aborted) throw this.#unavailable(now)
    if (this.#flights.size >= maxFlights) throw keysUnavailable('too many questions at once', firstBackoff)
    let verdict: Verdict
    try {
      verdict = await this.#fetchVerdict(token)
    } catch (error) {
      onAnswer('error')
      const then = clock()
      if (then >= this.#retryAt) {
        this.#failures++
        this.#endpoint = null
        const wait = Math.min(firstBackoff * 2 ** (this.#failures - 1), lastBackoff)
        this.#retryAt = then + wait
        log.warn({ err: error, failures: this.#failures, retryIn: wait }, 'the issuer does not introspect')
      }
      throw this.#unavailable(then)
    }
    onAnswer('identity' in verdict ? 'active' : 'reason' in verdict ? 'refused' : 'error')
    this.#failures = 0
    this.#remember(key, { verdict, at: now })
    return verdict
  }

  #remember(key: string, entry: Remembered): void {
    const isGood = 'identity' in entry.verdict
    ;(isGood ? this.#good : this.#bad).set(key, entry)
    ;(isGood ? this.#bad : this.#good).delete(key)
  }

  async #fetchVerdict(token: string): Promise<Verdict> {
    const endpoint = await this.#discover()
    const form = new URLSearchParams({ token, token_type_hint: 'access_token' })
    const headers: Record<string, string> = {
      accept: 'application/json',
      'content-type': 'application/x-www-form-urlencoded'
    }
    if (endpoint.authentication === 'client_secret_basic') headers.authorization = basic(this.#client)
    else {
      form.set('client_id', this.#client.id)
      form.set('client_secret', this.#client.secret)
    }
    try {
      const init = { method: 'POST', headers, body: form.toString() }
      const text = await fetchText(endpoint.url, this.#context, init)
      return this.#readAnswer(text, this.#options.clock())
    } catch (error) {
      // About this token and not about the issuer: no client may have the gateway stop asking for the others.
      if (error instanceof UnexpectedStatus && aboutTheToken.has(error.status))
        return { reason: 'token.invalid', detail: 'the issuer will not introspect such a token' }
      throw error
    }
  }

  #discover(): Promise<IntrospectionEndpoint> {
    const now = this.#options.clock()
    if (this.#endpoint === null || now - this.#endpoint.at >= rediscoverAfter)
      this.#endpoint = { found: discoverIntrospection(this.#settings.issuer, this.#context), at: now }
    return this.#endpoint.found
  }

  #unavailable(now: number): Error {
    return keysUnavailable(`${this.#name} does not introspect`, this.#retryAt - now)
  }
}

function settle(verdict: Verdict): Identity {
  if ('identity' in verdict) return verdict.identity
  if ('unreadable' in verdict) throw keysUnavailable('the answer is no introspection response', firstBackoff)
  throw refuseToken(verdict.reason, verdict.detail)
}

/** RFC 6749, 2.3.1: both are form-encoded first, so that a colon in the id cannot move the border. */
function basic({ id, secret }: IntrospectionClient): string {
  const [name, password] = [id, secret].map(text => new URLSearchParams({ '': text }).toString().slice(1))
  return `Basic ${Buffer.from(`${name}:${password}`).toString('base64')}`
}
