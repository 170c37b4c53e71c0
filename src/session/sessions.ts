import type { IncomingHttpHeaders } from 'node:http'
import { Refusal } from '../errors.ts'
import type { Identity } from '../identity.ts'
import type { Logger } from '../log.ts'
import { hostname } from '../route/match.ts'
import { claimsOf } from './claims.ts'
import type { CurrentSession, SessionRecord } from './contract.ts'
import { Origins } from './hosts.ts'
import { IssuerUnavailable } from './issuer-failure.ts'
import { isAt, type SessionIssuer, type SessionsOptions } from './options.ts'
import { displayName } from './person.ts'
import { SessionCookie } from './session-cookie.ts'
import { SignIn } from './sign-in.ts'
import { SignOut } from './sign-out.ts'

/**
 * Sign-in and sessions of one configuration. The session's cookie holds nothing but a random id with a signature: everything
 * else stays here, and a session that has ended here has ended everywhere.
 */
export class Sessions {
  readonly options: SessionsOptions
  readonly signIn: SignIn
  readonly signOut: SignOut
  /** What browsers reach every host of the gateway by: `https://`. */
  readonly scheme: string
  readonly #cookie: SessionCookie
  readonly #identities = new WeakMap<SessionRecord, Identity>()

  constructor(options: SessionsOptions) {
    const { cookie, secret, externalUrl, hosts } = options
    const origins = new Origins(externalUrl, hosts)
    this.options = options
    this.scheme = origins.scheme
    this.#cookie = new SessionCookie(cookie, secret)
    this.signIn = new SignIn(options, this.#cookie, origins, this)
    this.signOut = new SignOut(options, origins)
  }

  get log(): Logger {
    return this.options.log
  }

  /** The issuer of that name. */
  issuer(name: string): SessionIssuer {
    const issuer = this.options.issuers.get(name)
    if (issuer === undefined) throw new Error(`there is no issuer "${name}" with a client`)
    return issuer
  }

  /**
   * Who a request is from by its session with that issuer; null without one. Throws (or rejects with) a `Refusal`: two cookies
   * are `request.malformed`, a session that could not be refreshed for too long is `session.unavailable`.
   */
  identify(headers: IncomingHttpHeaders, issuer: SessionIssuer): Identity | null | Promise<Identity | null> {
    const id = this.#cookie.idOf(headers)
    if (id === null) return null
    const record = this.options.store.get(id)
    if (!(record instanceof Promise)) return this.#accept(id, record, headers, issuer)
    return record.then(found => this.#accept(id, found, headers, issuer)).catch(refuseWithoutStore)
  }

  /** The session of a request, with whatever issuer it is; it does not count as use. */
  async current(headers: IncomingHttpHeaders): Promise<CurrentSession | null> {
    const id = this.#cookie.idOf(headers)
    if (id === null) return null
    const record = await this.options.store.get(id)
    return this.#isAlive(record, headers) ? { id, record } : null
  }

  /** What the person of a session is called on a page; null where nothing can be shown. */
  nameOf(record: SessionRecord): string | null {
    const issuer = this.options.issuers.get(record.issuerName)
    const email = issuer === undefined ? null : this.#identity(record, issuer).email
    return displayName(email, record.subject)
  }

  /** The Set-Cookie that takes the session's cookie away. */
  get noCookie(): string {
    return this.#cookie.none
  }

  #accept(
    id: string,
    record: SessionRecord | null,
    headers: IncomingHttpHeaders,
    issuer: SessionIssuer
  ): Identity | null | Promise<Identity | null> {
    if (!this.#isAlive(record, headers) || !isAt(record, issuer)) return null
    // Nobody waits for it: a session that cannot be prolonged ends earlier.
    const touched = this.options.store.touch(id)
    if (touched instanceof Promise) touched.catch(ignore)
    if (record.refreshToken !== null && Date.now() >= record.refreshAt)
      return this.#refreshed(id, record, issuer)
    return this.#identity(record, issuer)
  }

  #isAlive(record: SessionRecord | null, { host }: IncomingHttpHeaders): record is SessionRecord {
    return record !== null && record.host === hostname(host) && Date.now() < this.endOf(record)
  }

  /** On the calendar. A lifetime that was made shorter since is for those who were signed in already, too. */
  endOf({ createdAt, endsAt }: SessionRecord): number {
    return Math.min(endsAt, createdAt + this.options.lifetime)
  }

  /** Before the tokens expire nobody waits for new ones. */
  async #refreshed(id: string, record: SessionRecord, issuer: SessionIssuer): Promise<Identity | null> {
    const { refresher } = this.options
    const now = Date.now()
    if (now < record.staleAt) {
      if (!refresher.rests(id)) void refresher.refresh(id, issuer.client).catch(ignore)
      return this.#identity(record, issuer)
    }
    try {
      if (refresher.rests(id)) throw new IssuerUnavailable('the issuer did not answer just now')
      const next = await refresher.refresh(id, issuer.client)
      return next === null ? null : this.#identity(next, issuer)
    } catch (error) {
      if (!(error instanceof IssuerUnavailable)) throw error
      if (now < record.staleAt + issuer.staleIfError) return this.#identity(record, issuer)
      throw new Refusal('session.unavailable', {
        detail: 'the tokens are older than staleIfError',
        cause: error
      })
    }
  }

  #identity(record: SessionRecord, issuer: SessionIssuer): Identity {
    const known = this.#identities.get(record)
    if (known !== undefined) return known
    const read = issuer.readIdentity(claimsOf(record))
    const identity: Identity = Object.freeze({ ...read, kind: 'session', expiresAt: this.endOf(record) })
    this.#identities.set(record, identity)
    return identity
  }
}

/** A store that does not answer knows nobody, and whoever it does not know is not let in. */
function refuseWithoutStore(error: unknown): never {
  if (error instanceof Refusal) throw error
  throw new Refusal('session.unavailable', { detail: 'the store of sessions does not answer', cause: error })
}

function ignore(): void {
  // Whoever failed has logged it.
}
