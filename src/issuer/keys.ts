import type { Identity } from '../identity.ts'

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
}

/** What the issuers tell the metrics (`jwks_fetches_total`, `jwks_age_seconds`). */
export interface IssuerMetrics {
  /** A fetch of the keys has ended. `issuer` is the name in the configuration. */
  fetches(issuer: string, result: 'success' | 'error'): void
  /** The gauge asks `seconds` at each scrape; `undefined` while no keys were ever fetched, null takes it away. */
  age(issuer: string, seconds: (() => number | undefined) | null): void
}
