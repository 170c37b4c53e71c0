import { createHmac, timingSafeEqual } from 'node:crypto'
import type { CurrentSession } from './contract.ts'
import type { Origins } from './hosts.ts'
import { isAt, type SessionsOptions } from './options.ts'

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
    if (issuer === undefined || origin === null || !isAt(record, issuer)) return null
    return issuer.client.endSessionUrl(record.idToken, `${origin}/oauth2/sign-out`)
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
