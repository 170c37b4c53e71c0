import type { Identity } from '../identity.ts'
import { type JsonObject, parseStrictObject } from '../json/strict-json.ts'
import type { TokenReason } from './challenge.ts'
import { type ClaimFault, hasBegun, identityReader, namesAudience } from './claims.ts'
import type { IssuerSettings } from './keys.ts'

/** What an issuer says of a token, judged. `until`: first millisecond (since the epoch) at which it counts no more. */
export type Verdict =
  | { readonly identity: Identity; readonly until: number }
  | { readonly reason: TokenReason; readonly detail: string }
  /** Nothing that can be judged. */
  | { readonly unreadable: true; readonly until: number }

/** Milliseconds that what could not be judged is not asked for again. */
const unreadableFor = 1000

/**
 * Makes a judge of the answers of one issuer (RFC 7662, section 2.2). Signed answers (RFC 9701) are none of these: nobody has
 * asked for them.
 */
export function answerReader(settings: IssuerSettings): (text: string, now: number) => Verdict {
  const readIdentity = identityReader(settings)

  return function readAnswer(text, now) {
    const claims = parseStrictObject(text)
    // `"true"` is not true, and a list says nothing of one token.
    if (typeof claims?.active !== 'boolean') return { unreadable: true, until: now + unreadableFor }
    if (!claims.active) return { reason: 'token.invalid', detail: 'not active' }
    const fault = findFault(claims, settings, now)
    if (fault !== undefined) return fault
    const { exp, sub = claims.client_id } = claims
    const expiresAt = exp === undefined ? null : (exp as number) * 1000
    const identity: Identity = Object.freeze({
      ...readIdentity(claims),
      kind: 'introspection',
      subject: sub as string,
      expiresAt
    })
    const until = expiresAt === null ? Number.POSITIVE_INFINITY : expiresAt + settings.clockTolerance
    return { identity, until }
  }
}

/**
 * The issuer says that the token is good; whether it is good for this gateway is not for the issuer to know. `iss` and the times
 * may be left out. `aud` may not: without it a token for any other API of the issuer would open this one.
 */
function findFault(claims: JsonObject, settings: IssuerSettings, now: number): ClaimFault | undefined {
  const { iss, aud, exp, nbf, iat } = claims
  const { clockTolerance } = settings
  if (iss !== undefined && iss !== settings.issuer) return { reason: 'token.issuer', detail: 'iss' }
  if (!namesAudience(aud, settings.audience)) return { reason: 'token.audience', detail: 'aud' }
  if (exp !== undefined && !Number.isFinite(exp)) return { reason: 'token.invalid', detail: 'exp' }
  if (exp !== undefined && now >= (exp as number) * 1000 + clockTolerance)
    return { reason: 'token.expired', detail: 'exp' }
  if (!hasBegun(nbf, now + clockTolerance)) return { reason: 'token.invalid', detail: 'nbf' }
  if (!hasBegun(iat, now + clockTolerance)) return { reason: 'token.invalid', detail: 'iat' }
  const { sub = claims.client_id } = claims
  if (typeof sub !== 'string' || sub === '')
    return { reason: 'token.invalid', detail: 'neither sub nor client_id' }
  const other = notForBearers(claims)
  return other === undefined ? undefined : { reason: 'token.invalid', detail: other }
}

/** Issuers answer for refresh tokens too, and for tokens that are worth nothing without a key that the gateway does not see. */
function notForBearers({ token_type, token_use, typ, cnf }: JsonObject): string | undefined {
  if (token_type !== undefined && !isWord(token_type, 'bearer')) return 'token_type'
  if (token_use !== undefined && !isWord(token_use, 'access') && !isWord(token_use, 'access_token'))
    return 'token_use'
  if (typ !== undefined && !isWord(typ, 'bearer')) return 'typ'
  return cnf === undefined ? undefined : 'bound to a key'
}

function isWord(value: unknown, word: string): boolean {
  return typeof value === 'string' && value.toLowerCase() === word
}
