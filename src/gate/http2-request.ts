import { METHODS } from 'node:http'
import { Http2ServerRequest, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2'
import { Duplex } from 'node:stream'
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

/**
 * A request that looks to its handler as one of HTTP/1 does: no pseudo-headers, one `host`, a target in origin-form. It differs
 * from Node's own class where that would mislead: a body that breaks off never looks like one that ended (Node ends it when the
 * client resets with NO_ERROR), `complete` means that all of the request is here, and `socket` is what is known of the
 * connection, since the socket itself belongs to all requests of it.
 */
export class Http2Request extends Http2ServerRequest {
  /** Null for a stream whose connection has ended before the handler could hear of it. */
  readonly connectionState: Http2Connection | null
  response: Http2Response | null = null
  /** The client has sent all of it. */
  isComplete: boolean
  /** An `Expect: 100-continue` that is not answered yet. */
  awaitsContinue = false
  #isHandedOver = false
  readonly #scheme: string | undefined
  #method: string
  #url: string
  #raw: string[]

  constructor(
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    _options: unknown,
    rawHeaders: readonly string[]
  ) {
    // Node emits `close` of a request by itself.
    super(stream, headers, { emitClose: false }, rawHeaders)
    this.connectionState = connectionOfSession(stream.session) ?? null
    this.#method = headers[':method'] ?? ''
    this.#url = headers[':path'] ?? '/'
    this.#scheme = headers[':scheme']
    this.#raw = rawHeaders as string[]
    this.isComplete = stream.endAfterHeaders || hasEnded(stream)
    ;(stream as RequestStream)[kRequest] = this
    stream.push = pushChecked
  }

  // Node has them as accessors, which its types call properties: a class may not override them in its own syntax.
  static {
    Object.defineProperties(Http2Request.prototype, {
      method: {
        get(this: Http2Request) {
          return this.#method
        },
        set(this: Http2Request, method: string) {
          this.#method = method
        }
      },
      url: {
        get(this: Http2Request) {
          return this.#url
        },
        set(this: Http2Request, url: string) {
          this.#url = url
        }
      },
      authority: {
        get(this: Http2Request) {
          return this.headers.host ?? ''
        }
      },
      scheme: {
        get(this: Http2Request) {
          return this.#scheme ?? ''
        }
      },
      rawHeaders: {
        get(this: Http2Request) {
          return this.#raw
        }
      },
      complete: {
        get(this: Http2Request) {
          return this.isComplete
        }
      },
      socket: { get: infoOf },
      connection: { get: infoOf }
    })
  }

  /** Whether content comes with the request: HTTP/2 needs no field that says so. */
  get hasBody(): boolean {
    return !this.stream.endAfterHeaders
  }

  override _read(size: number): void {
    // A refusal spares the client the upload: only who reads the body asks for it.
    if (this.awaitsContinue) {
      this.awaitsContinue = false
      if (!this.stream.headersSent && !this.stream.closed && !this.stream.destroyed)
        this.response?.writeContinue()
    }
    super._read(size)
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

  /**
   * Judges the request, and gives it the shape that its handler sees.
   * @returns null when it is well formed; otherwise the refusal to answer with
   */
  judge(options: Http2GateOptions): Refusal | null {
    const { headers } = this
    const sent = this.#raw
    const authority = headers[':authority']
    const pseudo = countPseudo(sent)
    delete headers[':method']
    delete headers[':path']
    delete headers[':scheme']
    delete headers[':authority']
    this.#raw = sent.slice(pseudo * 2)
    const host = headers.host
    if (authority !== undefined) {
      headers.host = authority
      // In the place that clients of HTTP/1 give it, so that both lists of fields say the same.
      if (host === undefined) this.#raw.unshift('host', authority)
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
    if (!isForwardable(this.#method)) return refusals.method
    if (!knownMethods.has(this.#method)) return refusals.unknownMethod
    if (this.#scheme !== 'https' && this.#scheme !== 'http') return refusals.scheme
    return judgeOriginForm(this, this.#url, options.maxPathBytes)
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

function infoOf(this: Http2Request): ConnectionInfo | undefined {
  return this.connectionState?.info
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
