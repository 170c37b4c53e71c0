import { hash, randomBytes } from 'node:crypto'

const prefix = 'sp_'
/** 32 random bytes in base64url. */
const secretLength = 43

/** A new key: `sp_<id>_<secret>`. The id may be known to anybody, it says which entry of the file to compare with. */
export function makeKey(): { id: string; key: string } {
  // With a letter in front: YAML reads 12345e678901 as a number.
  const id = `k${randomBytes(6).toString('hex')}`
  return { id, key: `${prefix}${id}_${randomBytes(32).toString('base64url')}` }
}

/** The id in a text that has the form of a key; undefined for any other. */
export function idOfKey(key: string): string | undefined {
  if (!key.startsWith(prefix)) return undefined
  const end = key.indexOf('_', prefix.length)
  if (end <= prefix.length || key.length !== end + 1 + secretLength) return undefined
  return key.slice(prefix.length, end)
}

/**
 * SHA-256 of the whole key. A slow, salted hash is for secrets that people choose, because those can be guessed; nobody guesses
 * 256 random bits however fast the hash is, and no two keys are alike.
 */
export function digestOfKey(key: string): Buffer {
  return hash('sha256', key, 'buffer')
}
