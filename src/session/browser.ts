import type { IncomingHttpHeaders } from 'node:http'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Reason } from '../errors.ts'
import { Refusal } from '../errors.ts'
import { type Exchange, exchangeOf } from '../exchange.ts'
import type { Identity } from '../identity.ts'
import { sessionChallenge } from './challenge.ts'
import { IssuerUnavailable, logFailure } from './issuer-failure.ts'
import { opensPage } from './navigation.ts'
import type { SessionIssuer } from './options.ts'
import { isOfOwnPage, isOwnOrigin, isSafeMethod } from './own-page.ts'
import { type Page, sendPage } from './page.ts'
import { refusalPage } from './refusal-page.ts'
import { safeReturnUrl } from './return-url.ts'
import type { Sessions } from './sessions.ts'

const noSession = { headers: { 'www-authenticate': sessionChallenge } }

/** Sign-in of people in browsers with one issuer, as a plugin on a route sees it. */
export interface BrowserSignIn {
  /**
   * Who the session of a request is of; null without a session of this issuer. Throws (or rejects with) a `Refusal` where that
   * cannot be told: two cookies, an issuer that was away for too long, a WebSocket or a change that a page of another origin asks
   * for, unless the route allows its origin.
   */
  identify(request: FastifyRequest): Identity | null | Promise<Identity | null>
  /**
   * Answers a request without a session: sends a person who opens a page to the issuer, or shows why that is not possible.
   * Rejects with the `Refusal` `token.missing` for everything else.
   */
  invite(request: FastifyRequest, reply: FastifyReply): Promise<void>
}

export function browserSignIn(sessions: Sessions, issuer: SessionIssuer, plugin: string): BrowserSignIn {
  const { scheme } = sessions

  /** What stays open is use: it keeps the session from its idle time. */
  async function stillHolds(headers: IncomingHttpHeaders): Promise<boolean> {
    return (await sessions.identify(headers, issuer)) !== null
  }

  return {
    identify(request) {
      const { headers, gateway } = request
      if (opensSocket(request)) refuseForeignSocket(request, scheme)
      else if (!isSafeMethod(request.method)) refuseForeignChange(request, scheme)
      // A sign-out ends what is open, too: on this replica, on another one, or at the issuer.
      gateway.stillHolds = stillHolds
      return sessions.identify(headers, issuer)
    },

    async invite(request, reply) {
      const exchange = exchangeOf(request.raw)
      const returnTo = pageOf(request, exchange)
      if (returnTo === null) throw new Refusal('token.missing', noSession)
      await depart(sessions, issuer, { exchange, reply, returnTo, plugin })
    }
  }
}

export interface Leaving {
  readonly exchange: Exchange
  readonly reply: FastifyReply
  readonly returnTo: string
  /** Who sends the browser away; null: the gateway itself. */
  readonly plugin: string | null
}

/** Sends a browser to the issuer, or shows that it is away. */
export async function depart(
  sessions: Sessions,
  issuer: SessionIssuer,
  { exchange, reply, returnTo, plugin }: Leaving
): Promise<void> {
  try {
    const { request, clientIp } = exchange
    const { location, cookies } = await sessions.signIn.begin(request.headers, issuer, returnTo, clientIp)
    exchange.refuse('token.missing', plugin, 'a sign-in begins')
    reply.headers({ location, 'cache-control': 'no-store', 'set-cookie': cookies })
    // Not 302 after a POST: the person comes back with GET, and nothing is sent twice.
    reply.code(request.method === 'GET' ? 302 : 303).send()
  } catch (error) {
    if (!(error instanceof IssuerUnavailable)) throw error
    const { requestId } = exchange
    logFailure(sessions.log, error, { issuer: issuer.name, requestId }, 'nobody can sign in')
    const link = { text: 'Try again', url: returnTo }
    refuseWithPage(exchange, reply, 'session.unavailable', { plugin, detail: error.message, link })
  }
}

/** A refusal for the eyes of a person, as a page with these parts of its own. The reason is on record as that of any other one. */
export function refuseWithPage(
  exchange: Exchange,
  reply: FastifyReply,
  reason: Reason,
  { plugin, detail, ...own }: { plugin: string | null; detail: string } & Partial<Page>
): void {
  exchange.refuse(reason, plugin, detail)
  sendPage(exchange, reply, { ...refusalPage(exchange, new Refusal(reason)), ...own })
}

/**
 * What a person who opens a page asked for; null for what scripts, images and forms of other sites ask for, and for what a
 * browser fetches before anybody has asked.
 */
function pageOf({ method, headers }: FastifyRequest, exchange: Exchange): string | null {
  if (!opensPage(exchange)) return null
  if (method === 'GET') return safeReturnUrl(exchange.target)
  // A form of this site, sent too late: the person gets back to the page with the form.
  if (headers['sec-fetch-mode'] !== 'navigate' || headers['sec-fetch-site'] !== 'same-origin') return null
  const from = URL.parse(String(headers.referer))
  return from !== null && from.host === headers.host ? safeReturnUrl(from.pathname + from.search) : '/'
}

/**
 * Another proxy asks about a WebSocket as about any GET: it leaves `Upgrade` out, which belongs to its own connection. This header
 * (RFC 6455, 4.1) it passes on, and no page can write it.
 */
function opensSocket({ headers, gateway }: FastifyRequest): boolean {
  return gateway.protocol === 'websocket' || headers['sec-websocket-version'] !== undefined
}

/** Browsers open WebSockets of any page with our cookies; only `Origin` tells whose page it is. */
function refuseForeignSocket({ headers, gateway }: FastifyRequest, scheme: string): void {
  const { origin, host } = headers
  if (origin === undefined || gateway.originAllowed || isOwnOrigin(origin, host, scheme)) return
  throw foreignPage()
}

/** Without a cookie the request is nobody's, and is told that. */
function refuseForeignChange({ headers, gateway }: FastifyRequest, scheme: string): void {
  if (gateway.originAllowed || isOfOwnPage(headers, scheme) || !gateway.carriesSession) return
  throw foreignPage()
}

function foreignPage(): Refusal {
  return new Refusal('protocol.origin', { detail: 'a session is for pages of its own origin' })
}
