import type { JsonObject } from '../json/strict-json.ts'

/** `typ` in the header of a token that may be an access token (RFC 9068 section 2.1, RFC 8725 section 3.11). */
const headerTypes: ReadonlySet<string> = new Set(['at+jwt', 'application/at+jwt', 'jwt', 'application/jwt'])
const typedAccessTokens: ReadonlySet<string> = new Set(['at+jwt', 'application/at+jwt'])

/** Claims that only ID tokens carry (OpenID Connect Core 3.1.3.6, 3.3.2.11; FAPI): hashes of what came beside them. */
const idTokenHashes = ['at_hash', 'c_hash', 's_hash'] as const

/**
 * Why a token is not an access token; undefined when it may be one.
 *
 * ID tokens, logout tokens and refresh tokens are signed with the same keys, so the signature does not tell. Taken in
 * this order:
 * 1. A header `typ` must be `at+jwt` or `JWT`; `logout+jwt`, `secevent+jwt`, `dpop+jwt` and the like are refused.
 * 2. `events` makes it a logout token or another security event (Back-Channel Logout 2.4, RFC 8417).
 * 3. A hash of a token or code makes it an ID token.
 * 4. Issuers that say what it is are believed: header `at+jwt`, Keycloak's claim `typ`, Cognito's claim `token_use`.
 * 5. Of those that do not say, `nonce` makes it an ID token (Keycloak up to 23 put it into access tokens too, but
 *    says `typ: Bearer`), and so does `auth_time` when neither scopes nor a client are named.
 * An issuer that marks its ID tokens in none of these ways still gives them another `aud` than the API's.
 */
export function notAnAccessToken(header: JsonObject, claims: JsonObject): string | undefined {
  const type =
    header.typ === undefined ? '' : typeof header.typ === 'string' ? header.typ.toLowerCase() : null
  if (type === null || (type !== '' && !headerTypes.has(type)) || header.typ === '')
    return 'typ in the header'
  if (claims.events !== undefined) return 'a logout token or security event'
  for (const name of idTokenHashes) if (claims[name] !== undefined) return 'an ID token'
  if (typedAccessTokens.has(type)) return undefined
  if (claims.token_use !== undefined) return claims.token_use === 'access' ? undefined : 'token_use'
  if (typeof claims.typ === 'string') {
    const said = claims.typ.toLowerCase()
    if (said === 'bearer' || said === 'dpop') return undefined
    if (said === 'id' || said === 'refresh' || said === 'offline' || said === 'logout')
      return 'typ in the claims'
  }
  if (claims.nonce !== undefined) return 'an ID token'
  const saysWhatFor = claims.scope !== undefined || claims.scp !== undefined || claims.client_id !== undefined
  return claims.auth_time !== undefined && !saysWhatFor ? 'an ID token' : undefined
}
