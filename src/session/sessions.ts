import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { signerFactory } from '@fastify/cookie'
import { Refusal } from '../errors.ts'
import type { Identity } from '../identity.ts'
import type { IssuerVerifier } from '../issuer/keys.ts'
import type { Logger } from '../log.ts'
import { networkOf } from '../store/key.ts'
import { claimsOf } from './claims.ts'
import type { PendingSignIn, SessionRecord, SessionStore } from './contract.ts'
import { type CookieShape, cookieNames, cookieValues, setCookie } from './cookie.ts'
import { IssuerUnavailable, SignInRefused } from './issuer-failure.ts'
import type { OidcClient } from './oidc-client.ts'
import { displayName } from './person.ts'
import { type Refresher, tokenTimes } from './refresher.ts'
import { safeReturnUrl } from './return-url.ts'

/** An issuer that people sign in with. */
export interface SessionIssuer {
  readonly name: string
  readonly client: OidcClient
  readonly verifier: IssuerVerifier
  readIdentity(claims: Record<string, unknown>): Identity
  /** Milliseconds that sessions go on after their tokens have expired while the issuer does not answer. */
  readonly staleIfError: number
}

export interface SessionsOptions {
  readonly store: SessionStore
  readonly refresher: Pick<Refresher, 'rests' | 'refresh'>
  readonly log: Logger
  readonly secret: string
  readonly cookie: CookieShape
  readonly externalUrl: string
  /** Hosts that routes are matched by: `a.example.com`, `*.example.com`. */
  readonly hosts: readonly string[]
  /** Milliseconds. */
  readonly idle: number
  readonly lifetime: number
  readonly issuers: ReadonlyMap<string, SessionIssuer>
  /** Counts a sign-in by how it ended. */
  signedIn(issuer: string, result: 'success' | 'refused' | 'error'): void
}

/** Where a browser is sent, with what cookies. */
export interface Departure {
  readonly location: string
  readonly cookies: string[]
}

export interface CurrentSession {
  readonly id: string
  readonly record: SessionRecord
}

/** A sign-in that has begun here has failed at its end. */
export class SignInFailed extends Error {
  override readonly name = 'SignInFailed'
  /** Why; the same object for every sign-in that has failed for it. */
  readonly failure: SignInRefused | IssuerUnavailable
  /** Path and query that the person had asked for. */
  readonly returnTo: string

  constructor(failure: SignInRefused | IssuerUnavailable, returnTo: string) {
    super(failure.message)
    this.failure = failure
    this.returnTo = returnTo
  }
}

/** How long a person may take at the issuer, in milliseconds. */
const signInTtl = 600_000
/** A browser with more sign-ins under way than this, in other tabs, begins anew. */
const maxSignInCookies = 8
const maxState = 256

/**
 * Sign-in and sessions of one configuration. The session's cookie holds nothing but a random id with a signature: everything
 * else stays here, and a session that has ended here has ended everywhere.
 */
export class Sessions {
  readonly options: SessionsOptions
  /** What browsers reach every host of the gateway by: `https://`. */
  readonly scheme: string
  readonly #signer: ReturnType<typeof signerFactory>
  readonly #externalHost: string
  readonly #identities = new WeakMap<SessionRecord, Identity>()

