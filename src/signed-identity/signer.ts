import fastifyJwt from '@fastify/jwt'
import Fastify from 'fastify'
import type { Identity } from '../identity.ts'
import type { SigningKey } from './keys.ts'

/** Seconds that a signed identity is good for. */
export const lifetime = 60

/** Milliseconds that one is sent again for the same identity and upstream: it is never sent with less than 40 s left. */
const reuse = 20_000

/** Characters of all groups, roles or scopes together, as in X-Forwarded-Groups: what an issuer says may be long. */
const maxNames = 4096

/** Signs who a request is from, for one upstream: nobody else may take it for its own (RFC 8725, 3.9). */
export type SignIdentity = (identity: Identity) => string

/** Signs with one key, in the name of the gateway. */
export class IdentitySigner {
  readonly #sign: (claims: object) => string
  readonly #byAudience = new Map<string, SignIdentity>()

  private constructor(sign: (claims: object) => string) {
    this.#sign = sign
  }

  /** @param issuer how clients reach the gateway: `iss`, and where its keys are published */
  static async create(key: SigningKey, issuer: string): Promise<IdentitySigner> {
    const app = Fastify({ logger: false })
    // One prepared signer: options on a call would make one for each.
    await app.register(fastifyJwt, {
      // The package wants both.
      secret: { private: key.privatePem, public: key.publicPem },
      sign: { algorithm: 'ES256', kid: key.kid, iss: issuer, expiresIn: lifetime }
    })
    await app.ready()
    return new IdentitySigner(claims => app.jwt.sign(claims))
  }

  /** @param audience name of the upstream */
  for(audience: string): SignIdentity {
    const known = this.#byAudience.get(audience)
    if (known !== undefined) return known
    const sign = cached(identity => this.#sign(claimsOf(identity, audience)))
    this.#byAudience.set(audience, sign)
    return sign
  }
}

/** Identities are shared by the requests of one credential: a signature, which costs more than the rest of a request, is too. */
function cached(sign: SignIdentity): SignIdentity {
  const signed = new WeakMap<Identity, { token: string; until: number }>()
  return function signIdentity(identity) {
    const now = Date.now()
    const known = signed.get(identity)
    if (known !== undefined && now < known.until) return known.token
    const token = sign(identity)
    signed.set(identity, { token, until: now + reuse })
    return token
  }
}

function claimsOf(identity: Identity, audience: string): object {
  const { subject, issuer, kind, email } = identity
  const scopes = asManyAsFit(identity.scopes)
  const groups = asManyAsFit(identity.groups)
  const roles = asManyAsFit(identity.roles)
  return {
    sub: subject,
    aud: audience,
    idp: issuer,
    kind,
    ...(email === null ? {} : { email }),
    ...(scopes.length === 0 ? {} : { scope: scopes.join(' ') }),
    ...(roles.length === 0 ? {} : { roles }),
    ...(groups.length === 0 ? {} : { groups })
  }
}

/** Whole names: a header has an end, and half of a name could be the name of another group. */
function asManyAsFit(names: readonly string[]): string[] {
  let left = maxNames
  return names.filter(name => {
    left -= name.length + 1
    return left >= 0
  })
}
