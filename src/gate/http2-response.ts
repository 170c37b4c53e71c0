import { subscribe } from 'node:diagnostics_channel'
import { constants, Http2ServerResponse, type OutgoingHttpHeaders, type ServerHttp2Stream } from 'node:http2'
import type { Listed } from '../roster.ts'
import { connectionOfSession, type Http2Connection } from './http2-connection.ts'
import { forgetRequest, type Http2Request, requestOfStream } from './http2-request.ts'

type Headers = OutgoingHttpHeaders | readonly string[]

/**
 * An answer that takes what handlers of HTTP/1 do to one. It differs from Node's own class where that would break them: fields of
 * the connection are left out instead of making an error or a warning, a body for HEAD, 204 and 304 is thrown away, `finish` is
 * emitted only for an answer that was sent, and `close` for every one (Node forgets HEAD requests that are reset).
 */
export class Http2Response extends Http2ServerResponse implements Listed {
  /** Milliseconds on the clock of the connection. */
  readonly startTime: number
  /** In the answers of its connection. */
  place = -1
  /** Writes that Node has begun. */
  writes = 0
  /** How many at the last look, -1 when nothing waited for the client; how many bytes waited; since when nothing has moved. */
  writesSeen = -1
  heldSeen = 0
  heldSince = 0
  /** When the answer was first seen to be out, while the request still comes; -1 before. */
  outSince = -1
  /** We have cut the stream off, not the client. */
  isOurReset = false
  /** How the stream ended is told to the connection. */
  isCounted = false
  /** HTTP/1 has it, and those who set it mean the connection: here they have nothing to say. */
  shouldKeepAlive = true

  constructor(stream: ServerHttp2Stream) {
    super(stream)
    const request = requestOfStream(stream)
    if (request === undefined) throw new Error('a response without a request')
    request.response = this
    // Node knows no request but one of its own class.
    ;(this as unknown as { req: Http2Request }).req = request
    this.startTime = request.connectionState?.now() ?? 0
    stream.on('close', endStream)
    stream._write = writeCounted
    stream._writev = writevCounted
  }

  // Node has no `destroyed`, and its types call the other a property: a class may not override them in its own syntax.
  static {
    Object.defineProperties(Http2Response.prototype, {
      destroyed: {
        get(this: Http2Response) {
          return this.stream.destroyed
        }
      },
      writableFinished: {
        get(this: Http2Response) {
          // The stream of a HEAD request is finished before its answer.
          return this.stream.writableFinished && this.stream.headersSent
        }
      }
    })
  }

  override emit(event: string | symbol, ...args: unknown[]): boolean {
    if (event === 'finish' && !this.writableFinished) return false
    return super.emit(event as 'close', ...(args as []))
  }

  override setHeader(name: string, value: number | string | readonly string[]): this {
    if (!isConnectionField(name)) super.setHeader(name, value)
    return this
  }

  override appendHeader(name: string, value: string | string[]): this {
    if (!isConnectionField(name)) super.appendHeader(name, value)
    return this
  }

  override writeHead(status: number, message?: string | Headers, headers?: Headers): this {
    const fields = typeof message === 'object' ? message : headers
    if (fields === undefined) return super.writeHead(status) as this
    return super.writeHead(status, withoutConnectionFields(fields) as OutgoingHttpHeaders) as this
  }

  override write(chunk: string | Uint8Array, encoding?: unknown, callback?: unknown): boolean {
    if (this.#dropsBody()) {
      if (!this.headersSent) this.writeHead(this.statusCode)
      const done = typeof encoding === 'function' ? encoding : callback
      if (typeof done === 'function') process.nextTick(done as () => void)
      return true
    }
    return super.write(chunk, encoding as BufferEncoding, callback as () => void)
  }

  override end(chunk?: unknown, encoding?: unknown, callback?: unknown): this {
    if (chunk !== undefined && chunk !== null && typeof chunk !== 'function' && this.#dropsBody()) {
      return super.end((typeof encoding === 'function' ? encoding : callback) as () => void)
    }
    return super.end(chunk as string, encoding as BufferEncoding, callback as () => void)
  }

  override destroy(error?: Error): this {
    this.isOurReset = true
    super.destroy(error)
    return this
  }

