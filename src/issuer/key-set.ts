import type { Logger } from '../log.ts'
import { readJwk, type UsableKey } from './jwk.ts'
import type { IssuerSettings } from './keys.ts'
import { type PreparedKey, prepareKey } from './verifier.ts'

/** More keys than any issuer publishes; a bound, because each one is prepared. */
const maxKeys = 64

/** The keys of an issuer at one time. */
export class KeySet {
  readonly #keys: readonly PreparedKey[]

  constructor(keys: readonly PreparedKey[]) {
    this.#keys = keys
  }

  get size(): number {
    return this.#keys.length
  }

  has(kid: string): boolean {
    return this.#keys.some(key => key.kid === kid)
  }

  /**
   * The one key that fits: by `kid` where the token has one, else by algorithm alone. Undefined when none does or
   * when several do, since trying one after the other would let the token choose.
   */
  find(kid: string | undefined, algorithm: string): PreparedKey | undefined {
    let found: PreparedKey | undefined
    for (const key of this.#keys) {
      if (kid !== undefined && key.kid !== kid) continue
      if (!(key.algorithms as readonly string[]).includes(algorithm)) continue
      if (found !== undefined) return undefined
      found = key
    }
    return found
  }

  /**
   * The set that a JWKS document describes. Keys that are in this set already are taken over as they are, so that a
   * refresh which changes nothing costs nothing. Rejects when the document is no JWKS; a set without keys is one, it
   * withdraws them all.
   */
  async next(document: unknown, settings: IssuerSettings, log: Logger): Promise<KeySet> {
    const list = (document as { keys?: unknown } | null)?.keys
    if (!Array.isArray(list)) throw new Error('the answer is not a JWKS')
    if (list.length > maxKeys) throw new Error(`the JWKS holds more than ${maxKeys} keys`)
    const keys: PreparedKey[] = []
    for (const jwk of list) {
      const usable = readJwk(jwk, settings.algorithms)
      if (typeof usable === 'string')
        log.debug({ kid: jwk?.kid, why: usable }, 'a key of the issuer is not used')
      else if (!keys.some(key => isSame(key, usable))) {
        keys.push(this.#keys.find(key => isSame(key, usable)) ?? (await prepareKey(usable, settings)))
      }
    }
    if (keys.length === 0) log.warn('the issuer publishes no key that can be used')
    return new KeySet(keys)
  }

  /** Retires the keys that are not in the set which comes after. */
  retireAllBut(next: KeySet): void {
    for (const key of this.#keys) if (!next.#keys.includes(key)) key.retired = true
  }
}

function isSame(one: UsableKey, other: UsableKey): boolean {
  return one.kid === other.kid && one.pem === other.pem && String(one.algorithms) === String(other.algorithms)
}
