import { generateKeyPairSync } from 'node:crypto'
import { createServer, type Server } from 'node:http'
import type Provider from 'oidc-provider'
import { listenOnLoopback } from './listen.ts'
import { personOf } from './people.ts'
import { answerSignIn, errorPage, isSignIn, signedOutPage, signInUrl, signOutPage } from './sign-in-pages.ts'

/** The API that access tokens are for: their `aud`, and `audience` in routes/gateway.yaml. */
const api = 'https://orders.example.com'
const client = { id: 'demo-app', secret: 'demo-secret' }
/** The client of examples/console.yaml. */
const consoleClient = 'demo-console'
const lifetime = 3600

export interface IdentityProvider {
  server: Server
  /** Its `iss`. */
  issuer: string
  /** An access token of the demo's client with this scope; good for an hour. */
  token(scope: string): Promise<string>
  /** From now on people can sign in for the gateway at these origins, which is a client with this secret. */
  admit(origins: readonly string[], secret: string): Promise<void>
}

/**
 * A real OpenID provider. One client asks for tokens in its own name (client credentials) and says for which API (resource
 * indicators, RFC 8707), so that access tokens are signed JWTs with `aud` and `scope`. The other one is the gateway: people sign in
 * for it, and it hears by back-channel when they sign out here.
 */
export async function startIdentityProvider(port: number): Promise<IdentityProvider> {
  const server = createServer()
  const issuer = await listenOnLoopback(server, port, 'identity provider')
  const key = signingKey()
  let provider = await quietly(() => createProvider(issuer, key, []))
  let answer = provider.callback()
  server.on('request', (request, response) => {
    if (!isSignIn(request)) return answer(request, response)
    return answerSignIn(provider, request, response).catch(() => {
      response.writeHead(400).end('This sign-in is over. Go back to where you wanted to sign in.')
    })
  })

  async function admit(origins: readonly string[], secret: string): Promise<void> {
    provider = await quietly(() => createProvider(issuer, key, [gatewayClient(origins, secret)]))
    answer = provider.callback()
  }
  return { server, issuer, token: scope => requestToken(issuer, scope), admit }
}

function gatewayClient(origins: readonly string[], secret: string): object {
  return {
    client_id: consoleClient,
    client_secret: secret,
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    redirect_uris: origins.map(origin => `${origin}/oauth2/callback`),
    post_logout_redirect_uris: origins.map(origin => `${origin}/oauth2/sign-out`),
    backchannel_logout_uri: `${origins[0]}/oauth2/backchannel-logout`,
    backchannel_logout_session_required: true,
    id_token_signed_response_alg: 'ES256'
  }
}

async function createProvider(issuer: string, key: object, more: object[]): Promise<Provider> {
  const { default: Provider } = await import('oidc-provider')
  return new Provider(issuer, {
    jwks: { keys: [key] },
    clients: [
      {
        client_id: client.id,
        client_secret: client.secret,
        grant_types: ['client_credentials'],
        redirect_uris: [],
        response_types: [],
        id_token_signed_response_alg: 'ES256'
      },
      ...more
    ],
    ttl: {
      AccessToken: 600,
      AuthorizationCode: 60,
      ClientCredentials: lifetime,
      Grant: 86_400,
      IdToken: lifetime,
      Interaction: 600,
      RefreshToken: 86_400,
      Session: 86_400
    },
    scopes: ['openid', 'profile', 'email', 'groups', 'orders:read', 'orders:write'],
    claims: { openid: ['sub'], profile: ['name'], email: ['email'], groups: ['groups'] },
    findAccount: (_ctx: unknown, user: string) => ({
      accountId: user,
      claims: () => ({
        sub: user,
        name: personOf(user)?.name,
        email: `${user}@example.com`,
        groups: personOf(user)?.groups
      })
    }),
    loadExistingGrant: grantAll,
    pkce: { required: () => true },
    rotateRefreshToken: true,
    issueRefreshToken: () => true,
    renderError: errorPage,
    interactions: { url: signInUrl },
    cookies: { keys: ['signs cookies of a demo, which are worth nothing'] },
    // Its own refuses to send a logout token to this machine.
    fetch: (to: string, { dispatcher: _, ...options }: RequestInit & { dispatcher?: unknown }) =>
      fetch(to, options),
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      backchannelLogout: { enabled: true },
      rpInitiatedLogout: { enabled: true, logoutSource: signOutPage, postLogoutSuccessSource: signedOutPage },
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

interface SignedIn {
  oidc: {
    provider: Provider
    client: { clientId: string }
    session: { accountId: string }
    params: { scope: string }
  }
}

/** The gateway is the demo's own: nobody is asked whether it may know who they are. */
async function grantAll({ oidc: { provider, client, session, params } }: SignedIn): Promise<unknown> {
  const grant = new provider.Grant({ accountId: session.accountId, clientId: client.clientId })
  grant.addOIDCScope(params.scope)
  await grant.save()
  return grant
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
