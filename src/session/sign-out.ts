import { createHmac, timingSafeEqual } from 'node:crypto'
import type { CurrentSession, SessionRecord } from './contract.ts'
import type { Origins } from './hosts.ts'
import { describeFailure } from './issuer-failure.ts'
import { isAt, type SessionIssuer, type SessionsOptions } from './options.ts'

/** The end of a session, as its person wants it. */
export class SignOut {
  readonly #options: SessionsOptions
  readonly #origins: Origins

  constructor(options: SessionsOptions, origins: Origins) {
    this.#options = options
    this.#origins = origins
  }

  /** Ends a session here, and says where it ends at the issuer; null where that has no such page. */
  async end({ id, record }: CurrentSession, host: string | undefined): Promise<string | null> {
    await this.#options.store.destroy(id)
    this.#options.log.info({ issuer: record.issuerName, subject: record.subject }, 'a person has signed out')
    const issuer = this.#options.issuers.get(record.issuerName)
    const origin = this.#origins.at(host)
    if (issuer === undefined || !isAt(record, issuer)) return null
    // Nobody waits for it: here the session has ended already.
    void this.#revoke(issuer, record)
    if (origin === null) return null
    return issuer.client.endSessionUrl(record.idToken, `${origin}/oauth2/sign-out`)
  }

  async #revoke({ name, client }: SessionIssuer, { refreshToken }: SessionRecord): Promise<void> {
    if (refreshToken === null) return
    try {
      await client.revoke(refreshToken)
    } catch (failure) {
      const about = { issuer: name, failure: describeFailure(failure) }
      this.#options.log.warn(about, 'an issuer has not taken a refresh token back')
    }
  }

  /** What the form of a sign-out carries: other sites can send a form, but not know this. */
  token(id: string): string {
    return createHmac('sha256', this.#options.secret).update(`sign-out ${id}`).digest('base64url')
  }

  isToken(id: string, given: string): boolean {
    const expected = Buffer.from(this.token(id))
    const actual = Buffer.from(given)
    return expected.length === actual.length && timingSafeEqual(expected, actual)
  }
}
