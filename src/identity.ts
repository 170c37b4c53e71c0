/** How a request proved who it is from. */
export type IdentityKind =
  | 'jwt'
  | 'session'
  | 'api-key'
  | 'mtls'
  | 'introspection'
  | 'forward-auth'
  | 'custom'

/**
 * Who a request is from, once an `authenticate` plugin has decided. Built once per credential and shared by every
 * request that carries it, so it is frozen: plugins read it, they never write to it.
 */
export interface Identity {
  readonly kind: IdentityKind
  /** `sub` of a token, the owner of an API key, the subject of a certificate. Never empty. */
  readonly subject: string
  /** `iss` of a token, byte for byte; the name of the key source for other kinds. */
  readonly issuer: string
  readonly email: string | null
  readonly scopes: readonly string[]
  readonly groups: readonly string[]
  readonly roles: readonly string[]
  /** All claims of the credential, as they were signed. */
  readonly claims: Readonly<Record<string, unknown>>
  /** When the credential ends, in milliseconds since the epoch; null when it does not say. */
  readonly expiresAt: number | null
}
