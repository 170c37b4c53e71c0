import type { IncomingMessage } from 'node:http'
import { Transform, type TransformCallback } from 'node:stream'
import { Refusal } from '../errors.ts'
import type { Exchange } from '../exchange.ts'

/** Whether a request says that it has a body (RFC 9112, 6.3). */
export function hasBody(request: IncomingMessage): boolean {
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
 * stream and undici, which destroys the stream that it is given, and with an IncomingMessage the client's socket.
 */
export class CountedBody extends Transform {
  readonly #exchange: Exchange

  constructor(exchange: Exchange) {
    super({ readableHighWaterMark: 65_536, writableHighWaterMark: 65_536 })
    this.#exchange = exchange
    // undici takes its own listener off before it destroys the body of a call that failed.
    this.on('error', ignore)
    exchange.request.pipe(this)
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    this.#exchange.bytesIn += chunk.length
    if (this.#exchange.bytesIn > this.#exchange.maxBody) done(new Refusal('protocol.size'))
    else done(null, chunk)
  }
}

function ignore(): void {}
