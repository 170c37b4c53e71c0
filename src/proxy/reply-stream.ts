import { Readable } from 'node:stream'

/** An upstream's body for routes whose plugins change bodies: Fastify's reply reads it, `onSend` hooks may wrap it. */
export class ReplyStream extends Readable {
  readonly #wanted: () => void

  /** `wanted` is called when the reader has room again. */
  constructor(wanted: () => void) {
    super()
    this.#wanted = wanted
  }

  override _read(): void {
    this.#wanted()
  }
}
