import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { type JWTPayload, SignJWT } from 'jose'

/** An issuer with one RSA key, for every peer in the form that it takes keys in. */
export interface Credentials {
  readonly issuer: string
  readonly audience: string
  readonly jwksUrl: string
  /** The key set as JSON text. */
  readonly jwks: string
  readonly publicPem: string
  /** File that holds `publicPem`. */
  readonly publicPemFile: string
  /** Signs an access token that is good for two hours, but for what is overridden. */
  sign(subject: string, overrides?: JWTPayload): Promise<string>
  close(): void
}

const kid = 'bench-1'
const audience = 'bench-api'

/** Makes a key and serves it as an issuer would: discovery document and key set, on a free port of this machine. */
export async function createCredentials(folder: string): Promise<Credentials> {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const jwk = { ...publicKey.export({ format: 'jwk' }), kid, use: 'sig', alg: 'RS256' }
  const jwks = JSON.stringify({ keys: [jwk] })
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const jwksUrl = `${issuer}/keys`
  serveDocuments(server, issuer, jwksUrl, jwks)

  mkdirSync(folder, { recursive: true })
  const publicPem = publicKey.export({ type: 'spki', format: 'pem' }) as string
  const publicPemFile = join(folder, 'issuer.pem')
  writeFileSync(publicPemFile, publicPem)

  function sign(subject: string, overrides: JWTPayload = {}): Promise<string> {
    const now = Math.floor(Date.now() / 1000)
    return new SignJWT({
      iss: issuer,
      aud: audience,
      sub: subject,
      client_id: 'bench',
      scope: 'orders:read orders:write',
      jti: crypto.randomUUID(),
      iat: now,
      exp: now + 7200,
      ...overrides
    })
      .setProtectedHeader({ alg: 'RS256', typ: 'at+jwt', kid })
      .sign(privateKey)
  }
  return {
    issuer,
    audience,
    jwksUrl,
    jwks,
    publicPem,
    publicPemFile,
    sign,
    close: () => server.close().closeAllConnections()
  }
}

function serveDocuments(server: Server, issuer: string, jwksUrl: string, jwks: string): void {
  const metadata = JSON.stringify({ issuer, jwks_uri: jwksUrl })
  server.on('request', (request, response) => {
    response.setHeader('content-type', 'application/json')
    if (request.url === '/keys') response.end(jwks)
    else if (request.url === '/.well-known/openid-configuration') response.end(metadata)
    else response.writeHead(404).end('{}')
  })
}
