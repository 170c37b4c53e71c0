import { decodeJwt, decodeProtectedHeader, type JWTPayload, jwtVerify } from 'jose'
import type { SessionStore } from './contract.ts'
import type { SessionIssuer } from './options.ts'

const logoutEvent = 'http://schemas.openid.net/event/backchannel-logout'
const maxLength = 16 * 1024
/** A token that is older is refused; for as long a token is remembered, so that it is taken once. */
const maxAge = 600

export interface Logout {
  readonly issuer: SessionIssuer
  readonly sid: string | null
  readonly subject: string | null
}

/** A logout token is refused. The message says why, for the log. */
export class LogoutRefused extends Error {
  override readonly name = 'LogoutRefused'
}

/**
 * Judges a logout token (OpenID Connect Back-Channel Logout 1.0, 2.4 and 2.6): signed by an issuer that people sign in with, for
 * the gateway as its client, of the right kind, recent, never seen before. Rejects with `LogoutRefused`, or with the `Refusal`
 * `key.unavailable` while there are no keys.
 */
export async function readLogoutToken(
  token: string,
  issuers: Iterable<SessionIssuer>,
  store: SessionStore
): Promise<Logout> {
  const issuer = token.length > maxLength ? undefined : issuerOf(token, issuers)
  if (issuer === undefined) throw new LogoutRefused('no token of an issuer that people sign in with')
  const payload = await verify(token, issuer)
  const { events, sid, sub, nonce, jti } = payload
  if (
    typeof events !== 'object' ||
    events === null ||
    !isObject((events as Record<string, unknown>)[logoutEvent])
  )
    throw new LogoutRefused('events')
  // 2.4: so that no ID token passes for one.
  if (nonce !== undefined) throw new LogoutRefused('nonce')
  if (sid === undefined && sub === undefined) throw new LogoutRefused('neither sid nor sub')
  if (!isNameOrAbsent(sid) || !isNameOrAbsent(sub) || typeof jti !== 'string' || jti === '')
    throw new LogoutRefused('sid, sub or jti is no text')
  const key = JSON.stringify(['logout', issuer.client.settings.issuer, jti])
  const first = await store.lock(key, 2 * maxAge * 1000)
  if (first === null) throw new LogoutRefused('jti was used already')
  return { issuer, sid: sid ?? null, subject: sub ?? null }
}

async function verify(token: string, { client, verifier }: SessionIssuer): Promise<JWTPayload> {
  const { issuer, clientId, algorithms, clockTolerance } = client.settings
  const { kid, alg, typ } = decodeProtectedHeader(token)
  if (typeof alg !== 'string' || !algorithms.includes(alg)) throw new LogoutRefused('alg')
  // Issuers older than the type say JWT, or nothing. What else a token is for, the claims tell.
  if (typ !== undefined && !/^(?:application\/)?(?:logout\+)?jwt$/i.test(String(typ)))
    throw new LogoutRefused('typ')
  const key = await verifier.publicKey(kid, alg)
  if (key === null) throw new LogoutRefused('no key of the issuer fits')
  try {
    const { payload } = await jwtVerify(token, key, {
      algorithms: [alg],
      issuer,
      audience: clientId,
      requiredClaims: ['iat', 'jti', 'events'],
      maxTokenAge: maxAge,
      clockTolerance: Math.round(clockTolerance / 1000),
      currentDate: new Date(Date.now())
    })
    return payload
  } catch (error) {
    throw new LogoutRefused(String((error as { code?: unknown }).code ?? 'not a token'), { cause: error })
  }
}

function issuerOf(token: string, issuers: Iterable<SessionIssuer>): SessionIssuer | undefined {
  try {
    const { iss, aud } = decodeJwt(token)
    decodeProtectedHeader(token)
    const known = [...issuers].filter(one => one.client.settings.issuer === iss)
    // It may know the gateway as several clients. Whom the token is for is verified with it.
    return known.find(one => [aud].flat().includes(one.client.settings.clientId)) ?? known[0]
  } catch {
    return undefined
  }
}

function isNameOrAbsent(value: unknown): value is string | undefined {
  return value === undefined || (typeof value === 'string' && value !== '')
}

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
