import type { PendingSignIn, SessionRecord } from './contract.ts'

type Fields = Readonly<Record<string, unknown>>

const texts = ['issuerName', 'issuer', 'clientId', 'subject', 'host', 'idToken'] as const satisfies Keys
const times = ['refreshAt', 'staleAt', 'createdAt', 'endsAt', 'idle'] as const satisfies Keys
const signInTexts = ['issuerName', 'state', 'nonce', 'verifier', 'origin', 'callback', 'returnTo'] as const
type Keys = readonly (keyof SessionRecord)[]

/** A session as Redis keeps it: `endsAt idle json`, so that scripts find its times without reading it. */
export function textOf(record: SessionRecord): string {
  return `${record.endsAt} ${record.idle} ${JSON.stringify(record)}`
}

/**
 * Null for what is no session: others can write to a Redis, and other versions of the gateway have. The person signs in again, where
 * an error would come back with each request for as long as the cookie does.
 */
export function recordOf(text: string): SessionRecord | null {
  const found = fieldsOf(text.slice(text.indexOf(' ', text.indexOf(' ') + 1) + 1))
  return found !== null && isRecord(found) ? found : null
}

/** Null for what is no sign-in. */
export function signInOf(text: string): PendingSignIn | null {
  const found = fieldsOf(text)
  const isSignIn = found !== null && signInTexts.every(name => typeof found[name] === 'string')
  return isSignIn ? (found as unknown as PendingSignIn) : null
}

function isRecord(found: object): found is SessionRecord {
  const fields = found as Fields
  return (
    texts.every(name => typeof fields[name] === 'string') &&
    times.every(name => Number.isFinite(fields[name])) &&
    isTextOrNull(fields.sid) &&
    isTextOrNull(fields.refreshToken) &&
    isObject(fields.claims) &&
    (fields.userInfo === undefined || isObject(fields.userInfo))
  )
}

function fieldsOf(json: string): Fields | null {
  try {
    const value: unknown = JSON.parse(json)
    return isObject(value) ? (value as Fields) : null
  } catch {
    return null
  }
}

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isTextOrNull(value: unknown): boolean {
  return value === null || typeof value === 'string'
}
