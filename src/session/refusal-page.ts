import { type Reason, Refusal } from '../errors.ts'
import type { Exchange } from '../exchange.ts'
import { opensPage } from './navigation.ts'
import { type Link, type Page, pageType, renderPage } from './page.ts'
import { displayName } from './person.ts'
import { ownSignInPaths, safeReturnUrl } from './return-url.ts'

/**
 * A refusal in the shape for a person, where one opens a page on a route that people sign in for, or one of the gateway's own
 * below `/oauth2/`. Null where a problem document is due, or an answer that a plugin has brought.
 */
export function refusalForPerson(exchange: Exchange, refusal: Refusal): Refusal | null {
  if (refusal.body !== undefined || !isForPeople(exchange) || !opensPage(exchange)) return null
  const { headers, body } = renderPage(refusalPage(exchange, refusal), exchange.requestId)
  return new Refusal(refusal.reason, {
    status: refusal.status,
    headers: { ...refusal.headers, ...headers },
    body: { type: pageType, content: Buffer.from(body) }
  })
}

function isForPeople({ route, observer, target }: Exchange): boolean {
  if (route !== null) return route.signInIssuers.length > 0
  return typeof observer.sessionCookie === 'string' && target.startsWith(ownSignInPaths)
}

interface Words {
  readonly title?: string
  readonly text: string
  readonly link?: Link | undefined
}

/** What a person reads of a refusal, and what to do next. */
export function refusalPage(exchange: Exchange, { reason, status, title, headers }: Refusal): Page {
  const words = wordsOf(exchange, reason, status, headers?.['retry-after'])
  return { status, title, reason, ...words }
}

function wordsOf(exchange: Exchange, reason: Reason, status: number, wait: string | undefined): Words {
  const known = special[reason]
  if (known !== undefined) return { link: again(exchange), ...known }
  if (status === 401) return { ...signInFirst, link: signInLink(exchange) }
  if (status === 403) return notAllowed(exchange)
  if (status === 429) return { text: `Please try again ${moment(wait)}.`, link: again(exchange) }
  if (status === 500) return { ...failed, link: again(exchange) }
  if (status > 500) return { ...away, link: again(exchange) }
  return { text: 'This address, or what your browser has sent with it, is not what this site takes.' }
}

const signInFirst = {
  title: 'Please sign in',
  text: 'This page is for people who have signed in.'
}
const failed = {
  title: 'Something has gone wrong',
  text: 'It is not your fault. If it happens again, tell those who run this site, with the number below.'
}
const away = {
  title: 'This page is not available at the moment',
  text: 'The service behind it does not answer, or is busy. Please try again in a moment.'
}

const special: Partial<Record<Reason, Words>> = {
  'session.unavailable': {
    text: 'The sign-in service does not answer. Please try again in a moment.'
  },
  'session.sign_in': {
    text: 'It may have been finished in another tab, was left open for too long, or your browser keeps no cookies of this site. If it fails again, tell those who run this site, with the number below.'
  },
  'protocol.origin': {
    title: 'This has to be done on a page of this site',
    text: 'What your browser has sent came from somewhere else. If you meant it, do it on a page of this site.',
    link: undefined
  },
  'request.malformed': {
    title: 'This site cannot read the request',
    text: 'Your browser has sent something that can be read in two ways. It often helps to delete the cookies of this site.',
    link: undefined
  }
}

function notAllowed({ identity }: Exchange): Words {
  const title = 'You may not open this page'
  if (identity === null)
    return {
      title,
      text: 'It is not open to everybody. If it should be open to you, ask those who run this site.'
    }
  const name = displayName(identity.email, identity.subject)
  const who = name === null ? 'You are signed in' : `You are signed in as ${name}`
  return {
    title,
    text: `${who}, and this page is for others. If it should be open to you, ask those who run this site.`,
    link: identity.kind === 'session' ? asSomebodyElse : undefined
  }
}

const asSomebodyElse: Link = {
  text: 'Sign out, to sign in as somebody else',
  url: `${ownSignInPaths}sign-out`
}

function signInLink({ route, request, target }: Exchange): Link {
  const query = new URLSearchParams({ return_to: safeReturnUrl(request.method === 'GET' ? target : '/') })
  const [issuer, ...more] = route?.signInIssuers ?? []
  if (issuer !== undefined && more.length === 0) query.set('issuer', issuer)
  return { text: 'Sign in', url: `${ownSignInPaths}sign-in?${query}` }
}

/** Only what can be asked twice. */
function again({ route, request, target }: Exchange): Link | undefined {
  if (route === null || request.method !== 'GET') return undefined
  return { text: 'Try again', url: safeReturnUrl(target) }
}

function moment(seconds: string | undefined): string {
  if (seconds === undefined || !/^\d{1,6}$/.test(seconds)) return 'in a moment'
  return seconds === '1' ? 'in a second' : `in ${seconds} seconds`
}
