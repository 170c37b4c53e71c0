import { createPublicKey, type KeyObject } from 'node:crypto'
import { LruMap } from 'toad-cache'
import type { Refusal } from '../errors.ts'
import type { Identity } from '../identity.ts'
import type { JsonObject } from '../json/strict-json.ts'
import { refuseToken } from './challenge.ts'
import { findClaimFault, identityReader } from './claims.ts'
import { KeyManager } from './key-manager.ts'
import type { IssuerOptions, IssuerSettings, IssuerVerifier } from './keys.ts'
import { maxTokenLength, type ParsedToken, parseToken } from './token.ts'
import { isClaimError, type PreparedKey } from './verifier.ts'

const maxCached = 10_000
const maxCachedFor = 600_000

/** A verified token. `until`: first millisecond at which it counts no more. */
interface Verified {
  readonly identity: Identity
  readonly until: number
  readonly key: PreparedKey
}

/** One issuer: judges its tokens and remembers those that are good. Bad tokens are not remembered: they are free to
 *  make, and would push out the good ones. */
export class TrustedIssuer implements IssuerVerifier {
  readonly name: string
  readonly issuer: string
  readonly #settings: IssuerSettings
  readonly #keys: KeyManager
  readonly #clock: () => number
  readonly #readIdentity: (claims: JsonObject) => Identity
  readonly #verified = new LruMap<Verified>(maxCached)

  constructor(name: string, settings: IssuerSettings, options: IssuerOptions) {
    this.name = name
    this.issuer = settings.issuer
    this.#settings = settings
    this.#clock = options.clock
    this.#readIdentity = identityReader(settings)
    this.#keys = new KeyManager(name, settings, { ...options, log: options.log.child({ issuer: name }) })
  }

  cached(token: string): Identity | undefined {
    if (token.length > maxTokenLength) return undefined
    const entry = this.#verified.get(token)
    if (entry === undefined) return undefined
    const now = this.#clock()
    if (now < entry.until && !entry.key.retired && this.#keys.isFresh(now)) return entry.identity
    this.#verified.delete(token)
    return undefined
  }

  verify(token: string): Identity | Promise<Identity> {
    const known = this.cached(token)
    if (known !== undefined) return known
    const parsed = parseToken(token)
    const { kid, alg } = this.#readHeader(parsed)
    const key = this.#keys.find(kid, alg)
    if (key instanceof Promise) return key.then(found => this.#judge(token, parsed, found))
    return this.#judge(token, parsed, key)
  }

  async publicKey(kid: string | undefined, algorithm: string): Promise<KeyObject | null> {
    const key = await this.#keys.find(kid, algorithm)
    return key === undefined ? null : createPublicKey(key.pem)
  }

  /** Seconds since the keys were last fetched; undefined before. */
  age(): number | undefined {
    return this.#keys.age()
  }

  close(): void {
    this.#keys.close()
  }

  /**
   * What chooses the key. `jku`, `x5u`, `jwk` and `x5c` are never looked at: they would let the token bring its own.
   * `iss` comes first, so that a token of another issuer is told so whatever else may be wrong with it.
   */
  #readHeader({ header, payload }: ParsedToken): { kid: string | undefined; alg: string } {
    if (payload.iss !== this.issuer) throw refuseToken('token.issuer', 'iss')
    const { alg, kid } = header
    if (typeof alg !== 'string' || !this.#settings.algorithms.includes(alg)) {
      throw refuseToken('token.invalid', 'alg is not one that the issuer is pinned to')
    }
    // RFC 7515 section 4.1.11: what is critical must be understood, and we understand no extension.
    if (header.crit !== undefined) throw refuseToken('token.invalid', 'crit')
    if (kid !== undefined && typeof kid !== 'string')
      throw refuseToken('token.invalid', 'kid is not a string')
    return { kid, alg }
  }

  #judge(token: string, { header, payload }: ParsedToken, key: PreparedKey | undefined): Identity {
    if (key === undefined) throw refuseToken('token.invalid', 'no key of the issuer fits kid and alg')
    let claims: JsonObject
    try {
      claims = key.verify(token)
    } catch (error) {
      throw this.#explain(error, header, payload)
    }
    const now = this.#clock()
    const fault = findClaimFault(header, claims, this.#settings, now)
    if (fault !== undefined) throw refuseToken(fault.reason, fault.detail)
    const identity = this.#readIdentity(claims)
    const until = Math.min(identity.expiresAt! + this.#settings.clockTolerance, now + maxCachedFor)
    this.#verified.set(token, { identity, until, key })
    return identity
  }

  /** The signature comes first: of a forged token nothing more is said than that. */
  #explain(error: unknown, header: JsonObject, payload: JsonObject): Refusal {
    const code = String((error as { code?: unknown } | null)?.code ?? error)
    if (!isClaimError(error)) return refuseToken('token.invalid', code, error)
    const fault = findClaimFault(header, payload, this.#settings, this.#clock())
    return refuseToken(fault?.reason ?? 'token.invalid', fault?.detail ?? code, error)
  }
}
