import type { ClientHttp2Stream } from 'node:http2'
import { Readable } from 'node:stream'
import { type Dispatcher, errors } from 'undici'
import { cancelStream } from './cancel.ts'
import type { Http2Client, SessionTaker } from './client.ts'
import { noStream, streamFailure, wasNotProcessed } from './errors.ts'
import { isHeadTooLarge, type UpstreamSession } from './session.ts'
import { type AnswerHeaders, type StreamUser, userOf } from './stream-user.ts'

/** One request, ready to be sent. */
export interface Http2CallOptions {
  readonly client: Http2Client
  /** Name, value, name, value, the pseudo-headers first. */
  readonly headers: readonly string[]
  readonly body: Readable | Buffer | null
  /** Milliseconds until the head of the answer; each piece of the body that is sent begins them anew. 0: no limit. */
  readonly headersTimeout: number
  /** Milliseconds between two pieces of the answer while it is wanted. 0: no limit. */
  readonly bodyTimeout: number
  readonly handler: Dispatcher.DispatchHandler
}

const withBody = { endStream: false }
const withoutBody = { endStream: true }
const noTrailers: readonly string[] = []

/** One request and its answer, told to a handler as undici's dispatchers tell it: the head, pieces, the end or an error. */
export class Http2Call implements SessionTaker, StreamUser {
  readonly #options: Http2CallOptions
  #session: UpstreamSession | null = null
  #stream: ClientHttp2Stream | null = null
  #timer: NodeJS.Timeout | undefined
  #heard = 0
  #isRepeated = false
  #trailers: readonly string[] = noTrailers
  #hasHead = false
  #isPaused = false
  #isWhole = false
  #isDone = false

  constructor(options: Http2CallOptions) {
    this.#options = options
  }

  start(): void {
    this.#options.client.acquire(this)
  }

  onNoSession(error: Error): void {
    this.#fail(error)
  }

