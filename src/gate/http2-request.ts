import { METHODS } from 'node:http'
import type { IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2'
import { Duplex, Readable } from 'node:stream'
import type { Refusal } from '../errors.ts'
import { type GateOptions, isForwardable, judgeFields, judgeOriginForm, refusals, report } from './gate.ts'
import { isHost } from './host.ts'
import { connectionOfSession, type Http2Connection } from './http2-connection.ts'
import type { ConnectionInfo } from './http2-info.ts'
import type { Http2Response } from './http2-response.ts'

export interface Http2GateOptions extends GateOptions {
  /** Largest list of fields, counted as RFC 9113, 6.5.2 does: name, value and 32 bytes for each. */
  maxHeaderBytes: number
}

const fieldOverhead = 32

/** A method that HTTP/1 does not know goes to no upstream: Node's parser refuses it there. */
const knownMethods = new Set(METHODS)

const kRequest = Symbol('sallyport.request')

/** Node emits `close` of a request by itself. */
const readableOptions = Object.freeze({ autoDestroy: false, emitClose: false })

/** A stream that knows its request. `push` is Node's door for what comes in. */
export type RequestStream = ServerHttp2Stream & { [kRequest]?: Http2Request | undefined }

/** The request of a stream; undefined for a stream that never became one, and when it has closed. */
export function requestOfStream(stream: ServerHttp2Stream): Http2Request | undefined {
  return (stream as RequestStream)[kRequest]
}

/**
 * The stream has closed. Node keeps its native half, and with it the stream, until a collection of the whole heap: whatever
 * hangs on it would be moved to the old space with it.
 */
export function forgetRequest(stream: ServerHttp2Stream): void {
  ;(stream as RequestStream)[kRequest] = undefined
}

/** Cuts a stream off. Closed in another way, the client would be counted as the one who did, and taken for a flood. */
export function resetStream(stream: ServerHttp2Stream, code: number): void {
  const response = requestOfStream(stream)?.response ?? stream
  if ('reset' in response) response.reset(code)
  else stream.close(code)
}

/** Most requests have none. */
const noTrailers = Object.freeze({})
const noRawTrailers: readonly string[] = Object.freeze([])

/**
 * A request that looks to its handler as one of HTTP/1 does: no pseudo-headers, one `host`, a target in origin-form. It stands in
 * for Node's own class, which has eight listeners on each stream whether it is read or not, and which differs where that would
 * mislead: here a body that breaks off never looks like one that ended (Node ends it when the client resets with NO_ERROR),
 * `complete` means that all of the request is here, and `socket` is what is known of the connection, since the socket itself
 * belongs to all requests of it.
 */
export class Http2Request extends Readable {
  readonly stream: ServerHttp2Stream
  readonly headers: IncomingHttpHeaders
  readonly httpVersion = '2.0'
  readonly httpVersionMajor = 2
  readonly httpVersionMinor = 0
  /** Null for a stream whose connection has ended before the handler could hear of it. */
  readonly connectionState: Http2Connection | null
  readonly scheme: string
  method: string
  url: string
  rawHeaders: string[]
  trailers: Readonly<Record<string, string | string[] | undefined>> = noTrailers
  rawTrailers: readonly string[] = noRawTrailers
  response: Http2Response | null = null
  /** The client has sent all of it. */
  isComplete: boolean
  /** An `Expect: 100-continue` that is not answered yet; the gate refuses every other, but for one in other letters. */
  awaitsContinue: boolean
  #isRead = false
  #isClosed = false
  #isHandedOver = false

  constructor(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, rawHeaders: string[]) {
    super(readableOptions)
    this.stream = stream
    this.headers = headers
    this.connectionState = connectionOfSession(stream.session) ?? null
    this.method = headers[':method'] ?? ''
    this.url = headers[':path'] ?? '/'
    this.scheme = headers[':scheme'] ?? ''
    this.rawHeaders = rawHeaders
    this.isComplete = stream.endAfterHeaders || hasEnded(stream)
    this.awaitsContinue = headers.expect !== undefined
    ;(stream as RequestStream)[kRequest] = this
    stream.push = pushChecked
    stream.on('trailers', takeTrailers)
    // Of a stream that breaks off its request and its response hear by `close`.
    stream.on('error', ignore)
    stream.on('close', closeRequest)
    this.on('pause', pauseStream)
    this.on('resume', resumeStream)
  }

  get authority(): string {
    return this.headers.host ?? ''
  }

  get complete(): boolean {
    return this.isComplete
  }

  /** The client has gone before its answer was whole. */
  get aborted(): boolean {
    return this.stream.aborted
  }

  /** Undefined only for a request that has no connection, and never gets to a handler. */
  get socket(): ConnectionInfo {
    return this.connectionState?.info as ConnectionInfo
  }

  get connection(): ConnectionInfo {
    return this.socket
  }

  /** Calls back after so many milliseconds in which nothing came or went on the stream. */
  setTimeout(milliseconds: number, callback?: () => void): this {
    if (!this.#isClosed) this.stream.setTimeout(milliseconds, callback)
    return this
  }

  /** Whether content comes with the request: HTTP/2 needs no field that says so. */
  get hasBody(): boolean {
    return !this.stream.endAfterHeaders
  }

  override _read(): void {
    // A refusal spares the client the upload: only who reads the body asks for it.
    if (this.awaitsContinue) {
      this.awaitsContinue = false
      if (!this.stream.headersSent && !this.stream.closed && !this.stream.destroyed)
        this.response?.writeContinue()
    }
    const { stream } = this
    if (this.#isRead) {
      // Not within this call, which may be one of the stream's own.
      process.nextTick(resume, stream)
      return
    }
    this.#isRead = true
    stream.on('data', takeData)
    stream.on('end', takeEnd)
  }

  /** Whoever calls it reads the stream: nothing comes through the request any more, not even its end. */
  handOver(): void {
    this.#isHandedOver = true
  }

  /** Node throws a body away that nobody has read. */
  override resume(): this {
    return this.#isHandedOver ? this : super.resume()
  }

  override push(chunk: unknown, encoding?: BufferEncoding): boolean {
    if (this.#isHandedOver) return false
    if (chunk !== null || this.#isWhole()) return super.push(chunk, encoding)
    if (!this.destroyed)
      this.destroy(this.listenerCount('error') > 0 ? new Error('the client has gone') : undefined)
    return false
  }

  /** The stream has closed. */
  streamClosed(): void {
    this.#isClosed = true
    this.push(null)
    // As in HTTP/1: what nobody has read is thrown away.
    if (!this.#isRead) this.resume()
    if (this.aborted) this.emit('aborted')
    this.emit('close')
  }

  /**
   * Judges the request, and gives it the shape that its handler sees.
   * @returns null when it is well formed; otherwise the refusal to answer with
   */
  judge(options: Http2GateOptions): Refusal | null {
    const { headers } = this
    const sent = this.rawHeaders
    const authority = headers[':authority']
    const pseudo = countPseudo(sent)
    delete headers[':method']
    delete headers[':path']
    delete headers[':scheme']
    delete headers[':authority']
    this.rawHeaders = sent.slice(pseudo * 2)
    const host = headers.host
    if (authority !== undefined) {
      headers.host = authority
      // In the place that clients of HTTP/1 give it, so that both lists of fields say the same.
      if (host === undefined) this.rawHeaders.unshift('host', authority)
    }
    // Host stands in for :authority and is none of the fields that the client has sent.
    if (sent.length - pseudo * 2 > options.maxHeaderCount * 2) return refusals.headerCount
    if (isTooLarge(sent, options.maxHeaderBytes)) return refusals.headerBytes
    const faulty = judgeFields(sent, false)
    if (faulty !== null) return faulty
    const one = authority ?? report.host
    if (one === null) return refusals.noHost
    if (!isHost(one)) return refusals.badHost
    if (host !== undefined && authority !== undefined && !isSameAuthority(host, authority))
      return refusals.otherHost
    if (!isForwardable(this.method)) return refusals.method
    if (!knownMethods.has(this.method)) return refusals.unknownMethod
    if (this.scheme !== 'https' && this.scheme !== 'http') return refusals.scheme
    return judgeOriginForm(this, this.url, options.maxPathBytes)
  }

  /** All of the body is here and was handed on. */
  #isWhole(): boolean {
    return this.isComplete && (this.stream.readableEnded || this.stream.readableLength === 0)
  }
}

/** What is known of the connection of a request, on either side of TLS. */
export function connectionInfo(request: Http2Request): ConnectionInfo {
  // A request without a connection never gets to a handler.
  return (request.connectionState as Http2Connection).info
}

function countPseudo(rawHeaders: readonly string[]): number {
  let count = 0
  // nghttp2 refuses those that come after a field.
  while (rawHeaders[count * 2]?.charCodeAt(0) === 0x3a) count++
  return count
}

function isTooLarge(rawHeaders: readonly string[], most: number): boolean {
  let size = rawHeaders.length * (fieldOverhead / 2)
  for (let i = 0; i < rawHeaders.length; i++) size += (rawHeaders[i] as string).length
  return size > most
}

/** As an absolute-form target is compared with Host: hosts know no case. */
function isSameAuthority(host: string, authority: string): boolean {
  return host === authority || host.toLowerCase() === authority.toLowerCase()
}

/** Node may have read the end before the request was announced: with bytes that came along with the handshake. */
function hasEnded(stream: ServerHttp2Stream): boolean {
  return (stream as unknown as { _readableState: { ended: boolean } })._readableState.ended
}

/** Node calls this for what comes, and with null both when the client has ended its body and when the stream has died. */
function pushChecked(this: RequestStream, chunk: Buffer | null, encoding?: BufferEncoding): boolean {
  const request = this[kRequest]
  if (request === undefined) return Duplex.prototype.push.call(this, chunk, encoding)
  if (chunk !== null) {
    if (request.connectionState !== null) request.connectionState.guard.bodyBytes += chunk.length
    return Duplex.prototype.push.call(this, chunk, encoding)
  }
  if (!request.isComplete) {
    if (this.closed || this.destroyed) {
      // Not within this call: Node goes on with the stream after it.
      if (!this.destroyed) process.nextTick(destroyStream, this)
      return false
    }
    request.isComplete = true
  }
  return Duplex.prototype.push.call(this, null)
}

function destroyStream(stream: ServerHttp2Stream): void {
  stream.destroy()
}

function takeData(this: RequestStream, chunk: Buffer): void {
  if (this[kRequest]?.push(chunk) === false) this.pause()
}

function takeEnd(this: RequestStream): void {
  this[kRequest]?.push(null)
}

function takeTrailers(
  this: RequestStream,
  trailers: IncomingHttpHeaders,
  _flags: number,
  rawTrailers: string[]
): void {
  const request = this[kRequest]
  if (request === undefined) return
  request.trailers = trailers
  request.rawTrailers = rawTrailers
}

function closeRequest(this: RequestStream): void {
  this[kRequest]?.streamClosed()
}

function pauseStream(this: Http2Request): void {
  this.stream.pause()
}

function resumeStream(this: Http2Request): void {
  this.stream.resume()
}

function resume(stream: ServerHttp2Stream): void {
  stream.resume()
}

function ignore(): void {}
