import { setTimeout as delay } from 'node:timers/promises'
import { LruMap } from 'toad-cache'
import type { Logger } from '../log.ts'
import type { SessionRecord, SessionStore } from './contract.ts'
import { describeFailure, IssuerUnavailable, SignInRefused } from './issuer-failure.ts'
import type { OidcClient, SignedIn } from './oidc-client.ts'

/** Longer than an issuer may take for it. */
const lockFor = 15_000
/** How often another replica's result is looked for, and for how long. */
const lookEvery = 100
const lookFor = 6_000
/** An issuer that did not answer for a session is not asked again for it before this long. */
const restFor = 10_000
/** Tokens are refreshed this long before they expire, or a fifth of their life where that is less. */
const early = 30_000

export interface RefresherOptions {
  readonly store: SessionStore
  readonly log: Logger
  /** Counts an attempt by how it ended. */
  refreshed(issuer: string, result: 'success' | 'refused' | 'error'): void
}

/**
 * Refreshes the tokens of sessions, one attempt at a time for each: issuers rotate refresh tokens, and take the second use of one
 * for theft. One per process; replicas share the lock of their store.
 */
export class Refresher {
  readonly #options: RefresherOptions
  readonly #flights = new Map<string, Promise<SessionRecord | null>>()
  readonly #resting = new LruMap<true>(10_000, restFor)

  constructor(options: RefresherOptions) {
    this.#options = options
  }

  /** Whether the issuer, or the replica that asks it, did not answer for this session just now. */
  rests(id: string): boolean {
    return this.#resting.get(id) === true
  }

  /** The session with new tokens; null when it has ended. Rejects with `IssuerUnavailable`. */
  refresh(id: string, client: OidcClient): Promise<SessionRecord | null> {
    const known = this.#flights.get(id)
    if (known !== undefined) return known
    const flight = this.#refreshAlone(id, client).finally(() => this.#flights.delete(id))
    this.#flights.set(id, flight)
    return flight
  }

  async #refreshAlone(id: string, client: OidcClient): Promise<SessionRecord | null> {
    const { store } = this.#options
    const release = await store.lock(`refresh:${id}`, lockFor)
    if (release === null) return this.#awaitOther(id)
    try {
      const record = await store.get(id)
      if (record === null || record.refreshToken === null || Date.now() < record.refreshAt) return record
      return await this.#ask(id, record, record.refreshToken, client)
    } finally {
      await release()
    }
  }

  async #ask(
    id: string,
    record: SessionRecord,
    refreshToken: string,
    client: OidcClient
  ): Promise<SessionRecord | null> {
    const { store, log, refreshed } = this.#options
    const { issuerName, subject } = record
    try {
      const next = withTokens(record, await client.refresh(refreshToken, subject))
      refreshed(issuerName, 'success')
      return (await store.update(id, next)) ? next : null
    } catch (error) {
      if (error instanceof SignInRefused) {
        await store.destroy(id)
        refreshed(issuerName, 'refused')
        log.info({ issuer: issuerName, subject }, 'the issuer has ended a session')
        return null
      }
      this.#resting.set(id, true)
      refreshed(issuerName, 'error')
      log.warn(
        { issuer: issuerName, failure: describeFailure(error) },
        'the tokens of a session cannot be refreshed'
      )
      throw error
    }
  }

  /** Another replica is at it. */
  async #awaitOther(id: string): Promise<SessionRecord | null> {
    for (let waited = 0; waited < lookFor; waited += lookEvery) {
      await delay(lookEvery)
      const record = await this.#options.store.get(id)
      if (record === null || Date.now() < record.refreshAt) return record
    }
    // It may have died of it: its lock lasts longer than anybody should wait for it again.
    this.#resting.set(id, true)
    throw new IssuerUnavailable('another replica did not refresh the session in time')
  }
}

function withTokens(record: SessionRecord, tokens: SignedIn): SessionRecord {
  return {
    ...record,
    ...tokenTimes(tokens.expiresAt),
    // All or nothing of each: a claim that a new token lacks is one that was taken away.
    claims:
      tokens.claims === null
        ? { ...record.claims, ...(tokens.scope !== null && { scope: tokens.scope }) }
        : // RFC 6749, 6: a scope that is left out is the one that was granted before.
          { scope: tokens.scope ?? record.claims.scope, ...tokens.claims },
    ...(tokens.userInfo !== null && { userInfo: tokens.userInfo }),
    idToken: tokens.idToken ?? record.idToken,
    refreshToken: tokens.refreshToken ?? record.refreshToken
  }
}

/** When tokens that expire then are refreshed. Never, where the issuer does not say when. */
export function tokenTimes(expiresAt: number | null): { refreshAt: number; staleAt: number } {
  if (expiresAt === null) return { refreshAt: Number.MAX_SAFE_INTEGER, staleAt: Number.MAX_SAFE_INTEGER }
  const life = Math.max(0, expiresAt - Date.now())
  return { refreshAt: expiresAt - Math.min(early, life / 5), staleAt: expiresAt }
}
