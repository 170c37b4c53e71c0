import type { Identity } from '../identity.ts'
import type { JsonObject } from '../json/strict-json.ts'
import { notAnAccessToken } from './access-token.ts'
import type { TokenReason } from './challenge.ts'
import type { IssuerSettings } from './keys.ts'

export interface ClaimFault {
  reason: TokenReason
  detail: string
}

/** What the claims of a token must be (RFC 9068 section 4, RFC 7519 section 4.1). `now`: ms since the epoch. */
export function findClaimFault(
  header: JsonObject,
  claims: JsonObject,
  settings: IssuerSettings,
  now: number
): ClaimFault | undefined {
  const { iss, aud, exp, nbf, iat, sub } = claims
  if (iss !== settings.issuer) return { reason: 'token.issuer', detail: 'iss' }
  if (!namesAudience(aud, settings.audience)) return { reason: 'token.audience', detail: 'aud' }
  // 1e999 parses as Infinity: a token for ever.
  if (!Number.isFinite(exp)) return { reason: 'token.invalid', detail: 'exp is missing or not a number' }
  if (now >= (exp as number) * 1000 + settings.clockTolerance)
    return { reason: 'token.expired', detail: 'exp' }
  if (!hasBegun(nbf, now + settings.clockTolerance)) return { reason: 'token.invalid', detail: 'nbf' }
  if (!hasBegun(iat, now + settings.clockTolerance)) return { reason: 'token.invalid', detail: 'iat' }
  if (typeof sub !== 'string' || sub === '') return { reason: 'token.invalid', detail: 'sub is missing' }
  const other = notAnAccessToken(header, claims)
  return other === undefined
    ? undefined
    : { reason: 'token.invalid', detail: `not an access token: ${other}` }
}

export function namesAudience(aud: unknown, allowed: readonly string[]): boolean {
  if (typeof aud === 'string') return allowed.includes(aud)
  return Array.isArray(aud) && aud.every(isString) && aud.some(one => allowed.includes(one))
}

export function hasBegun(seconds: unknown, latest: number): boolean {
  if (seconds === undefined) return true
  return Number.isFinite(seconds) && (seconds as number) * 1000 <= latest
}

/** Makes identities of the claims of one issuer; the dotted paths are taken apart once. */
export function identityReader(settings: IssuerSettings): (claims: JsonObject) => Identity {
  const scopes = claimPath(settings.claims.scopes)
  const groups = claimPath(settings.claims.groups)
  const roles = claimPath(settings.claims.roles)
  const email = claimPath(settings.claims.email)

  return function readIdentity(claims) {
    const address = email(claims)
    return Object.freeze({
      kind: 'jwt',
      subject: claims.sub as string,
      issuer: settings.issuer,
      email: typeof address === 'string' && address !== '' ? address : null,
      scopes: words(scopes(claims)),
      groups: names(groups(claims)),
      roles: names(roles(claims)),
      claims: freezeDeep(claims),
      expiresAt: (claims.exp as number) * 1000
    })
  }
}

/** A claim of exactly that name comes first: names that are URLs (Auth0) have dots of their own. */
function claimPath(path: string): (claims: JsonObject) => unknown {
  const steps = path.split('.')
  return function readClaim(claims) {
    if (Object.hasOwn(claims, path)) return claims[path]
    let value: unknown = claims
    for (const step of steps) {
      if (typeof value !== 'object' || value === null || !Object.hasOwn(value, step)) return undefined
      value = (value as JsonObject)[step]
    }
    return value
  }
}

/** RFC 6749 section 3.3: scopes are separated by spaces; some issuers send a list. */
function words(value: unknown): readonly string[] {
  if (typeof value === 'string') return Object.freeze(value.split(' ').filter(isNotEmpty))
  return names(value)
}

function names(value: unknown): readonly string[] {
  if (typeof value === 'string' && value !== '') return Object.freeze([value])
  return Object.freeze(Array.isArray(value) ? value.filter(isString).filter(isNotEmpty) : [])
}

function isString(value: unknown): value is string {
  return typeof value === 'string'
}

function isNotEmpty(value: string): boolean {
  return value !== ''
}

/** The depth is bounded by the strict parser. */
function freezeDeep<Value extends object>(value: Value): Value {
  for (const inner of Object.values(value)) if (typeof inner === 'object' && inner !== null) freezeDeep(inner)
  return Object.freeze(value)
}
