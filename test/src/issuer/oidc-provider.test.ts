import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import Provider from 'oidc-provider'
import t from 'tap'
import type { IssuerSettings } from '../../../src/issuer/keys.ts'
import { makeKey, reasonOf, trust } from '../../fixtures/issuer.ts'

const audience = 'https://orders.example.com'

/** A real OpenID Provider on a real socket, with one client that may ask for tokens in its own name. */
async function startProvider(algorithm: 'RS256' | 'ES256') {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const key = makeKey(algorithm, 'signing')
  const provider = new Provider(issuer, {
    jwks: {
      keys: [{ ...key.privateKey.export({ format: 'jwk' }), kid: 'signing', use: 'sig', alg: algorithm }]
    },
    clients: [
      {
        client_id: 'app',
        client_secret: 'a secret of the tests',
        grant_types: ['client_credentials'],
        redirect_uris: [],
        response_types: [],
        id_token_signed_response_alg: algorithm
      }
    ],
    scopes: ['orders:read', 'orders:write'],
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: () => ({
          scope: 'orders:read orders:write',
          audience,
          accessTokenFormat: 'jwt',
          accessTokenTTL: 300,
          jwt: { sign: { alg: algorithm } }
        })
      }
    }
  })
  server.on('request', provider.callback())
  return issuer
}

async function requestToken(issuer: string): Promise<string> {
  const response = await fetch(`${issuer}/token`, {
    method: 'POST',
    headers: { authorization: `Basic ${Buffer.from('app:a+secret+of+the+tests').toString('base64')}` },
    body: new URLSearchParams({ grant_type: 'client_credentials', scope: 'orders:read', resource: audience })
  })
  const answer = (await response.json()) as { access_token: string }
  return answer.access_token
}

function settingsFor(issuer: string, aud: string): IssuerSettings {
  return {
    issuer,
    audience: [aud],
    algorithms: ['RS256', 'ES256'],
    clockTolerance: 30_000,
    claims: { scopes: 'scope', groups: 'groups', roles: 'roles', email: 'email' }
  }
}

for (const algorithm of ['RS256', 'ES256'] as const) {
  t.test(`an access token of oidc-provider, signed with ${algorithm}, is verified by discovery`, async t => {
    const issuer = await startProvider(algorithm)
    const token = await requestToken(issuer)
    const { verifier } = trust(t, settingsFor(issuer, audience))
    t.match(await verifier.verify(token), {
      kind: 'jwt',
      subject: 'app',
      issuer,
      scopes: ['orders:read'],
      claims: { aud: audience, client_id: 'app' }
    })
    t.equal(await reasonOf(trust(t, settingsFor(issuer, 'another-api')).verifier, token), 'token.audience')
  })
}
