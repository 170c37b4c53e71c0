import { ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import { Http2Response } from '../gate/http2-server.ts'

/** An upstream's body for routes whose plugins change bodies: Fastify's reply reads it, `onSend` hooks may wrap it. */
export class ReplyStream extends Readable {
  readonly #wanted: () => void

  /** `wanted` is called when the reader has room again. */
  constructor(wanted: () => void) {
    super()
    this.#wanted = wanted
    // It may fail while a hook still runs, when nobody listens yet.
    this.on('error', ignore)
  }

  override _read(): void {
    this.#wanted()
  }

  /**
   * A hook that pipes the body through something returns that something, and `pipe` keeps errors to itself: the answer
   * would never end. So an error goes along. Fastify watches this stream itself where it pipes it into the response.
   */
  override pipe<Destination extends NodeJS.WritableStream>(
    destination: Destination,
    options?: { end?: boolean }
  ): Destination {
    if (!(destination instanceof ServerResponse || destination instanceof Http2Response)) {
      const { destroy } = destination as { destroy?(error: Error): void }
      destination.on('error', ignore)
      if (this.errored !== null) destroy?.call(destination, this.errored)
      else this.on('error', error => destroy?.call(destination, error))
    }
    return super.pipe(destination, options)
  }
}

function ignore(): void {}