  onSession(session: UpstreamSession): void {
    const { client, handler, headers, headersTimeout, body } = this.#options
    handler.onConnect?.(this.#abort)
    if (this.#isDone) return
    try {
      this.#stream = session.request(headers, body === null ? withoutBody : withBody, this)
    } catch (error) {
      if (session.isUsable) this.#fail(noStream(error as Error))
      // A GOAWAY has just come: another session takes it.
      else client.acquire(this)
      return
    }
    this.#session = session
    this.#heard = session.heard
    this.#listen(this.#stream)
    this.#startTimer(headersTimeout)
    if (body !== null) this.#send(body, this.#stream)
  }

  gotHead(headers: AnswerHeaders, _flags: number, raw: readonly string[]): void {
    if (this.#isDone) return
    const status = Number(headers[':status'])
    if (isHeadTooLarge(raw)) {
      this.#fail(new errors.HeadersOverflowError())
      return
    }
    const isFinal = status >= 200
    if (isFinal) {
      this.#hasHead = true
      this.#startTimer(this.#options.bodyTimeout)
    }
    // Strings stand for undici's Buffers: `length` and `toString('latin1')` are all that is asked of them.
    const fields = raw.slice(2) as unknown as Buffer[]
    if (this.#options.handler.onHeaders?.(status, fields, this.#resume, '') === false) this.#pause()
  }

  gotData(chunk: Buffer): void {
    if (this.#isDone) return
    this.#timer?.refresh()
    if (this.#options.handler.onData?.(chunk) === false) this.#pause()
  }

  gotTrailers(raw: readonly string[]): void {
    this.#trailers = raw
  }

  /** The upstream says that this was all; what came before may not have been read yet. */
  sawEnd(): void {
    this.#isWhole = true
  }

  gotEnd(stream: ClientHttp2Stream): void {
    if (!this.#hasHead || !this.#isWhole) {
      this.gotClose(stream)
      return
    }
    if (this.#isDone) return
    this.#finish()
    // Whatever of the body was not sent is not wanted (RFC 9113, 8.1).
    if (!stream.writableEnded) cancelStream(stream)
    this.#options.handler.onComplete?.(this.#trailers as string[])
  }

  /** `stream` may be one that was refused, and has been replaced. */
  gotClose(stream: ClientHttp2Stream): void {
    if (this.#isDone || stream !== this.#stream) return
    const failure = streamFailure(stream, stream.errored ?? undefined)
    if (this.#repeat(failure)) return
    this.#fail(failure)
  }

  /** The upstream refused the stream, and there is no body that was read for it: another try is no second request. */
  #repeat(failure: Error): boolean {
    if (this.#isRepeated || this.#hasHead || this.#options.body !== null) return false
    if (!wasNotProcessed(failure)) return false
    this.#isRepeated = true
    this.#stream = null
    clearTimeout(this.#timer)
    this.start()
    return true
  }

  timedOut(): void {
    if (this.#isPaused) return
    const session = this.#session as UpstreamSession
    // Nothing at all has come from it in that time: it may be dead, and the next request shall not wait for it as well.
    if (session.heard === this.#heard) session.retire()
    this.#fail(this.#hasHead ? new errors.BodyTimeoutError() : new errors.HeadersTimeoutError())
  }

  readonly #abort = (error?: Error): void => {
    this.#fail(error ?? new errors.RequestAbortedError())
  }

  readonly #resume = (): void => {
    if (this.#isDone || !this.#isPaused) return
    this.#isPaused = false
    this.#timer?.refresh()
    this.#stream?.resume()
  }

  #pause(): void {
    this.#isPaused = true
    this.#stream?.pause()
  }

  #listen(stream: ClientHttp2Stream): void {
    // Node ends a stream that was reset without an error as if the upstream had ended it. Only before the reset, while the
    // stream is not closed, is the end the upstream's own word.
    stream.push = pushAndNotice
    stream.on('headers', onHead)
    stream.on('data', onData)
    stream.on('end', onEnd)
  }

  #send(body: Readable | Buffer, stream: ClientHttp2Stream): void {
    if (!(body instanceof Readable)) {
      stream.end(body)
      return
    }
    body.on('data', (chunk: Buffer) => {
      if (this.#isDone) return
      if (!this.#hasHead) this.#timer?.refresh()
      if (!stream.write(chunk)) body.pause()
    })
    stream.on('drain', () => {
      if (!this.#hasHead) this.#timer?.refresh()
      body.resume()
    })
    body.once('end', () => stream.end())
    body.once('error', error => this.#fail(error))
    body.once('close', () => {
      if (!body.readableEnded) this.#fail(new errors.RequestAbortedError())
    })
  }

  #startTimer(milliseconds: number): void {
    clearTimeout(this.#timer)
    this.#timer = milliseconds === 0 ? undefined : setTimeout(timeOut, milliseconds, this)
  }

  #fail(error: Error): void {
    if (this.#isDone) return
    this.#finish()
    if (this.#stream !== null) cancelStream(this.#stream)
    this.#options.handler.onError?.(error)
  }

  #finish(): void {
    this.#isDone = true
    clearTimeout(this.#timer)
    const { body } = this.#options
    if (this.#stream !== null && body instanceof Readable && !body.readableEnded) body.destroy()
  }
}

function callOf(stream: ClientHttp2Stream): Http2Call {
  return userOf(stream) as Http2Call
}

function pushAndNotice(this: ClientHttp2Stream, chunk: unknown, encoding?: BufferEncoding): boolean {
  if (chunk === null && !this.closed) callOf(this).sawEnd()
  return Readable.prototype.push.call(this, chunk, encoding)
}

/** Interim answers (1xx). */
function onHead(this: ClientHttp2Stream, headers: AnswerHeaders, flags: number, raw?: string[]): void {
  callOf(this).gotHead(headers, flags, raw ?? [])
}

function onData(this: ClientHttp2Stream, chunk: Buffer): void {
  callOf(this).gotData(chunk)
}

function onEnd(this: ClientHttp2Stream): void {
  callOf(this).gotEnd(this)
}

function timeOut(call: Http2Call): void {
  call.timedOut()
}
