import type { FastifyInstance } from 'fastify'
import type { JWK } from 'jose'

/** What the gateway keeps for itself of every host's paths. */
export const ownPaths = '/.well-known/sallyport/'

const jwksPath = `${ownPaths}jwks.json`

/** The public keys that upstreams verify `X-Sallyport-Identity` with, on the public listeners. */
export async function jwksRoutes(
  app: FastifyInstance,
  options: { jwks: () => { keys: readonly JWK[] } }
): Promise<void> {
  app.get(jwksPath, function keys(_request, reply) {
    // A key is published for longer before it signs, and after it has: docs/guide/verify-identity.md.
    return reply
      .type('application/jwk-set+json')
      .header('cache-control', 'public, max-age=300')
      .send(JSON.stringify(options.jwks()))
  })
}
