import { hash } from 'node:crypto'

/** The length of SHA-256 in base64url. */
const shape = /^[A-Za-z0-9_-]{43}$/

/**
 * What a session is called by whoever looks after sessions and may not use them: a hash of its id. No id comes back out of it,
 * because ids are 32 random bytes, and as a cookie it is worth nothing.
 */
export function handleOf(id: string): string {
  return hash('sha256', id, 'base64url')
}

export function isHandle(text: string): boolean {
  return shape.test(text)
}
