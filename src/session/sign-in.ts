import { createHash, randomBytes } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { hostname } from '../route/match.ts'
import { networkOf } from '../store/key.ts'
import type { PendingSignIn, SessionRecord } from './contract.ts'
import { cookieNames, cookieValues, setCookie } from './cookie.ts'
import type { Origins } from './hosts.ts'
import { IssuerUnavailable, SignInRefused } from './issuer-failure.ts'
import type { SessionIssuer, SessionsOptions } from './options.ts'
import { tokenTimes } from './refresher.ts'
import { safeReturnUrl } from './return-url.ts'
import type { SessionCookie } from './session-cookie.ts'

/** The path that issuers send browsers back to; or one below it, with the issuer's name. */
export const callbackPath = '/oauth2/callback'

/** Where a browser is sent, with what cookies. */
export interface Departure {
  readonly location: string
  readonly cookies: string[]
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

interface Sessions {
  /** The session that a browser has already. */
  current(headers: IncomingHttpHeaders): Promise<{ readonly id: string } | null>
}

/** The way of a browser to an issuer and back: it ends with a session. */
export class SignIn {
  readonly #options: SessionsOptions
  readonly #cookie: SessionCookie
  readonly #origins: Origins
  readonly #sessions: Sessions

  constructor(options: SessionsOptions, cookie: SessionCookie, origins: Origins, sessions: Sessions) {
    this.#options = options
    this.#cookie = cookie
    this.#origins = origins
    this.#sessions = sessions
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
    const origin = this.#origins.at(headers.host)
    // Under a name that the configuration does not know, nothing begins: the issuer would not send anybody back to it.
    if (origin === null) return { location: new URL(returnTo, this.#options.externalUrl).href, cookies: [] }
    const callback = await this.#callbackOf(issuer)
    const { url, state, nonce, verifier } = await issuer.client.begin(origin + callback)
    const binding = randomBytes(32).toString('base64url')
    const pending = { issuerName: issuer.name, state, nonce, verifier, origin, callback, returnTo }
    await this.#options.store.keep(signInKey(state, binding), pending, signInTtl, networkOf(clientIp))
    const { cookie } = this.#options
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
    const pending = await this.#options.store.take(signInKey(state, binding))
    if (pending === null) throw new SignInRefused('the sign-in is unknown, too old or used already')
    const issuer = this.#options.issuers.get(pending.issuerName)
    if (issuer === undefined || pending.origin !== this.#origins.at(headers.host))
      throw new SignInRefused('the sign-in has begun at another host or issuer')
    if (pending.callback !== target.split('?', 1)[0])
      throw new SignInRefused('the answer has come to the path of another issuer')
    const record = await this.#exchange(issuer, pending, target, headers)
    const before = await this.#sessions.current(headers).catch(() => null)
    if (before !== null) await this.#options.store.destroy(before.id)
    // Always a new id: one that was known before the sign-in is worth nothing after it.
    const id = randomBytes(32).toString('base64url')
    await this.#options.store.set(id, record)
    const { cookie } = this.#options
    this.#options.log.info({ issuer: issuer.name, subject: record.subject }, 'a person has signed in')
    return {
      location: safeReturnUrl(pending.returnTo),
      cookies: [setCookie(cookie, name, '', 0), this.#cookie.of(id)]
    }
  }

  /**
   * RFC 9700, 4.4.2: where there are several issuers, one that does not say who answers has a path of its own. An answer that was
   * meant for another one then comes to the wrong path.
   */
  async #callbackOf({ name, client }: SessionIssuer): Promise<string> {
    const isAlone = this.#options.issuers.size === 1
    return isAlone || (await client.saysIssuer()) ? callbackPath : `${callbackPath}/${name}`
  }

  async #exchange(
    issuer: SessionIssuer,
    pending: PendingSignIn,
    target: string,
    headers: IncomingHttpHeaders
  ): Promise<SessionRecord> {
    const { signedIn, issuers, idle, lifetime } = this.#options
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

  get #signInPrefix(): string {
    return `${this.#options.cookie.name}-sign-in-`
  }

  #signInCookie(state: string): string {
    return this.#signInPrefix + createHash('sha256').update(state).digest('hex').slice(0, 16)
  }
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
