import type { Identity } from '../identity.ts'
import type { IssuerVerifier } from '../issuer/keys.ts'
import type { Logger } from '../log.ts'
import type { SessionRecord, SessionStore } from './contract.ts'
import type { CookieShape } from './cookie.ts'
import type { OidcClient } from './oidc-client.ts'
import type { Refresher } from './refresher.ts'

/** An issuer that people sign in with. */
export interface SessionIssuer {
  readonly name: string
  readonly client: OidcClient
  readonly verifier: IssuerVerifier
  readIdentity(claims: Record<string, unknown>): Identity
  /** Milliseconds that sessions go on after their tokens have expired while the issuer does not answer. */
  readonly staleIfError: number
}

/** Whether a session was made with the issuer as it is configured now. */
export function isAt(record: SessionRecord, { name, client: { settings } }: SessionIssuer): boolean {
  return (
    record.issuerName === name && record.issuer === settings.issuer && record.clientId === settings.clientId
  )
}

export interface SessionsOptions {
  readonly store: SessionStore
  readonly refresher: Pick<Refresher, 'rests' | 'refresh'>
  readonly log: Logger
  readonly secret: string
  readonly cookie: CookieShape
  readonly externalUrl: string
  /** Hosts that routes are matched by: `a.example.com`, `*.example.com`. */
  readonly hosts: readonly string[]
  /** Milliseconds. */
  readonly idle: number
  readonly lifetime: number
  readonly issuers: ReadonlyMap<string, SessionIssuer>
  /** Counts a sign-in by how it ended. */
  signedIn(issuer: string, result: 'success' | 'refused' | 'error'): void
}
