import fastifyJwt from '@fastify/jwt'
import Fastify from 'fastify'
import type { JsonObject } from '../json/strict-json.ts'
import type { UsableKey } from './jwk.ts'
import type { IssuerSettings } from './keys.ts'

/** A key of an issuer with the verifier that was made for it. */
export interface PreparedKey extends UsableKey {
  /** The claims of a token that this key has signed for one of the audiences; throws otherwise. Synchronous. */
  verify(token: string): JsonObject
  /** The issuer has withdrawn the key: nothing that it verified counts any more. */
  retired: boolean
}

/**
 * One key, one Fastify instance, one `@fastify/jwt`, one prepared verifier. `jwt.verify` with a static key and without
 * options of its own uses that verifier; any option on a call would build a new one (159 us instead of 31).
 * fast-jwt has a cache of its own; it is off, because the one in front of it holds finished identities and knows
 * when a key is withdrawn.
 */
export async function prepareKey(key: UsableKey, settings: IssuerSettings): Promise<PreparedKey> {
  const app = Fastify({ logger: false })
  await app.register(fastifyJwt, {
    secret: { public: key.pem },
    verify: {
      algorithms: [...key.algorithms],
      allowedIss: settings.issuer,
      allowedAud: settings.audience,
      requiredClaims: ['iss', 'aud', 'exp', 'sub'],
      clockTolerance: settings.clockTolerance,
      cache: false
    }
  })
  await app.ready()
  return { ...key, retired: false, verify: token => app.jwt.verify<JsonObject>(token) }
}

/** fast-jwt checks claims after the signature: these codes mean that the signature is good and a claim is not. */
const claimCodes: ReadonlySet<unknown> = new Set([
  'FAST_JWT_EXPIRED',
  'FAST_JWT_INACTIVE',
  'FAST_JWT_MISSING_REQUIRED_CLAIM',
  'FAST_JWT_INVALID_CLAIM_TYPE',
  'FAST_JWT_INVALID_CLAIM_VALUE'
])

/** Whether an error of `verify` is about a claim of a token whose signature is good. */
export function isClaimError(error: unknown): boolean {
  return claimCodes.has((error as { code?: unknown } | null)?.code)
}
