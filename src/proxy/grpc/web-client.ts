import type { IncomingMessage, ServerResponse } from 'node:http'
import type { FastifyReply } from 'fastify'
import { stopReading } from '../../answer.ts'
import type { Exchange } from '../../exchange.ts'
import { ReplyStream } from '../reply-stream.ts'
import { Base64Decoder } from './base64.ts'
import type { RequestSink, RpcClient } from './client.ts'
import { type RpcKind, toWeb } from './content-type.ts'
import { byName, type HeaderList } from './metadata.ts'

/** Flag of the frame that holds the trailers (PROTOCOL-WEB.md). */
const trailersFlag = 0x80

/**
 * A browser that speaks gRPC-Web, over HTTP/1 or HTTP/2. The messages are those of gRPC; the trailers, which no script of a page
 * can read, are the last frame of the body, and in text mode all of it is base64.
 */
export class WebClient implements RpcClient {
  readonly #exchange: Exchange
  readonly #request: IncomingMessage
  readonly #response: ServerResponse
  readonly #kind: RpcKind
  readonly #decoder: Base64Decoder | null
  readonly #reply: FastifyReply | null
  /** What the reply sends; null: the answer goes straight out. */
  #stream: ReplyStream | null = null
  #sink: RequestSink | null = null
  #hasEnded = false

  /** @param reply where plugins want to see the answer: `onSend` hooks get it as the browser does */
  constructor(exchange: Exchange, kind: RpcKind, reply: FastifyReply | null) {
    this.#exchange = exchange
    this.#request = exchange.request
    this.#response = exchange.response
    this.#kind = kind
    this.#reply = reply
    this.#decoder = kind === 'web-text' ? new Base64Decoder() : null
  }

  read(sink: RequestSink): void {
    this.#sink = sink
    this.#request.on('data', (chunk: Buffer) => this.#take(chunk))
    this.#request.on('end', () => this.#ended())
    if (this.#reply === null) this.#response.on('drain', () => sink.drained())
  }

  pause(): void {
    this.#request.pause()
  }

  resume(): void {
    this.#request.resume()
  }

  head(headers: HeaderList): void {
    this.#writeHead(headers)
    // Node holds it back for the first bytes of the body, which may be a long time coming.
    if (this.#stream === null) process.nextTick(flushHead, this.#response)
  }

  only(headers: HeaderList): void {
    this.#writeHead(headers)
    this.#endWith(null)
  }

  write(chunk: Buffer): boolean {
    const encoded = this.#encode(chunk)
    return this.#stream === null ? this.#response.write(encoded) : this.#stream.push(encoded)
  }

  end(trailers: HeaderList): void {
    this.#endWith(this.#encode(trailersFrame(trailers)))
  }

  #endWith(last: Buffer | string | null): void {
    if (this.#stream === null) this.#response.end(last)
    else {
      if (last !== null) this.#stream.push(last)
      this.#stream.push(null)
    }
    this.#stopReading()
  }

  #take(chunk: Buffer): void {
    if (this.#decoder === null) {
      this.#sink?.takeRequest(chunk)
      return
    }
    const bytes = this.#decoder.take(chunk)
    if (bytes === null) this.#sink?.rejectRequest('no base64')
    else if (bytes.length > 0) this.#sink?.takeRequest(bytes)
  }

  #ended(): void {
    this.#hasEnded = true
    if (this.#decoder?.isComplete === false) this.#sink?.rejectRequest('incomplete base64')
    else this.#sink?.endRequest()
  }

  #writeHead(upstream: HeaderList): void {
    const headers: HeaderList = []
    for (let i = 0; i < upstream.length; i += 2) {
      const name = upstream[i] as string
      const value = upstream[i + 1] as string
      // The trailers make the body longer, base64 too.
      if (name !== 'content-length')
        headers.push(name, name === 'content-type' ? toWeb(value, this.#kind) : value)
    }
    // HTTP/1: what is left of the request must not be taken for the next one.
    if (!this.#hasEnded && this.#exchange.stream === null) headers.push('connection', 'close')
    if (this.#reply === null) this.#response.writeHead(200, headers)
    else this.#send(this.#reply, headers)
  }

  #send(reply: FastifyReply, headers: HeaderList): void {
    const own = reply.getHeaders()
    this.#exchange.ownHeaders = own
    // `headers` holds them too, merged with the upstream's.
    for (const name in own) reply.removeHeader(name)
    for (const [name, value] of Object.entries(byName(headers))) reply.header(name, value)
    this.#stream = new ReplyStream(() => this.#sink?.drained())
    reply.code(200).send(this.#stream)
  }

  #stopReading(): void {
    if (!this.#hasEnded) this.#exchange.stream?.once('finish', stopReading)
  }

  /** Each piece with padding of its own, so that nothing of a message waits for the next one. */
  #encode(chunk: Buffer): Buffer | string {
    return this.#kind === 'web-text' ? chunk.toString('base64') : chunk
  }
}

function trailersFrame(trailers: HeaderList): Buffer {
  let text = ''
  for (let i = 0; i < trailers.length; i += 2) text += `${trailers[i]}:${trailers[i + 1]}\r\n`
  const length = Buffer.byteLength(text, 'latin1')
  const frame = Buffer.allocUnsafe(5 + length)
  frame[0] = trailersFlag
  frame.writeUInt32BE(length, 1)
  frame.write(text, 5, 'latin1')
  return frame
}

function flushHead(response: ServerResponse): void {
  if (!response.writableEnded && !response.destroyed) response.flushHeaders()
}
