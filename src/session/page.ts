import { randomBytes } from 'node:crypto'
import type { FastifyReply } from 'fastify'
import type { Exchange } from '../exchange.ts'

/** A page of the gateway's own. All texts are ours but `path` and `url`, which are escaped. */
export interface Page {
  readonly status: number
  readonly title: string
  readonly text: string
  /** A link below the text. */
  readonly link?: { readonly text: string; readonly url: string }
  /** A button that posts `token` to `path`. */
  readonly form?: { readonly text: string; readonly path: string; readonly token: string }
  /** Where the browser goes on by itself. */
  readonly refresh?: string
  /** Whether the page names the request, for whoever is asked for help. */
  readonly namesRequest?: boolean
}

/**
 * Answers with a page that runs no script and loads nothing: what it looks like is in the page, under a nonce. It holds no text of
 * an issuer.
 */
export function sendPage(exchange: Exchange, reply: FastifyReply, page: Page): FastifyReply {
  const nonce = randomBytes(16).toString('base64url')
  const body = html(page, nonce, exchange.requestId)
  exchange.bytesOut = Buffer.byteLength(body)
  reply.headers({
    'content-type': 'text/html; charset=utf-8',
    'cache-control': 'no-store',
    'content-security-policy': `default-src 'none'; style-src 'nonce-${nonce}'; form-action ${page.form ? "'self'" : "'none'"}; base-uri 'none'; frame-ancestors 'none'`,
    'x-content-type-options': 'nosniff',
    'x-frame-options': 'DENY',
    // The address of a callback holds a code. But browsers would send the form of a sign-out without saying where it is from.
    'referrer-policy': page.form ? 'same-origin' : 'no-referrer',
    'x-request-id': exchange.requestId
  })
  if (page.refresh !== undefined) reply.header('refresh', `0; url=${page.refresh}`)
  return reply.code(page.status).send(body)
}

const style = `
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; background: light-dark(#f4f5f7, #15171c); color: light-dark(#1c2128, #e6e8ec) }
main { box-sizing: border-box; width: min(28rem, calc(100vw - 2rem)); padding: 2rem; border-radius: .75rem; background: light-dark(#fff, #1f232b); box-shadow: 0 1px 3px #0003 }
h1 { margin: 0 0 .5rem; font-size: 1.25rem; line-height: 1.3 }
p { margin: 0 0 1rem }
a { color: light-dark(#0b57d0, #8ab4f8) }
button { font: inherit; padding: .5rem 1.25rem; border: 0; border-radius: .375rem; background: light-dark(#0b57d0, #8ab4f8); color: light-dark(#fff, #10131a); cursor: pointer }
small { display: block; margin-top: 1.5rem; color: light-dark(#5b6472, #9aa3b2); overflow-wrap: anywhere }
`

function html({ title, text, link, form, namesRequest }: Page, nonce: string, requestId: string): string {
  const parts = [`<h1>${escaped(title)}</h1>`, `<p>${escaped(text)}</p>`]
  if (form !== undefined) {
    parts.push(
      `<form method="post" action="${escaped(form.path)}"><input type="hidden" name="token" value="${escaped(form.token)}"><button>${escaped(form.text)}</button></form>`
    )
  }
  if (link !== undefined) parts.push(`<p><a href="${escaped(link.url)}">${escaped(link.text)}</a></p>`)
  if (namesRequest) parts.push(`<small>Request ${escaped(requestId)}</small>`)
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
