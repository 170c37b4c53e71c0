import cookies from '@fastify/cookie'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { type Exchange, exchangeOf } from '../src/exchange.ts'
import { depart, refuseWithPage } from '../src/session/browser.ts'
import { readForm } from '../src/session/form.ts'
import { IssuerUnavailable, logFailure, SignInRefused } from '../src/session/issuer-failure.ts'
import { LogoutRefused, readLogoutToken } from '../src/session/logout-token.ts'
import { type Page, sendPage } from '../src/session/page.ts'
import { ownSignInPaths, safeReturnUrl } from '../src/session/return-url.ts'
import type { Sessions } from '../src/session/sessions.ts'
import { callbackPath, SignInFailed } from '../src/session/sign-in.ts'

const signInPath = `${ownSignInPaths}sign-in`
const signOutPath = `${ownSignInPaths}sign-out`

export interface SessionRoutesOptions {
  readonly sessions: Sessions
  /** Names of the issuers that people can sign in with at that host. */
  issuersAt(host: string | undefined): readonly string[]
}

/** What the gateway answers itself on its public listeners where people sign in: `/oauth2/…`. */
export async function sessionRoutes(
  app: FastifyInstance,
  { sessions, issuersAt }: SessionRoutesOptions
): Promise<void> {
  // Its functions write the cookies; they are ready once it is registered.
  await app.register(cookies)

  app.get(signInPath, async function signIn(request, reply) {
    const exchange = exchangeOf(request.raw)
    const query = new URLSearchParams(queryOf(exchange.target))
    const returnTo = safeReturnUrl(query.get('return_to'))
    const { issuers } = sessions.options
    const offered = issuersAt(request.headers.host)
    // Under a name that no route knows: `depart` leads to the one that they do know.
    const possible = offered.length === 0 && issuers.size === 1 ? [...issuers.keys()] : offered
    const asked = query.get('issuer')
    if (asked === null && possible.length > 1)
      return sendPage(exchange, reply, choicePage(possible, returnTo))
    const issuer = issuers.get(asked ?? possible[0] ?? '')
    if (issuer === undefined) {
      const link = { text: 'Sign in in another way', url: signInUrl({ return_to: returnTo }) }
      refuseWithPage(exchange, reply, 'session.sign_in', {
        plugin: null,
        detail: 'no such issuer',
        text: 'There is no such way to sign in at this site.',
        ...(asked !== null && { link })
      })
      return reply
    }
    await depart(sessions, issuer, { exchange, reply, returnTo, plugin: null })
    return reply
  })

  app.get(callbackPath, callback)
  for (const name of sessions.options.issuers.keys()) app.get(`${callbackPath}/${name}`, callback)

  async function callback(request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    const exchange = exchangeOf(request.raw)
    try {
      const { location, cookies } = await sessions.signIn.complete(request.headers, exchange.target)
      return redirect(reply, location, cookies)
    } catch (error) {
      return showFailure(sessions, exchange, reply, error)
    }
  }

  app.get(signOutPath, async function signOutPage(request, reply) {
    const exchange = exchangeOf(request.raw)
    const session = await sessions.current(request.headers)
    if (session === null) return sendPage(exchange, reply, signedOut)
    const name = sessions.nameOf(session.record)
    return sendPage(exchange, reply, {
      status: 200,
      title: 'Sign out?',
      text: name === null ? 'You are signed in.' : `You are signed in as ${name}.`,
      form: { text: 'Sign out', path: signOutPath, token: sessions.signOut.token(session.id) }
    })
  })

  app.post(signOutPath, async function signOut(request, reply) {
    const exchange = exchangeOf(request.raw)
    const form = await readForm(request.raw)
    const session = await sessions.current(request.headers)
    if (session === null) return sendPage(exchange, reply, signedOut)
    if (!isOwnForm(request) || !sessions.signOut.isToken(session.id, form.get('token') ?? '')) {
      const how = { plugin: null, detail: 'a sign-out that no page of ours has sent', ...notOurForm }
      refuseWithPage(exchange, reply, 'protocol.origin', how)
      return reply
    }
    const elsewhere = await sessions.signOut.end(session, request.headers.host)
    reply.header('set-cookie', sessions.noCookie)
    if (elsewhere === null) return sendPage(exchange, reply, signedOut)
    // Not a redirect: `form-action` would have to name every host on the issuer's way.
    const link = { text: 'Sign out there too', url: elsewhere }
    return sendPage(exchange, reply, { ...signedOut, text: andThere, link, refresh: elsewhere })
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

const signedOut = {
  status: 200,
  title: 'Signed out',
  text: 'You are signed out here.',
  link: { text: 'Sign in again', url: signInPath }
}
const andThere =
  'You are signed out here. Your sign-in service may still know you: this page takes you there.'

const notOurForm = {
  text: 'You are signed in still. Please sign out with the button on the page of this site.',
  link: { text: 'Go to that page', url: signOutPath }
}

function redirect(reply: FastifyReply, location: string, cookies: string[]): FastifyReply {
  return reply.code(303).headers({ location, 'cache-control': 'no-store', 'set-cookie': cookies }).send()
}

/** All of it: a return URL may have a query of its own. */
function queryOf(target: string): string {
  const start = target.indexOf('?')
  return start === -1 ? '' : target.slice(start + 1)
}

/** What a person chooses from, where there are several issuers. */
function choicePage(issuers: readonly string[], returnTo: string): Page {
  return {
    status: 200,
    title: 'Sign in',
    text: 'Choose where you have an account.',
    choices: issuers.map(issuer => ({ text: issuer, url: signInUrl({ issuer, return_to: returnTo }) }))
  }
}

function signInUrl(query: Record<string, string>): string {
  return `${signInPath}?${new URLSearchParams(query)}`
}

const denied = {
  text: 'It was cancelled, or the sign-in service has not let you in. Try again, perhaps as somebody else.'
}

function showFailure(
  sessions: Sessions,
  exchange: Exchange,
  reply: FastifyReply,
  error: unknown
): FastifyReply {
  const isKnown = error instanceof SignInFailed
  const failure = isKnown ? error.failure : error
  if (!(failure instanceof SignInRefused || failure instanceof IssuerUnavailable)) throw error
  logFailure(sessions.log, failure, { requestId: exchange.requestId }, 'a sign-in has failed')
  const reason = failure instanceof SignInRefused ? 'session.sign_in' : 'session.unavailable'
  const isDenied = failure instanceof SignInRefused && failure.isDenied
  refuseWithPage(exchange, reply, reason, {
    plugin: null,
    detail: failure.message,
    link: { text: 'Try again', url: isKnown ? error.returnTo : '/' },
    ...(isDenied && denied)
  })
  return reply
}

/** Browsers say where a form is from; `Sec-Fetch-Site` cannot be written by a page. */
function isOwnForm({ headers }: FastifyRequest): boolean {
  const site = headers['sec-fetch-site']
  if (site !== undefined) return site === 'same-origin'
  return headers.origin === undefined || URL.parse(headers.origin)?.host === headers.host
}
