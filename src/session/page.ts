import { randomBytes } from 'node:crypto'
import type { FastifyReply } from 'fastify'
import type { Exchange } from '../exchange.ts'

export interface Link {
  readonly text: string
  readonly url: string
}

/** A page of the gateway's own. Every text is escaped: names and addresses in it are not ours. */
export interface Page {
  readonly status: number
  readonly title: string
  readonly text: string
  /** Buttons that lead on, one below the other. */
  readonly choices?: readonly Link[]
  /** A link below the text. */
  readonly link?: Link | undefined
  /** A button that posts `token` to `path`. */
  readonly form?: { readonly text: string; readonly path: string; readonly token: string }
  /** Where the browser goes on by itself. */
  readonly refresh?: string
  /** Why there is no other page, in the word of the catalogue. The page then names its request too, for whoever is asked for help. */
  readonly reason?: string
}

export interface RenderedPage {
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

/**
 * A page that runs no script and loads nothing: what it looks like is in the page, under a nonce. It holds no text of an issuer
 * but the name of the person who is signed in.
 */
export function renderPage(
  page: Page,
  requestId: string,
  nonce = randomBytes(16).toString('base64url')
): RenderedPage {
  const headers = {
    'content-type': pageType,
    'cache-control': 'no-store',
    'content-security-policy': `default-src 'none'; style-src 'nonce-${nonce}'; form-action ${page.form ? "'self'" : "'none'"}; base-uri 'none'; frame-ancestors 'none'`,
    'x-content-type-options': 'nosniff',
    'x-frame-options': 'DENY',
    // The address of a callback holds a code. But browsers would send the form of a sign-out without saying where it is from.
    'referrer-policy': page.form ? 'same-origin' : 'no-referrer',
    'x-request-id': requestId,
    ...(page.refresh !== undefined && { refresh: `0; url=${page.refresh}` })
  }
  return { headers, body: html(page, nonce, requestId) }
}

export const pageType = 'text/html; charset=utf-8'

export function sendPage(exchange: Exchange, reply: FastifyReply, page: Page): FastifyReply {
  const { headers, body } = renderPage(page, exchange.requestId)
  exchange.bytesOut = Buffer.byteLength(body)
  return reply.headers(headers).code(page.status).send(body)
}

/** No `light-dark()`: browsers that are two years old do not know it. */
const style = `
:root { color-scheme: light dark; --page: #f4f5f7; --card: #fff; --text: #1c2128; --quiet: #5b6472; --line: #d5d9e0; --accent: #0b57d0; --on-accent: #fff; font: 1rem/1.5 system-ui, sans-serif }
@media (prefers-color-scheme: dark) { :root { --page: #15171c; --card: #1f232b; --text: #e6e8ec; --quiet: #9aa3b2; --line: #3a404c; --accent: #8ab4f8; --on-accent: #10131a } }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; background: var(--page); color: var(--text) }
main { box-sizing: border-box; width: min(28rem, calc(100vw - 2rem)); margin: 1rem 0; padding: 2rem; border-radius: .75rem; background: var(--card); box-shadow: 0 1px 3px #0003; overflow-wrap: anywhere }
h1 { margin: 0 0 .5rem; font-size: 1.25rem; line-height: 1.3 }
p { margin: 0 0 1rem }
main > :last-child { margin-bottom: 0 }
ul { margin: 0; padding: 0; list-style: none }
li { margin: 0 0 .75rem }
a { color: var(--accent) }
button, li a { box-sizing: border-box; display: inline-block; font: inherit; padding: .5rem 1.25rem; border: 0; border-radius: .375rem; background: var(--accent); color: var(--on-accent); text-decoration: none; cursor: pointer }
li a { display: block; text-align: center }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px }
footer { margin-top: 1.5rem; padding-top: 1rem; border-top: 1px solid var(--line); color: var(--quiet); font-size: .8125rem }
footer p { margin: 0 }
`

function html({ title, text, choices, link, form, reason }: Page, nonce: string, requestId: string): string {
  const parts = [`<h1>${escaped(title)}</h1>`, `<p>${escaped(text)}</p>`]
  if (choices !== undefined) {
    parts.push('<ul>', ...choices.map(choice => `<li>${anchor(choice)}</li>`), '</ul>')
  }
  if (form !== undefined) {
    parts.push(
      `<form method="post" action="${escaped(form.path)}"><input type="hidden" name="token" value="${escaped(form.token)}"><button>${escaped(form.text)}</button></form>`
    )
  }
  if (link !== undefined) parts.push(`<p>${anchor(link)}</p>`)
  if (reason !== undefined) {
    parts.push(`<footer><p>Reason: ${escaped(reason)}</p><p>Request: ${escaped(requestId)}</p></footer>`)
  }
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escaped(title)}</title>
<style nonce="${nonce}">${style}</style>
</head>
<body><main>
${parts.join('\n')}
</main></body>
</html>
`
}

function anchor({ text, url }: Link): string {
  return `<a href="${escaped(url)}">${escaped(text)}</a>`
}

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;'
}

function escaped(text: string): string {
  return text.replaceAll(/[&<>"']/g, character => entities[character] as string)
}
