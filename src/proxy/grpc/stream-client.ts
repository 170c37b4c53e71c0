import type { IncomingMessage } from 'node:http'
import { constants, type ServerHttp2Stream } from 'node:http2'
import { stopReading } from '../../answer.ts'
import { type Http2Request, requestOfStream, resetStream } from '../../gate/http2-request.ts'
import type { RequestSink, RpcClient } from './client.ts'
import { byName, type HeaderList } from './metadata.ts'

const kClient = Symbol('sallyport.grpc-client')
/** The request knows its client, and not the stream, which lives longer than the call. */
type RpcRequest = Http2Request & { [kClient]?: StreamClient }

const streaming = Object.freeze({ waitForTrailers: true, sendDate: false })
/** What most calls end with; Node copies what it is given. */
const bareOk = Object.freeze({ 'grpc-status': '0' })
const trailersOnly = Object.freeze({ endStream: true, sendDate: false })

/** A client that speaks gRPC: its HTTP/2 stream, past the request and the response that stand for it. */
export class StreamClient implements RpcClient {
  readonly #stream: ServerHttp2Stream
  readonly #request: RpcRequest
  #sink: RequestSink | null = null
  #hasEnded = false
  #trailers: HeaderList = []

  constructor(stream: ServerHttp2Stream, request: IncomingMessage) {
    this.#stream = stream
    this.#request = request as unknown as RpcRequest
    this.#request[kClient] = this
  }

  read(sink: RequestSink): void {
    this.#sink = sink
    this.#request.handOver()
    const stream = this.#stream
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
    stream.once('drain', drained)
    return false
  }

  end(trailers: HeaderList): void {
    const stream = this.#stream
    this.#trailers = trailers
    stream.on('wantTrailers', sendTrailers)
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
    const trailers = this.#trailers
    stream.sendTrailers(isBareOk(trailers) ? bareOk : byName(trailers))
    // Node sends them in an immediate of its own.
    if (!this.#hasEnded) setImmediate(resetStream, stream, constants.NGHTTP2_NO_ERROR)
  }
}

function isBareOk(trailers: HeaderList): boolean {
  return trailers.length === 2 && trailers[0] === 'grpc-status' && trailers[1] === '0'
}

function clientOf(stream: ServerHttp2Stream): StreamClient | undefined {
  return (requestOfStream(stream) as RpcRequest | undefined)?.[kClient]
}

function takeRequest(this: ServerHttp2Stream, chunk: Buffer): void {
  clientOf(this)?.gotData(chunk)
}

function endRequest(this: ServerHttp2Stream): void {
  clientOf(this)?.gotEnd()
}

function drained(this: ServerHttp2Stream): void {
  clientOf(this)?.gotDrain()
}

function sendTrailers(this: ServerHttp2Stream): void {
  clientOf(this)?.wantsTrailers()
}
