import type { Logger } from '../log.ts'
import type { IssuerMetrics, IssuerOptions, IssuerSettings, IssuerVerifier, Timers } from './keys.ts'
import { TrustedIssuer } from './trusted-issuer.ts'

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

const globalTimers: Timers = {
  setTimeout: (callback, milliseconds) => setTimeout(callback, milliseconds).unref(),
  clearTimeout: timer => clearTimeout(timer as NodeJS.Timeout | undefined)
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
      timers: options.timers ?? globalTimers
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
   * Closes every issuer but these: the `issuers` of the configuration in force, once a reload has succeeded or failed.
   * A closed one fetches nothing more; requests under way are still judged with the keys that it has.
   */
  retain(issuers: Readonly<Record<string, IssuerSettings>>): void {
    const kept = new Set(Object.entries(issuers).map(([name, settings]) => identityOf(name, settings)))
    for (const [key, issuer] of this.#issuers) {
      if (kept.has(key)) continue
      issuer.close()
      this.#issuers.delete(key)
      this.#options.metrics.age(issuer.name, this.#ageOf(issuer.name))
    }
  }

  close(): void {
    this.retain({})
  }

  /** For the gauge, when one of two issuers of a name (before and after a reload) has gone. */
  #ageOf(name: string): (() => number | undefined) | null {
    for (const issuer of this.#issuers.values()) if (issuer.name === name) return issuer.age.bind(issuer)
    return null
  }
}

/** Only what the issuer depends on, in a fixed order: a key that moved in the YAML or a new `client` changes nothing. */
function identityOf(
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