  /** Cuts the stream off. Whoever uses `stream` directly resets it with this, or the client is taken for the one who did. */
  reset(code: number): void {
    this.isOurReset = true
    this.stream.close(code)
  }

  #dropsBody(): boolean {
    if (isHead(this.stream)) return true
    const { statusCode } = this
    return statusCode === 204 || statusCode === 304 || statusCode === 205
  }
}

function isHead(stream: ServerHttp2Stream): boolean {
  return (stream as ServerHttp2Stream & { headRequest: boolean }).headRequest
}

function endStream(this: ServerHttp2Stream): void {
  const { response, connectionState } = requestOfStream(this) as Http2Request
  const ended = response as Http2Response
  countEnd(this, ended, connectionState)
  connectionState?.streamEnded(ended, this)
  // Node has compared flags that it only sets in `end`.
  if (isHead(this) && !ended.writableEnded) ended.emit('close')
  forgetRequest(this)
}

/**
 * Counts how a stream ended. Node tells of a stream and its end only when all frames of a packet are read, which holds thousands
 * of rapid resets; these channels are called for each, in the middle of it.
 */
function countEnd(
  stream: ServerHttp2Stream,
  response: Http2Response | null,
  connection: Http2Connection | null
): void {
  if (response === null || connection === null) {
    connection?.streamReset(0)
    return
  }
  if (response.isCounted) return
  response.isCounted = true
  if (response.isOurReset || isSent(stream)) connection.guard.answered()
  else connection.streamReset(connection.now() - response.startTime)
}

/** An answer without a body is finished for Node before a byte of it has left: nghttp2 knows whether its end has. */
function isSent(stream: ServerHttp2Stream): boolean {
  if (!stream.headersSent) return false
  if (!stream.destroyed) return stream.state.localClose === 1
  return stream.writableFinished && stream.rstCode === constants.NGHTTP2_NO_ERROR
}

subscribe('http2.server.stream.close', function countClosed(message) {
  const { stream } = message as { stream: ServerHttp2Stream }
  // Being destroyed is our doing, or the end of the whole connection.
  if (stream.destroyed) return
  const request = requestOfStream(stream)
  const connection = request?.connectionState ?? connectionOfSession(stream.session) ?? null
  countEnd(stream, request?.response ?? null, connection)
})

type Done = (error?: Error | null) => void

/** Counts the writes of a stream, whoever writes to it. */
function writeCounted(this: ServerHttp2Stream, chunk: unknown, encoding: BufferEncoding, done: Done): void {
  countWrite(this)
  ;(Object.getPrototypeOf(this) as ServerHttp2Stream)._write.call(this, chunk, encoding, done)
}

function writevCounted(
  this: ServerHttp2Stream,
  chunks: { chunk: unknown; encoding: BufferEncoding }[],
  done: Done
): void {
  countWrite(this)
  ;(Object.getPrototypeOf(this) as Required<ServerHttp2Stream>)._writev.call(this, chunks, done)
}

function countWrite(stream: ServerHttp2Stream): void {
  const response = requestOfStream(stream)?.response
  if (response != null) response.writes++
}

/** Fields that HTTP/2 has no place for (RFC 9113, 8.2.2). */
function isConnectionField(name: string): boolean {
  switch (name.length) {
    case 7:
      return name.toLowerCase() === 'upgrade'
    case 10:
    case 16:
    case 17: {
      const lower = name.toLowerCase()
      return (
        lower === 'connection' ||
        lower === 'keep-alive' ||
        lower === 'proxy-connection' ||
        lower === 'transfer-encoding'
      )
    }
    default:
      return false
  }
}

function withoutConnectionFields(fields: Headers): Headers {
  if (Array.isArray(fields)) {
    for (let i = 0; i < fields.length; i += 2) {
      if (isConnectionField(fields[i] as string))
        return fields.filter((_, at) => !isConnectionField(fields[at & ~1] as string))
    }
    return fields
  }
  for (const name in fields) {
    if (!isConnectionField(name)) continue
    return Object.fromEntries(Object.entries(fields).filter(([key]) => !isConnectionField(key)))
  }
  return fields
}
