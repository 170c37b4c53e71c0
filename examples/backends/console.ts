import type { IncomingHttpHeaders } from 'node:http'
import Fastify, { type FastifyInstance } from 'fastify'
import { escaped, htmlPage, pageHeaders } from '../html.ts'

/**
 * Pages for people. They know nothing of sign-in, cookies or tokens either: who is there is what the gateway says in
 * `X-Forwarded-User`, `-Email` and `-Groups`, and the links to sign out are the gateway's and the provider's.
 */
export function consoleBackend(issuer: string): FastifyInstance {
  const app = Fastify()

  app.get('/console', function showConsole({ headers }, reply) {
    return reply
      .headers(pageHeaders)
      .send(
        htmlPage(
          `Hello, ${said(headers, 'x-forwarded-user')}`,
          '<p>The gateway has told this page who you are. The page itself has seen neither your password nor a token.</p>',
          `<dl><dt>Email</dt><dd>${escaped(said(headers, 'x-forwarded-email'))}</dd>`,
          `<dt>Groups</dt><dd>${escaped(said(headers, 'x-forwarded-groups'))}</dd></dl>`,
          '<p><a href="/console/admin">For admins only</a></p>',
          '<p><a href="/oauth2/sign-out">Sign out</a></p>',
          `<p class="quiet"><a href="${escaped(issuer)}/session/end">Sign out at the identity provider</a>: it tells the gateway (back-channel logout), and this page asks you to sign in again.</p>`
        )
      )
  })

  app.get('/console/admin', function showAdmin(_request, reply) {
    return reply
      .headers(pageHeaders)
      .send(
        htmlPage(
          'For admins only',
          '<p>Your groups have let you in.</p>',
          '<p><a href="/console">Back</a></p>'
        )
      )
  })

  return app
}

function said(headers: IncomingHttpHeaders, name: string): string {
  return String(headers[name] ?? 'nobody')
}
