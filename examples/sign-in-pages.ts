import type { IncomingMessage, ServerResponse } from 'node:http'
import type Provider from 'oidc-provider'
import { escaped, htmlPage, pageHeaders } from './html.ts'
import { accounts, personOf } from './people.ts'

const prefix = '/sign-in/'

/** Where the provider sends a browser whose person it does not know. */
export function signInUrl(_ctx: unknown, { uid }: { uid: string }): string {
  return prefix + uid
}

export function isSignIn({ url = '' }: IncomingMessage): boolean {
  return url.startsWith(prefix)
}

/** The provider's page to sign in on, and what comes of its form. */
export async function answerSignIn(
  provider: Provider,
  request: IncomingMessage,
  response: ServerResponse
): Promise<void> {
  const { params } = await provider.interactionDetails(request, response)
  if (request.method !== 'POST') return show(response, 200, signInPage(params.client_id, false))
  const form = await readForm(request)
  if (form.has('cancel')) return provider.interactionFinished(request, response, { error: 'access_denied' })
  const user = (form.get('user') ?? '').trim().toLowerCase()
  const person = personOf(user)
  if (person === undefined || person.password !== form.get('password'))
    return show(response, 403, signInPage(params.client_id, true))
  return provider.interactionFinished(request, response, { login: { accountId: user } })
}

async function readForm(request: IncomingMessage): Promise<URLSearchParams> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk)
  return new URLSearchParams(Buffer.concat(chunks).toString())
}

function show(response: ServerResponse, status: number, page: string): void {
  response.writeHead(status, pageHeaders).end(page)
}

function signInPage(clientId: string, isWrong: boolean): string {
  return htmlPage(
    'Sign in',
    `<p>This is the demo's identity provider. You are on your way to <b>${escaped(clientId)}</b>.</p>`,
    isWrong ? '<p class="alarm" role="alert">That is not one of the names and passwords below.</p>' : '',
    `<form method="post">
<label for="user">Name</label><input id="user" name="user" autocomplete="username" autocapitalize="none" required autofocus>
<label for="password">Password</label><input id="password" name="password" type="password" autocomplete="current-password" required>
<button>Sign in</button> <button class="quiet" name="cancel" value="yes" formnovalidate>Cancel</button>
</form>`,
    `<p class="quiet" style="margin-top: 1.5rem">Name and password: ${accounts().map(escaped).join(', or ')}</p>`
  )
}

interface Answer {
  type: string
  body: string
  set(headers: Record<string, string>): void
}

function answerWith(ctx: Answer, page: string): void {
  ctx.type = 'html'
  ctx.set(pageHeaders)
  ctx.body = page
}

/** Asks whether the person wants to sign out; `form` is the provider's own. */
export function signOutPage(ctx: Answer, form: string): void {
  answerWith(
    ctx,
    htmlPage(
      'Sign out?',
      "<p>You are signed in at the demo's identity provider. Signing out here ends your sessions at every application that you have signed in to with it.</p>",
      form,
      `<button form="op.logoutForm" name="logout" value="yes">Sign out</button> <button class="quiet" form="op.logoutForm">Stay signed in</button>`
    )
  )
}

export function signedOutPage(ctx: Answer): void {
  answerWith(
    ctx,
    htmlPage(
      'Signed out',
      "<p>You are signed out of the demo's identity provider, and it has told the gateway.</p>"
    )
  )
}

/** Names and texts of the protocol: for whoever is looking at the demo. */
export function errorPage(ctx: Answer, out: Record<string, string>): void {
  const lines = Object.entries(out).map(
    ([name, text]) => `<dt>${escaped(name)}</dt><dd>${escaped(String(text))}</dd>`
  )
  answerWith(ctx, htmlPage('That did not work', `<dl>${lines.join('')}</dl>`))
}
