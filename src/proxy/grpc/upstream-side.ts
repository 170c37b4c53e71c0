import { type ClientHttp2Stream, constants } from 'node:http2'
import type { Refusal } from '../../errors.ts'
import type { Endpoint } from '../endpoint.ts'
import type { Http2Client, SessionTaker } from '../http2/client.ts'
import { noStream, wasNotProcessed } from '../http2/errors.ts'
import type { UpstreamSession } from '../http2/session.ts'
import { type AnswerHeaders, forget, type StreamUser, userOf } from '../http2/stream-user.ts'
import { brokenOff } from './answer.ts'
import type { HeaderList } from './metadata.ts'

const { NGHTTP2_CANCEL, NGHTTP2_FLAG_END_STREAM, NGHTTP2_NO_ERROR } = constants

/** The body is open: what ends it comes as a frame of its own. */
const withBody = Object.freeze({ endStream: false })

/** Where an upstream's side of a call tells what comes. Nothing comes any more once it was left. */
export interface AnswerSink {
  /** There is a stream: the request may be written. */
  opened(): void
  /** There is none. */
  notOpened(error: Error): void
  /** The upstream takes more of the request again. */
  takesMore(): void
  gotHead(headers: AnswerHeaders, isEnd: boolean, raw: readonly string[]): void
  gotData(chunk: Buffer): void
  gotTrailers(raw: readonly string[]): void
  /** The body has ended, after the trailers where there are any. `isReset`: Node ends a body that broke off, too; `brokeOff` comes next. */
  gotEnd(isReset: boolean): void
  /** The stream broke off. `wasSeen`: the service may have acted on the call. */
  brokeOff(refusal: Refusal, wasSeen: boolean): void
}

/** The upstream's side of one try of a call: waits for a session, and has a stream on it. */
export class UpstreamSide implements SessionTaker, StreamUser {
  readonly endpoint: Endpoint
  readonly #client: Http2Client
  readonly #headers: HeaderList
  readonly #sink: AnswerSink
  #session: UpstreamSession | null = null
  #stream: ClientHttp2Stream | null = null

  constructor(endpoint: Endpoint, headers: HeaderList, sink: AnswerSink) {
    this.endpoint = endpoint
    this.#client = endpoint.http2 as Http2Client
    this.#headers = headers
    this.#sink = sink
  }

  /** On an open session there is a stream before this returns. */
  open(): void {
    this.#client.acquire(this)
  }

  onSession(session: UpstreamSession): void {
    try {
      this.#stream = session.request(this.#headers, withBody, this)
    } catch (error) {
      // A GOAWAY has just come: another session takes it.
      if (!session.isUsable) this.#client.acquire(this)
      else this.#sink.notOpened(noStream(error as Error))
      return
    }
    this.#session = session
    this.#sink.opened()
  }

  onNoSession(error: Error): void {
    this.#sink.notOpened(error)
  }

  /** False: `takesMore` says when the next piece may come. */
  write(chunk: Buffer): boolean {
    const stream = this.#stream
    // While a second try waits for its session: the piece comes with those that are sent again.
    if (stream === null || stream.write(chunk)) return true
    stream.once('drain', drained)
    return false
  }

  end(): void {
    this.#stream?.end()
  }

  pause(): void {
    this.#stream?.pause()
  }

  resume(): void {
    this.#stream?.resume()
  }

  /** Begins to read the messages. Not before the head was heard of: what comes with it would be read first. */
  read(): void {
    const stream = this.#stream as ClientHttp2Stream
    stream.on('data', takeData)
    stream.on('end', takeEnd)
  }

  /** Nothing more is heard of it, and it ends at once. */
  leave(): void {
    const stream = this.#forget()
    if (stream === null) this.#client.release(this)
    else stream.close(NGHTTP2_CANCEL)
  }

  /** The answer is whole. Nothing more is heard of it; what was not sent of the request is not wanted. */
  settle(): void {
    const stream = this.#forget()
    if (stream === null) return
    // One that has ended both ways goes by itself, once its end is read.
    if (stream.writableFinished) stream.resume()
    else stream.close(NGHTTP2_CANCEL)
  }

  gotHead(headers: AnswerHeaders, flags: number, raw: readonly string[]): void {
    this.#sink.gotHead(headers, (flags & NGHTTP2_FLAG_END_STREAM) !== 0, raw)
  }

  gotTrailers(raw: readonly string[]): void {
    this.#sink.gotTrailers(raw)
  }

  gotData(chunk: Buffer): void {
    this.#sink.gotData(chunk)
  }

  gotEnd({ rstCode }: ClientHttp2Stream): void {
    this.#sink.gotEnd(rstCode !== NGHTTP2_NO_ERROR)
  }

  gotClose(stream: ClientHttp2Stream): void {
    const isGoing = this.#session?.isUsable !== true
    this.#sink.brokeOff(brokenOff(stream, stream.errored, isGoing), !wasNotProcessed(stream))
  }

  gotDrain(): void {
    this.#sink.takesMore()
  }

  #forget(): ClientHttp2Stream | null {
    const stream = this.#stream
    if (stream !== null) forget(stream)
    this.#stream = null
    return stream
  }
}

function sideOf(stream: ClientHttp2Stream): UpstreamSide | undefined {
  return userOf(stream) as UpstreamSide | undefined
}

function takeData(this: ClientHttp2Stream, chunk: Buffer): void {
  sideOf(this)?.gotData(chunk)
}

function takeEnd(this: ClientHttp2Stream): void {
  sideOf(this)?.gotEnd(this)
}

function drained(this: ClientHttp2Stream): void {
  sideOf(this)?.gotDrain()
}
