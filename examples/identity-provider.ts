import { generateKeyPairSync } from 'node:crypto'
import { createServer, type Server } from 'node:http'
import { listenOnLoopback } from './listen.ts'

/** The API that access tokens are for: their `aud`, and `audience` in routes/gateway.yaml. */
const api = 'https://orders.example.com'
const client = { id: 'demo-app', secret: 'demo-secret' }
const lifetime = 3600

export interface IdentityProvider {
  server: Server
  /** Its `iss`. */
  issuer: string
  /** An access token of the demo's client with this scope; good for an hour. */
  token(scope: string): Promise<string>
}

/**
 * A real OpenID provider. Its one client asks for tokens in its own name (client credentials) and says for which API
 * (resource indicators, RFC 8707), so that access tokens are signed JWTs with `aud` and `scope`.
 */
export async function startIdentityProvider(port: number): Promise<IdentityProvider> {
  const server = createServer()
  const issuer = await listenOnLoopback(server, port, 'identity provider')
  const provider = await quietly(() => createProvider(issuer))
  server.on('request', provider.callback())
  return { server, issuer, token: scope => requestToken(issuer, scope) }
}

async function createProvider(issuer: string) {
  const { default: Provider } = await import('oidc-provider')
  return new Provider(issuer, {
    jwks: { keys: [signingKey()] },
    clients: [
      {
        client_id: client.id,
        client_secret: client.secret,
        grant_types: ['client_credentials'],
        redirect_uris: [],
        response_types: [],
        id_token_signed_response_alg: 'ES256'
      }
    ],
    ttl: { ClientCredentials: lifetime },
    scopes: ['orders:read', 'orders:write'],
    cookies: { keys: ['only used by sign-in, which the demo does not have'] },
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: () => ({
          scope: 'orders:read orders:write',
          audience: api,
          accessTokenFormat: 'jwt',
          accessTokenTTL: lifetime,
          jwt: { sign: { alg: 'ES256' } }
        })
      }
    }
  })
}

/**
 * The package warns that its in-memory store is for development only, which a demo is, and of every Node that does not call
 * itself LTS, as 26 does not yet: nothing that a reader of the demo can act on.
 */
async function quietly<Result>(make: () => Promise<Result>): Promise<Result> {
  const { warn } = console
  console.warn = () => {}
  try {
    return await make()
  } finally {
    console.warn = warn
  }
}

/** Made anew at each start: a demo needs no secret that lasts. */
function signingKey(): object {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return { ...privateKey.export({ format: 'jwk' }), kid: 'demo', use: 'sig', alg: 'ES256' }
}

async function requestToken(issuer: string, scope: string): Promise<string> {
  const credentials = Buffer.from(`${client.id}:${client.secret}`).toString('base64')
  const response = await fetch(`${issuer}/token`, {
    method: 'POST',
    headers: { authorization: `Basic ${credentials}` },
    body: new URLSearchParams({ grant_type: 'client_credentials', scope, resource: api })
  })
  const answer = (await response.json()) as { access_token?: string }
  if (answer.access_token === undefined) {
    throw new Error(`The identity provider gives no token: ${JSON.stringify(answer)}`)
  }
  return answer.access_token
}
