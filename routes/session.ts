import cookies from '@fastify/cookie'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { Refusal } from '../src/errors.ts'
import { type Exchange, exchangeOf } from '../src/exchange.ts'
import { depart, refuseWithPage } from '../src/session/browser.ts'
import { readForm } from '../src/session/form.ts'
import { LogoutRefused, readLogoutToken } from '../src/session/logout-token.ts'
import { IssuerUnavailable, logFailure, SignInRefused } from '../src/session/oidc-client.ts'
import { sendPage } from '../src/session/page.ts'
import { ownSignInPaths, safeReturnUrl } from '../src/session/return-url.ts'
import { callbackPath, type SessionIssuer, type Sessions } from '../src/session/sessions.ts'

const signOutPath = `${ownSignInPaths}sign-out`

/** What the gateway answers itself on its public listeners where people sign in: `/oauth2/…`. */
export async function sessionRoutes(
  app: FastifyInstance,
  { sessions }: { sessions: Sessions }
): Promise<void> {
  // Its functions write the cookies; they are ready once it is registered.
  await app.register(cookies)

  app.get(`${ownSignInPaths}sign-in`, async function signIn(request, reply) {
    const exchange = exchangeOf(request.raw)
    const query = new URLSearchParams(exchange.target.split('?', 2)[1] ?? '')
    const issuer = chosenIssuer(sessions, query.get('issuer'))
    if (issuer === null) {
      refuseWithPage(exchange, reply, 'session.sign_in', {
        plugin: null,
        detail: 'no such issuer',
        again: '/'
      })
      return reply
    }
    await depart(sessions, issuer, {
      exchange,
      reply,
      returnTo: safeReturnUrl(query.get('return_to')),
      plugin: null
    })
    return reply
  })

  app.get(callbackPath, callback)
  for (const name of sessions.options.issuers.keys()) app.get(`${callbackPath}/${name}`, callback)

  async function callback(request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    const exchange = exchangeOf(request.raw)
    try {
      const { location, cookies } = await sessions.complete(request.headers, exchange.target)
      return redirect(reply, location, cookies)
    } catch (error) {
      return showFailure(sessions, exchange, reply, error)
    }
  }

  app.get(signOutPath, async function signOutPage(request, reply) {
    const exchange = exchangeOf(request.raw)
    const session = await sessions.current(request.headers)
    if (session === null) return sendPage(exchange, reply, signedOut)
    return sendPage(exchange, reply, {
      status: 200,
      title: 'Sign out?',
      text: 'You are signed in.',
      form: { text: 'Sign out', path: signOutPath, token: sessions.signOutToken(session.id) }
    })
  })

  app.post(signOutPath, async function signOut(request, reply) {
    const exchange = exchangeOf(request.raw)
    const form = await readForm(request.raw)
    const session = await sessions.current(request.headers)
    if (session === null) return sendPage(exchange, reply, signedOut)
    if (!isOwnForm(request) || !sessions.isSignOutToken(session.id, form.get('token') ?? '')) {
      const how = { plugin: null, detail: 'a sign-out that no page of ours has sent', again: signOutPath }
      refuseWithPage(exchange, reply, 'protocol.origin', how)
      return reply
    }
    const elsewhere = await sessions.signOut(session, request.headers.host)
    reply.header('set-cookie', sessions.noCookie)
    if (elsewhere === null) return sendPage(exchange, reply, signedOut)
    // Not a redirect: `form-action` would have to name every host on the issuer's way.
    const link = { text: 'Sign out there too', url: elsewhere }
    return sendPage(exchange, reply, { ...signedOut, link, refresh: elsewhere })
  })

  app.post(`${ownSignInPaths}backchannel-logout`, async function backchannelLogout(request, reply) {
    const exchange = exchangeOf(request.raw)
    reply.headers({ 'cache-control': 'no-store', 'content-type': 'application/json' })
    try {
      const { issuers, store, log } = sessions.options
      const token = (await readForm(request.raw)).get('logout_token') ?? ''
      const { issuer, sid, subject } = await readLogoutToken(token, issuers.values(), store)
      const ended = await store.destroyOf({
        issuer: issuer.client.settings.issuer,
        ...(sid !== null && { sid }),
        ...(subject !== null && { subject })
      })
      log.info({ issuer: issuer.name, subject, ended }, 'an issuer has ended sessions')
      return reply.code(200).send('{}')
    } catch (error) {
      if (!(error instanceof LogoutRefused)) throw error
      exchange.refuse('token.invalid', null, error.message)
      return reply.code(400).send('{"error":"invalid_request"}')
    }
  })
}

const signedOut = { status: 200, title: 'Signed out', text: 'You are signed out here.' }

function redirect(reply: FastifyReply, location: string, cookies: string[]): FastifyReply {
  return reply.code(303).headers({ location, 'cache-control': 'no-store', 'set-cookie': cookies }).send()
}

function chosenIssuer({ options: { issuers } }: Sessions, name: string | null): SessionIssuer | null {
  if (name !== null) return issuers.get(name) ?? null
  return issuers.size === 1 ? (issuers.values().next().value ?? null) : null
}

function showFailure(
  sessions: Sessions,
  exchange: Exchange,
  reply: FastifyReply,
  error: unknown
): FastifyReply {
  if (error instanceof Refusal) throw error
  const isKnown = error instanceof SignInRefused || error instanceof IssuerUnavailable
  if (!isKnown) throw error
  const { requestId } = exchange
  logFailure(sessions.log, error, { requestId }, 'a sign-in has failed')
  const reason = error instanceof SignInRefused ? 'session.sign_in' : 'session.unavailable'
  refuseWithPage(exchange, reply, reason, { plugin: null, detail: error.message, again: '/' })
  return reply
}

/** Browsers say where a form is from; `Sec-Fetch-Site` cannot be written by a page. */
function isOwnForm({ headers }: FastifyRequest): boolean {
  const site = headers['sec-fetch-site']
  if (site !== undefined) return site === 'same-origin'
  return headers.origin === undefined || URL.parse(headers.origin)?.host === headers.host
}
