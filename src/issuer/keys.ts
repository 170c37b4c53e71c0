import type { KeyObject } from 'node:crypto'
import type { Identity } from '../identity.ts'
import type { Logger } from '../log.ts'
import { processTimers, type Timers } from '../timers.ts'
import { TrustedIssuer } from './trusted-issuer.ts'

/** One issuer of the configuration, as the key manager needs it. Durations are milliseconds. */
export interface IssuerSettings {
  /** The exact `iss` of its tokens; also where discovery starts. */
  issuer: string
  /** A token must name at least one of these in `aud`. */
  audience: string[]
  /** Signature algorithms that its tokens may use; nothing else is ever tried. */
  algorithms: string[]
  jwks?: {
    /** Where its keys are; from discovery when absent. */
    url?: string
    /** Between two background fetches. */
    refresh: number
    /** Least time between two fetches that unknown `kid`s ask for. */
    cooldown: number
    /** How long known keys are good while the issuer does not answer. */
    staleIfError: number
  }
  clockTolerance: number
  /** Where the identity is in the claims: dotted paths, e.g. `realm_access.roles`. */
  claims: { scopes: string; groups: string; roles: string; email: string }
}

export interface IssuerVerifier {
  /** Its name in the configuration. */
  readonly name: string
  /** The exact `iss` of its tokens. */
  readonly issuer: string
  /**
   * The identity of a valid access token. Answers at once when the token is cached or its key is known, and with a
   * promise when keys have to be fetched first. Throws (or rejects with) a `Refusal`: `token.*` or `key.unavailable`.
   */
  verify(token: string): Identity | Promise<Identity>
  /** The identity of a token that was verified before and is still good; undefined otherwise. Never throws. */
  cached(token: string): Identity | undefined
  /**
   * The public key that the issuer signs other tokens with, such as those of a sign-out; null when it has no such key. Rejects
   * with the `Refusal` `key.unavailable`.
   */
  publicKey(kid: string | undefined, algorithm: string): Promise<KeyObject | null>
}

/** What the issuers tell the metrics (`jwks_fetches_total`, `jwks_age_seconds`). */
export interface IssuerMetrics {
  /** A fetch of the keys has ended. `issuer` is the name in the configuration. */
  fetches(issuer: string, result: 'success' | 'error'): void
  /** The gauge asks `seconds` at each scrape; `undefined` while no keys were ever fetched, null takes it away. */
  age(issuer: string, seconds: (() => number | undefined) | null): void
}

export interface IssuerOptions {
  log: Logger
  metrics: IssuerMetrics
  fetch: typeof globalThis.fetch
  /** Milliseconds since the epoch. */
  clock(): number
  timers: Timers
}

export interface IssuerRegistryOptions {
  log: Logger
  metrics: IssuerMetrics
  /** Default: the global one. */
  fetch?: typeof globalThis.fetch
  /** Milliseconds since the epoch. Default: `Date.now`. */
  clock?: () => number
  /** Default: the global ones, unref'd. */
  timers?: Timers
}

/**
 * The issuers of the process. They outlive the generations: asked again with the same name and settings, it gives the
 * same instance, with its keys and its verified tokens.
 */
export class IssuerRegistry {
  readonly #options: IssuerOptions
  readonly #issuers = new Map<string, TrustedIssuer>()

  constructor(options: IssuerRegistryOptions) {
    this.#options = {
      log: options.log,
      metrics: options.metrics,
      fetch: options.fetch ?? globalThis.fetch,
      clock: options.clock ?? Date.now,
      timers: options.timers ?? processTimers
    }
  }

  /** The issuer of that name and those settings. Made, and its keys asked for, at the first call; never waits. */
  get(name: string, settings: IssuerSettings): IssuerVerifier {
    const key = identityOf(name, settings)
    let issuer = this.#issuers.get(key)
    if (issuer === undefined) {
      issuer = new TrustedIssuer(name, settings, this.#options)
      this.#issuers.set(key, issuer)
      this.#options.metrics.age(name, issuer.age.bind(issuer))
    }
    return issuer
  }

  /**
   * Closes every issuer but these: the `issuers` of every configuration that still has requests, once a reload has
   * succeeded or failed. A closed one fetches nothing more.
   */
  retain(...configurations: readonly Readonly<Record<string, IssuerSettings>>[]): void {
    const kept = new Set(
      configurations.flatMap(issuers =>
        Object.entries(issuers).map(([name, settings]) => identityOf(name, settings))
      )
    )
    for (const [key, issuer] of this.#issuers) {
      if (kept.has(key)) continue
      issuer.close()
      this.#issuers.delete(key)
      this.#options.metrics.age(issuer.name, this.#ageOf(issuer.name))
    }
  }

  close(): void {
    this.retain()
  }

  /** For the gauge, when one of two issuers of a name (before and after a reload) has gone. */
  #ageOf(name: string): (() => number | undefined) | null {
    for (const issuer of this.#issuers.values()) if (issuer.name === name) return issuer.age.bind(issuer)
    return null
  }
}

/** Only what the issuer depends on, in a fixed order: a key that moved in the YAML or a new `client` changes nothing. */
export function identityOf(
  name: string,
  { issuer, audience, algorithms, jwks, clockTolerance, claims }: IssuerSettings
): string {
  return JSON.stringify([
    name,
    issuer,
    audience,
    algorithms,
    [jwks?.url, jwks?.refresh, jwks?.cooldown, jwks?.staleIfError],
    clockTolerance,
    [claims.scopes, claims.groups, claims.roles, claims.email]
  ])
}
