import type { JWK } from 'jose'
import { readSigningKeys } from './keys.ts'
import { IdentitySigner } from './signer.ts'

/**
 * Milliseconds that a key which was replaced stays published: what it signed lives a minute, and backends may have fetched the
 * keys just before.
 */
const overlap = 600_000

/** Signs and publishes for one configuration. */
export interface IdentityKeys {
  readonly signer: IdentitySigner
  /** The key set of this moment (RFC 7517). */
  jwks(): { keys: readonly JWK[] }
}

/** The gateway's own keys. One per process, so that a key that a reload has replaced stays published for a while. */
export class IdentityKeyRegistry {
  readonly #clock: () => number
  /** Public keys that are no longer configured, and until when they are published. */
  readonly #retired = new Map<string, { jwk: JWK; until: number }>()
  #current: { id: string; signer: IdentitySigner; jwks: readonly JWK[] } | null = null

  constructor(clock: () => number = () => performance.now()) {
    this.#clock = clock
  }

  /** The keys in the PEM `text`; the first one signs in the name of `issuer`. Rejects when they cannot be used. */
  async get(text: string, issuer: string): Promise<IdentityKeys> {
    const id = `${issuer}\n${text}`
    if (this.#current?.id !== id) {
      const keys = await readSigningKeys(text)
      const signer = await IdentitySigner.create(keys[0], issuer)
      this.#retire()
      this.#current = { id, signer, jwks: keys.map(({ jwk }) => jwk) }
    }
    const { signer, jwks } = this.#current
    return { signer, jwks: () => ({ keys: this.#published(jwks) }) }
  }

  #retire(): void {
    const now = this.#clock()
    const until = now + overlap
    for (const [kid, key] of this.#retired) if (key.until <= now) this.#retired.delete(kid)
    for (const jwk of this.#current?.jwks ?? []) this.#retired.set(jwk.kid as string, { jwk, until })
  }

  #published(jwks: readonly JWK[]): readonly JWK[] {
    const now = this.#clock()
    const kids = new Set(jwks.map(({ kid }) => kid))
    const others = [...this.#retired.values()].filter(({ jwk, until }) => until > now && !kids.has(jwk.kid))
    return [...jwks, ...others.map(({ jwk }) => jwk)]
  }
}