  constructor(options: SessionsOptions) {
    this.options = options
    this.#signer = signerFactory(options.secret)
    const { host, protocol } = new URL(options.externalUrl)
    this.#externalHost = host
    this.scheme = `${protocol}//`
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
    const id = this.#sessionId(headers)
    if (id === null) return null
    const record = this.options.store.get(id)
    if (!(record instanceof Promise)) return this.#accept(id, record, headers, issuer)
    return record.then(found => this.#accept(id, found, headers, issuer)).catch(refuseWithoutStore)
  }

  /** The session of a request, with whatever issuer it is; it does not count as use. */
  async current(headers: IncomingHttpHeaders): Promise<CurrentSession | null> {
    const id = this.#sessionId(headers)
    if (id === null) return null
    const record = await this.options.store.get(id)
    return this.#isAlive(record, headers) ? { id, record } : null
  }

  /**
   * Begins a sign-in: remembers what is needed when the browser is back, and binds it to this browser with a cookie of its own,
   * so that several tabs do not disturb one another and nobody can finish the sign-in of somebody else.
   * Rejects with `IssuerUnavailable`.
   * @param clientIp whose sign-in it is: each client has a share of those that are remembered
   */
  async begin(
    headers: IncomingHttpHeaders,
    issuer: SessionIssuer,
    returnTo: string,
    clientIp: string
  ): Promise<Departure> {
    const origin = this.#origin(headers.host)
    // Under a name that the configuration does not know, nothing begins: the issuer would not send anybody back to it.
    if (origin === null) return { location: new URL(returnTo, this.options.externalUrl).href, cookies: [] }
    const callback = await this.#callbackOf(issuer)
    const { url, state, nonce, verifier } = await issuer.client.begin(origin + callback)
    const binding = randomBytes(32).toString('base64url')
    const pending = { issuerName: issuer.name, state, nonce, verifier, origin, callback, returnTo }
    await this.options.store.keep(signInKey(state, binding), pending, signInTtl, networkOf(clientIp))
    const { cookie } = this.options
    const others = cookieNames(headers.cookie, this.#signInPrefix)
    const dropped = others.length < maxSignInCookies ? [] : others
    return {
      location: url,
      cookies: [
        ...dropped.map(name => setCookie(cookie, name, '', 0)),
        setCookie(cookie, this.#signInCookie(state), binding, signInTtl / 1000)
      ]
    }
  }

  /**
   * The browser is back from the issuer. Gives where it goes on, with the cookie of a new session; rejects with `SignInFailed`,
   * or with `SignInRefused` where it is nothing that has begun here.
   */
  async complete(headers: IncomingHttpHeaders, target: string): Promise<Departure> {
    const state = stateOf(target)
    const name = this.#signInCookie(state)
    const [binding, ...more] = cookieValues(headers.cookie, name)
    if (binding === undefined || more.length > 0)
      throw new SignInRefused('this browser has begun no such sign-in')
    const pending = await this.options.store.take(signInKey(state, binding))
    if (pending === null) throw new SignInRefused('the sign-in is unknown, too old or used already')
    const issuer = this.options.issuers.get(pending.issuerName)
    if (issuer === undefined || pending.origin !== this.#origin(headers.host))
      throw new SignInRefused('the sign-in has begun at another host or issuer')
    if (pending.callback !== target.split('?', 1)[0])
      throw new SignInRefused('the answer has come to the path of another issuer')
    const record = await this.#exchange(issuer, pending, target, headers)
    const before = await this.current(headers).catch(() => null)
    if (before !== null) await this.options.store.destroy(before.id)
    // Always a new id: one that was known before the sign-in is worth nothing after it.
    const id = randomBytes(32).toString('base64url')
    await this.options.store.set(id, record)
    const { cookie } = this.options
    this.log.info({ issuer: issuer.name, subject: record.subject }, 'a person has signed in')
    return {
      location: safeReturnUrl(pending.returnTo),
      cookies: [setCookie(cookie, name, '', 0), setCookie(cookie, cookie.name, this.#signer.sign(id))]
    }
  }

  /** What the person of a session is called on a page; null where nothing can be shown. */
  nameOf(record: SessionRecord): string | null {
    const issuer = this.options.issuers.get(record.issuerName)
    const email = issuer === undefined ? null : this.#identity(record, issuer).email
    return displayName(email, record.subject)
  }

  /** Ends a session here, and says where it ends at the issuer; null where that has no such page. */
  async signOut({ id, record }: CurrentSession, host: string | undefined): Promise<string | null> {
    await this.options.store.destroy(id)
    this.log.info({ issuer: record.issuerName, subject: record.subject }, 'a person has signed out')
    const issuer = this.options.issuers.get(record.issuerName)
    const origin = this.#origin(host)
    if (issuer === undefined || origin === null || !isAt(record, issuer)) return null
    return issuer.client.endSessionUrl(record.idToken, `${origin}/oauth2/sign-out`)
  }

  /** The Set-Cookie that takes the session's cookie away. */
  get noCookie(): string {
    return setCookie(this.options.cookie, this.options.cookie.name, '', 0)
  }

  /** What the form of a sign-out carries: other sites can send a form, but not know this. */
  signOutToken(id: string): string {
    return createHmac('sha256', this.options.secret).update(`sign-out ${id}`).digest('base64url')
  }

  isSignOutToken(id: string, given: string): boolean {
    const expected = Buffer.from(this.signOutToken(id))
    const actual = Buffer.from(given)
    return expected.length === actual.length && timingSafeEqual(expected, actual)
  }

  /**
   * RFC 9700, 4.4.2: where there are several issuers, one that does not say who answers has a path of its own. An answer that was
   * meant for another one then comes to the wrong path.
   */
  async #callbackOf({ name, client }: SessionIssuer): Promise<string> {
    const isAlone = this.options.issuers.size === 1
    return isAlone || (await client.saysIssuer()) ? callbackPath : `${callbackPath}/${name}`
  }

  async #exchange(
    issuer: SessionIssuer,
    pending: PendingSignIn,
    target: string,
    headers: IncomingHttpHeaders
  ): Promise<SessionRecord> {
    const { signedIn, issuers, idle, lifetime } = this.options
    try {
      const url = new URL(`${pending.origin}${target}`)
      const needsIssuer = issuers.size > 1 && pending.callback === callbackPath
      const found = await issuer.client.finish(url, pending, needsIssuer)
      signedIn(issuer.name, 'success')
      const now = Date.now()
      return {
        issuerName: issuer.name,
        issuer: issuer.client.settings.issuer,
        clientId: issuer.client.settings.clientId,
        subject: found.subject,
        sid: found.sid,
        host: hostname(headers.host),
        claims: { scope: found.scope ?? issuer.client.settings.scopes.join(' '), ...found.claims },
        ...(found.userInfo !== null && { userInfo: found.userInfo }),
        idToken: found.idToken ?? '',
        refreshToken: found.refreshToken,
        ...tokenTimes(found.expiresAt),
        createdAt: now,
        endsAt: now + lifetime,
        idle
      }
    } catch (error) {
      signedIn(issuer.name, error instanceof SignInRefused ? 'refused' : 'error')
      const isKnown = error instanceof SignInRefused || error instanceof IssuerUnavailable
      throw isKnown ? new SignInFailed(error, safeReturnUrl(pending.returnTo)) : error
    }
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

  #sessionId(headers: IncomingHttpHeaders): string | null {
    const [value, ...more] = cookieValues(headers.cookie, this.options.cookie.name)
    if (more.length > 0) throw new Refusal('request.malformed', { detail: 'two session cookies' })
    if (value === undefined) return null
    return this.#signer.unsign(decoded(value)).value
  }

  /** Scheme and host under which a browser knows the gateway; null for a host that the configuration does not name. */
  #origin(host: string | undefined): string | null {
    const { externalUrl, hosts } = this.options
    const { origin, protocol } = new URL(externalUrl)
    if (host === undefined) return null
    if (host.toLowerCase() === this.#externalHost) return origin
    const name = hostname(host)
    const isNamed = hosts.some(one => (one.startsWith('*.') ? name.endsWith(one.slice(1)) : name === one))
    return isNamed ? `${protocol}//${host.toLowerCase()}` : null
  }

  get #signInPrefix(): string {
    return `${this.options.cookie.name}-sign-in-`
  }

  #signInCookie(state: string): string {
    return this.#signInPrefix + createHash('sha256').update(state).digest('hex').slice(0, 16)
  }
}

/** The path that issuers send browsers back to; or one below it, with the issuer's name. */
export const callbackPath = '/oauth2/callback'

/** Whether a session was made with the issuer as it is configured now. */
function isAt(record: SessionRecord, { name, client: { settings } }: SessionIssuer): boolean {
  return (
    record.issuerName === name && record.issuer === settings.issuer && record.clientId === settings.clientId
  )
}

function stateOf(target: string): string {
  const query = target.indexOf('?')
  const [state, ...more] = new URLSearchParams(query === -1 ? '' : target.slice(query)).getAll('state')
  if (state === undefined || more.length > 0 || state.length > maxState)
    throw new SignInRefused('state is missing, doubled or too long')
  return state
}

function signInKey(state: string, binding: string): string {
  return createHash('sha256').update(`${state}\n${binding}`).digest('base64url')
}

export function hostname(host: string | undefined): string {
  return (host ?? '').toLowerCase().replace(/:\d+$/, '')
}

/** The package writes values percent-encoded. */
function decoded(value: string): string {
  try {
    return decodeURIComponent(value)
  } catch {
    return ''
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
