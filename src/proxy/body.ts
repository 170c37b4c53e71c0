import type { IncomingMessage } from 'node:http'
import { Transform, type TransformCallback } from 'node:stream'
import { Refusal } from '../errors.ts'
import type { Exchange } from '../exchange.ts'

/** Whether a request says that it has a body (RFC 9112, 6.3; RFC 9113, 8.1). */
export function hasBody(request: IncomingMessage): boolean {
  const { stream } = request as { stream?: { endAfterHeaders: boolean } }
  if (stream !== undefined) return !stream.endAfterHeaders
  const length = request.headers['content-length']
  return request.headers['transfer-encoding'] !== undefined || (length !== undefined && length !== '0')
}

/** A body that announces more than is allowed is refused before a byte of it is read. */
export function announcesTooMuch(request: IncomingMessage, maxBody: number): boolean {
  const length = request.headers['content-length']
  return length !== undefined && Number(length) > maxBody
}

/**
 * The body on its way up, counted: one without a Content-Length is cut at the limit. It stands between the client's
 * stream and undici, which destroys the stream that it is given, and with an IncomingMessage the client's socket. What a plugin
 * has had read of it goes first.
 */
export class CountedBody extends Transform {
  readonly #exchange: Exchange
  #timer: NodeJS.Timeout | undefined

  /** @param timeout milliseconds for a body on HTTP/2 to arrive: the HTTP/1 server has a clock of its own for them */
  constructor(exchange: Exchange, timeout: number) {
    super({ readableHighWaterMark: 65_536, writableHighWaterMark: 65_536 })
    this.#exchange = exchange
    const { held } = exchange
    if (exchange.stream !== null && held?.isWhole !== true) {
      const left = held === null ? timeout : timeout - (performance.now() - held.since)
      this.#timer = setTimeout(() => this.destroy(slowBody()), left).unref()
    }
    // undici takes its own listener off before it destroys the body of a call that failed.
    this.on('error', ignore)
    if (held !== null) this.write(held.take(), () => held.release())
    if (held?.isWhole) this.end()
    else exchange.request.pipe(this)
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    this.#exchange.bytesIn += chunk.length
    if (this.#exchange.bytesIn > this.#exchange.maxBody) done(new Refusal('protocol.size'))
    else done(null, chunk)
  }

  override _final(done: (error?: Error) => void): void {
    clearTimeout(this.#timer)
    done()
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    clearTimeout(this.#timer)
    done(error)
  }
}

function slowBody(): Refusal {
  return new Refusal('request.malformed', { status: 408, detail: 'the body took too long' })
}

function ignore(): void {}
