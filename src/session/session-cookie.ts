import type { IncomingHttpHeaders } from 'node:http'
import { signerFactory } from '@fastify/cookie'
import { Refusal } from '../errors.ts'
import { type CookieShape, cookieValues, setCookie } from './cookie.ts'

/** The cookie of a session: its id, signed. */
export class SessionCookie {
  readonly #shape: CookieShape
  readonly #signer: ReturnType<typeof signerFactory>

  constructor(shape: CookieShape, secret: string) {
    this.#shape = shape
    this.#signer = signerFactory(secret)
  }

  /** The id that a request carries; null without one of ours. Throws the `Refusal` `request.malformed` where there are two. */
  idOf(headers: IncomingHttpHeaders): string | null {
    const [value, ...more] = cookieValues(headers.cookie, this.#shape.name)
    if (more.length > 0) throw new Refusal('request.malformed', { detail: 'two session cookies' })
    if (value === undefined) return null
    return this.#signer.unsign(decoded(value)).value
  }

  /** The Set-Cookie of a session. */
  of(id: string): string {
    return setCookie(this.#shape, this.#shape.name, this.#signer.sign(id))
  }

  /** The Set-Cookie that takes it away. */
  get none(): string {
    return setCookie(this.#shape, this.#shape.name, '', 0)
  }
}

/** The package writes values percent-encoded. */
function decoded(value: string): string {
  try {
    return decodeURIComponent(value)
  } catch {
    return ''
  }
}
