import { Refusal } from '../errors.ts'

/** The reasons for which a token that was presented is refused with 401. */
export type TokenReason = 'token.expired' | 'token.invalid' | 'token.audience' | 'token.issuer'

/** RFC 6750 section 3. The descriptions are ours and fixed: text of a library would tell an attacker how far he came. */
function invalidToken(description: string): Readonly<Record<string, string>> {
  return Object.freeze({
    'www-authenticate': `Bearer realm="sallyport", error="invalid_token", error_description="${description}"`
  })
}

const challenges: Readonly<Record<TokenReason, Readonly<Record<string, string>>>> = {
  'token.expired': invalidToken('The token has expired'),
  'token.invalid': invalidToken('The token is not valid'),
  'token.audience': invalidToken('The token is for another audience'),
  'token.issuer': invalidToken('The token is from another issuer')
}

/** A refused token, with its challenge. `detail` is for the log and is never sent. */
export function refuseToken(reason: TokenReason, detail: string, cause?: unknown): Refusal {
  return new Refusal(reason, { headers: challenges[reason], detail, cause })
}

/** Tokens cannot be judged for want of keys. `wait`: milliseconds until it is worth asking again. */
export function keysUnavailable(detail: string, wait: number): Refusal {
  const seconds = Math.max(1, Math.ceil(wait / 1000))
  return new Refusal('key.unavailable', { headers: { 'retry-after': String(seconds) }, detail })
}
