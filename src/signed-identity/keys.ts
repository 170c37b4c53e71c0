import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto'
import { calculateJwkThumbprint, exportJWK, type JWK } from 'jose'

/** A key of the gateway's own. `kid` is its thumbprint (RFC 7638), the same in every replica. */
export interface SigningKey {
  readonly kid: string
  readonly privatePem: string
  readonly publicPem: string
  /** What is published: the public half. */
  readonly jwk: JWK
}

/** Whatever stands in one: a block that is passed over would be a key that nobody publishes. */
const pemBlock = /-----BEGIN [^-]*-----.*?(?:-----END [^-]*-----|$)/gs
/** `openssl ecparam -genkey` writes the name of the curve before the key, which says it too. */
const parameters = '-----BEGIN EC PARAMETERS-----'

function pemBlocks(text: string): string[] {
  return (text.match(pemBlock) ?? []).filter(block => !block.startsWith(parameters))
}

/**
 * The private keys in a PEM text: the first one signs, the others are only published. Who rotates keys adds the new one behind
 * the old one, and puts it first when every backend has had time to fetch it.
 * Throws with a cause that holds nothing of the text.
 */
export async function readSigningKeys(text: string): Promise<[SigningKey, ...SigningKey[]]> {
  const [first, ...others] = await Promise.all(pemBlocks(text).map(readKey))
  if (first === undefined) throw new Error('holds no private key in PEM')
  return [first, ...others]
}

/** What is wrong with the keys in a PEM text; null when nothing is. */
export function signingKeyFault(text: string): string | null {
  const blocks = pemBlocks(text)
  if (blocks.length === 0) return 'holds no private key in PEM'
  try {
    for (const pem of blocks) parse(pem)
    return null
  } catch (error) {
    return (error as Error).message
  }
}

async function readKey(pem: string): Promise<SigningKey> {
  const key = parse(pem)
  const published = createPublicKey(key)
  const jwk = await exportJWK(published)
  const kid = await calculateJwkThumbprint(jwk)
  return {
    kid,
    privatePem: key.export({ type: 'pkcs8', format: 'pem' }) as string,
    publicPem: published.export({ type: 'spki', format: 'pem' }) as string,
    jwk: { ...jwk, kid, alg: 'ES256', use: 'sig' }
  }
}

function parse(pem: string): KeyObject {
  const key = read(pem)
  if (key.asymmetricKeyType !== 'ec' || key.asymmetricKeyDetails?.namedCurve !== 'prime256v1') {
    throw new Error('holds a key that is not EC P-256, which ES256 needs')
  }
  return key
}

function read(pem: string): KeyObject {
  try {
    return createPrivateKey(pem)
  } catch {
    // Node's message may quote what it could not read.
    throw new Error('holds a private key that cannot be read: it is damaged, encrypted or none')
  }
}
