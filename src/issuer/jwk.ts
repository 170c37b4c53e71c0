import { createPublicKey, type JsonWebKeyInput, type KeyObject } from 'node:crypto'

/** A key of an issuer that can be used, before a verifier is made for it. */
export interface UsableKey {
  readonly kid: string | undefined
  /** SubjectPublicKeyInfo. */
  readonly pem: string
  /** The pinned algorithms that fit the key. Never empty. */
  readonly algorithms: readonly KeyAlgorithm[]
}

export type KeyAlgorithm = (typeof rsaAlgorithms)[number] | 'ES256' | 'ES384' | 'ES512' | 'EdDSA'

const rsaAlgorithms = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'] as const

/** Names as node:crypto gives them. ES256K is left out: fast-jwt takes secp256k1 for ES256. */
const curveAlgorithms: Readonly<Record<string, readonly KeyAlgorithm[]>> = {
  prime256v1: ['ES256'],
  secp384r1: ['ES384'],
  secp521r1: ['ES512']
}

/**
 * The key of one JWK, or why it is not used: another `use` or `key_ops` than verifying, symmetric or private key
 * material, RSA below 2048 bits, or no pinned algorithm that fits key type, curve and `alg`.
 */
export function readJwk(jwk: unknown, pinned: readonly string[]): UsableKey | string {
  if (typeof jwk !== 'object' || jwk === null) return 'not an object'
  const { kty, kid, use, alg, key_ops: operations, d } = jwk as Record<string, unknown>
  // A set that holds a secret has told it to everyone: whatever it verifies, anyone may have signed.
  if (kty === 'oct' || d !== undefined) return 'holds secret key material'
  if (use !== undefined && use !== 'sig') return 'use is not sig'
  if (operations !== undefined && !(Array.isArray(operations) && operations.includes('verify'))) {
    return 'key_ops does not include verify'
  }
  let key: KeyObject
  try {
    key = createPublicKey({ key: jwk as JsonWebKeyInput['key'], format: 'jwk' })
  } catch {
    return 'not a key that can be read'
  }
  const weakness = findWeakness(key)
  if (weakness !== undefined) return weakness
  const algorithms = algorithmsOf(key).filter(
    fitting => pinned.includes(fitting) && (alg === undefined || alg === fitting)
  )
  if (algorithms.length === 0) return 'no pinned algorithm fits'
  const pem = key.export({ type: 'spki', format: 'pem' }) as string
  return { kid: typeof kid === 'string' ? kid : undefined, pem, algorithms }
}

/** RFC 7518 section 3.3: at least 2048 bits. With the exponent 1 every signature is its own message. */
function findWeakness(key: KeyObject): string | undefined {
  if (key.asymmetricKeyType !== 'rsa') return undefined
  const { modulusLength = 0, publicExponent = 0n } = key.asymmetricKeyDetails ?? {}
  if (modulusLength < 2048) return 'RSA with less than 2048 bits'
  return publicExponent < 3n ? 'RSA with a public exponent below 3' : undefined
}

function algorithmsOf(key: KeyObject): readonly KeyAlgorithm[] {
  switch (key.asymmetricKeyType) {
    case 'rsa':
      return rsaAlgorithms
    case 'ec':
      return curveAlgorithms[key.asymmetricKeyDetails?.namedCurve ?? ''] ?? []
    case 'ed25519':
    case 'ed448':
      return ['EdDSA']
    default:
      return []
  }
}
