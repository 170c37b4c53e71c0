import { hash } from 'node:crypto'

/** SHA-256 in hexadecimal: in base64url one of 64 would begin like an option of a command. */
const shape = /^[0-9a-f]{64}$/

/**
 * What a session is called by whoever looks after sessions and may not use them: a hash of its id. No id comes back out of it,
 * because ids are 32 random bytes, and as a cookie it is worth nothing.
 */
export function handleOf(id: string): string {
  return hash('sha256', id, 'hex')
}

export function isHandle(text: string): boolean {
  return shape.test(text)
}
