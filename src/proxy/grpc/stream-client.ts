import { constants, type ServerHttp2Stream } from 'node:http2'
import { stopReading } from '../../answer.ts'
import { resetStream } from '../../gate/http2-request.ts'
import type { RequestSink, RpcClient } from './client.ts'
import { byName, type HeaderList } from './metadata.ts'

const kClient = Symbol('sallyport.grpc-client')
type RpcStream = ServerHttp2Stream & { [kClient]?: StreamClient }

const streaming = Object.freeze({ waitForTrailers: true, sendDate: false })
const trailersOnly = Object.freeze({ endStream: true, sendDate: false })

/** A client that speaks gRPC: its HTTP/2 stream, past Node's compatibility objects. */
export class StreamClient implements RpcClient {
  readonly #stream: RpcStream
  #sink: RequestSink | null = null
  #hasEnded = false
  #trailers: HeaderList = []

  constructor(stream: ServerHttp2Stream) {
    this.#stream = stream
  }

  read(sink: RequestSink): void {
    this.#sink = sink
    const stream = this.#stream
    stream[kClient] = this
    stream.on('data', takeRequest)
    stream.on('end', endRequest)
  }

  pause(): void {
    this.#stream.pause()
  }

  resume(): void {
    this.#stream.resume()
  }

  head(headers: HeaderList): void {
    headers.unshift(':status', '200')
    this.#stream.respond(headers, streaming)
  }

  only(headers: HeaderList): void {
    headers.unshift(':status', '200')
    const stream = this.#stream
    stream.respond(headers, trailersOnly)
    // RFC 9113, 8.1: the client is told to stop sending what nobody reads.
    if (!this.#hasEnded) stream.once('finish', stopReading)
  }

  write(chunk: Buffer): boolean {
    const stream = this.#stream
    if (stream.write(chunk)) return true
    stream[kClient] = this
    stream.once('drain', drained)
    return false
  }

  end(trailers: HeaderList): void {
    const stream = this.#stream
    this.#trailers = trailers
    stream[kClient] = this
    // Those of Node's compatibility object would be sent otherwise: it has none.
    stream.removeAllListeners('wantTrailers')
    stream.once('wantTrailers', sendTrailers)
    stream.end()
  }

  gotData(chunk: Buffer): void {
    this.#sink?.takeRequest(chunk)
  }

  gotEnd(): void {
    this.#hasEnded = true
    this.#sink?.endRequest()
  }

  gotDrain(): void {
    this.#sink?.drained()
  }

  wantsTrailers(): void {
    const stream = this.#stream
    stream.sendTrailers(byName(this.#trailers))
    // Node sends them in an immediate of its own.
    if (!this.#hasEnded) setImmediate(resetStream, stream, constants.NGHTTP2_NO_ERROR)
  }
}

function takeRequest(this: RpcStream, chunk: Buffer): void {
  this[kClient]?.gotData(chunk)
}

function endRequest(this: RpcStream): void {
  this[kClient]?.gotEnd()
}

function drained(this: RpcStream): void {
  this[kClient]?.gotDrain()
}

function sendTrailers(this: RpcStream): void {
  this[kClient]?.wantsTrailers()
}
