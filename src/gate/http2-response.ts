import { subscribe } from 'node:diagnostics_channel'
import { type OutgoingHttpHeaders, validateHeaderName } from 'node:http'
import { constants, type ServerHttp2Stream } from 'node:http2'
import { Stream } from 'node:stream'
import type { Listed } from '../roster.ts'
import { connectionOfSession, type Http2Connection } from './http2-connection.ts'
import type { ConnectionInfo } from './http2-info.ts'
import { forgetRequest, type Http2Request, requestOfStream } from './http2-request.ts'

type Value = number | string | readonly string[]
type Done = (error?: Error | null) => void

/**
 * An answer that takes what handlers of HTTP/1 do to one. It stands in for Node's own class, which has five listeners on each
 * stream whether the answer goes through it or not, and which would break them: here fields of the connection are left out instead
 * of making an error or a warning, a body for HEAD, 204 and 304 is thrown away, `finish` is emitted only for an answer that was
 * sent, and `close` for every one (Node forgets HEAD requests that are reset).
 */
export class Http2Response extends Stream implements Listed {
  readonly stream: ServerHttp2Stream
  readonly req: Http2Request
  readonly writable = true
  statusMessage = ''
  sendDate = true
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
  #status = 200
  #headers: OutgoingHttpHeaders | null = null
  #trailers: OutgoingHttpHeaders | null = null
  #isEnding = false
  #isClosed = false
  #awaitsDrain = false

  constructor(stream: ServerHttp2Stream, request: Http2Request) {
    super()
    request.response = this
    this.stream = stream
    this.req = request
    this.startTime = request.connectionState?.now() ?? 0
    stream.on('close', endStream)
    stream._write = writeCounted
    stream._writev = writevCounted
  }

  get statusCode(): number {
    return this.#status
  }

  /** Throws a RangeError for a status that no final answer has. */
  set statusCode(code: number) {
    const status = code | 0
    if (status < 200 || status > 599)
      throw coded(new RangeError(`invalid status: ${code}`), 'ERR_HTTP2_STATUS_INVALID')
    this.#status = status
  }

  get headersSent(): boolean {
    return this.stream.headersSent
  }

  get _header(): boolean {
    return this.headersSent
  }

  get destroyed(): boolean {
    return this.stream.destroyed
  }

  get finished(): boolean {
    return this.#isEnding
  }

  get writableEnded(): boolean {
    return this.#isEnding
  }

  get writableFinished(): boolean {
    // The stream of a HEAD request is finished before its answer.
    return this.stream.writableFinished && this.stream.headersSent
  }

  get writableLength(): number {
    return this.stream.writableLength
  }

  get writableHighWaterMark(): number {
    return this.stream.writableHighWaterMark
  }

  get writableNeedDrain(): boolean {
    return this.stream.writableNeedDrain
  }

  get writableCorked(): number {
    return this.stream.writableCorked
  }

  get writableObjectMode(): boolean {
    return false
  }

  get socket(): ConnectionInfo | undefined {
    return this.#isClosed ? undefined : this.req.socket
  }

  get connection(): ConnectionInfo | undefined {
    return this.socket
  }

  getHeader(name: string): OutgoingHttpHeaders[string] {
    return this.#headers?.[fieldName(name)]
  }

  getHeaders(): OutgoingHttpHeaders {
    return Object.assign(Object.create(null), this.#headers)
  }

  getHeaderNames(): string[] {
    return this.#headers === null ? [] : Object.keys(this.#headers)
  }

  hasHeader(name: string): boolean {
    return this.#headers !== null && Object.hasOwn(this.#headers, fieldName(name))
  }

  removeHeader(name: string): void {
    this.#expectNoHead()
    const field = fieldName(name)
    if (field === 'date') this.sendDate = false
    else if (this.#headers !== null) delete this.#headers[field]
  }

  setHeader(name: string, value: Value): this {
    this.#expectNoHead()
    this.#set(fieldName(name), value)
    return this
  }

  appendHeader(name: string, value: Value): this {
    this.#expectNoHead()
    this.#append(fieldName(name), value)
    return this
  }

  setTrailer(name: string, value: Value): void {
    const field = fieldName(name)
    validateHeaderName(field)
    this.#trailers ??= Object.create(null) as OutgoingHttpHeaders
    this.#trailers[field] = value as string
  }

  addTrailers(trailers: OutgoingHttpHeaders): void {
    for (const name of Object.keys(trailers)) this.setTrailer(name, trailers[name] as Value)
  }

  flushHeaders(): void {
    if (!this.#isClosed && !this.headersSent) this.writeHead(this.#status)
  }

  /** `message` has no place in HTTP/2. Fields as an object, as pairs, or as name, value, name, value. */
  writeHead(status: number, message?: string | Fields, fields?: Fields): this {
    const { stream } = this
    if (this.#isClosed || stream.destroyed || stream.closed) return this
    this.#expectNoHead()
    const given = typeof message === 'object' ? message : fields
    if (Array.isArray(given)) this.#takeList(given.flat(given.length > 0 && Array.isArray(given[0]) ? 1 : 0))
    else if (given !== undefined) {
      for (const name of Object.keys(given))
        this.#set(fieldName(name), (given as OutgoingHttpHeaders)[name] as Value)
    }
    this.statusCode = status
    const options = { endStream: this.#isEnding, waitForTrailers: true, sendDate: this.sendDate }
    stream.respond({ ...this.#headers, ':status': this.#status }, options)
    // Not before: what cannot be sent has thrown, and a refusal comes in its place.
    stream.on('wantTrailers', sendTrailers)
    return this
  }

  /** An interim answer (1xx). False: it is too late for one. */
  writeInformation(status: number, fields?: OutgoingHttpHeaders): boolean {
    if (this.headersSent || this.#isClosed) return false
    this.stream.additionalHeaders({ ...fields, ':status': status })
    return true
  }

  writeContinue(): boolean {
    return this.writeInformation(100)
  }

  writeProcessing(): boolean {
    return this.writeInformation(102)
  }

  writeEarlyHints(hints: OutgoingHttpHeaders): boolean {
    const { link } = hints
    return this.writeInformation(103, { ...hints, link: Array.isArray(link) ? link.join(', ') : link })
  }

  cork(): void {
    this.stream.cork()
  }

  uncork(): void {
    this.stream.uncork()
  }

  write(chunk: string | Uint8Array, encoding?: BufferEncoding | Done, callback?: Done): boolean {
    const done = typeof encoding === 'function' ? encoding : callback
    if (this.#dropsBody()) {
      if (!this.headersSent) this.writeHead(this.#status)
      if (done !== undefined) process.nextTick(done)
      return true
    }
    const fault = this.#faultOfWrite()
    if (fault !== null) {
      if (done !== undefined) process.nextTick(done, fault)
      this.destroy(fault)
      return false
    }
    const { stream } = this
    if (stream.destroyed) return false
    if (!this.headersSent) this.writeHead(this.#status)
    if (stream.write(chunk, typeof encoding === 'string' ? encoding : 'utf8', done)) return true
    if (!this.#awaitsDrain) stream.once('drain', tellDrain)
    this.#awaitsDrain = true
    return false
  }

  end(chunk?: string | Uint8Array | Done | null, encoding?: BufferEncoding | Done, callback?: Done): this {
    const done = [chunk, encoding, callback].find(one => typeof one === 'function') as Done | undefined
    if (this.#isEnding || this.#isClosed) {
      if (done !== undefined) process.nextTick(done)
      return this
    }
    const { stream } = this
    const body = typeof chunk === 'function' || this.#dropsBody() ? null : (chunk ?? null)
    if (body !== null) this.write(body, typeof encoding === 'string' ? encoding : undefined)
    this.#isEnding = true
    if (done !== undefined) {
      if (stream.writableEnded) this.once('finish', done)
      else stream.once('finish', done)
    }
    if (!stream.headersSent) this.writeHead(this.#status)
    if (!stream.destroyed) stream.end()
    return this
  }

  destroy(error?: Error): this {
    this.isOurReset = true
    this.stream.destroy(error)
    return this
  }

  setTimeout(milliseconds: number, callback?: () => void): this {
    if (!this.#isClosed) this.stream.setTimeout(milliseconds, callback)
    return this
  }

  /** Cuts the stream off. Whoever uses `stream` directly resets it with this, or the client is taken for the one who did. */
  reset(code: number): void {
    this.isOurReset = true
    this.stream.close(code)
  }

  /** The stream has closed. */
  streamClosed(): void {
    this.#isClosed = true
    if (this.writableFinished) this.emit('finish')
    this.emit('close')
  }

  /** The client takes more again. */
  drained(): void {
    this.#awaitsDrain = false
    this.emit('drain')
  }

  /** The body is out. */
  sendTrailers(): void {
    this.stream.sendTrailers(this.#trailers ?? noTrailers)
  }

  #faultOfWrite(): Error | null {
    if (this.#isEnding) return coded(new Error('write after end'), 'ERR_STREAM_WRITE_AFTER_END')
    if (this.#isClosed) return coded(new Error('the stream has closed'), 'ERR_HTTP2_INVALID_STREAM')
    return null
  }

  #expectNoHead(): void {
    if (this.headersSent) throw coded(new Error('the head of the answer is out'), 'ERR_HTTP2_HEADERS_SENT')
  }

  #set(field: string, value: Value): void {
    if (isConnectionField(field)) return
    this.#judge(field, value)
    this.#headers ??= Object.create(null) as OutgoingHttpHeaders
    this.#headers[field] = value as string
  }

  #append(field: string, value: Value): void {
    const before = this.#headers?.[field]
    if (before === undefined) this.#set(field, value)
    else this.#set(field, [before, value].flat() as string[])
  }

  /** What the list names stands in place of what was set before. */
  #takeList(list: readonly unknown[]): void {
    for (let i = 0; i < list.length; i += 2)
      if (this.#headers !== null) delete this.#headers[fieldName(list[i] as string)]
    for (let i = 0; i < list.length; i += 2) this.#append(fieldName(list[i] as string), list[i + 1] as Value)
  }

  #judge(field: string, value: Value): void {
    validateHeaderName(field)
    if (value === undefined || value === null) {
      throw coded(new TypeError(`no value for the header ${field}`), 'ERR_HTTP2_INVALID_HEADER_VALUE')
    }
  }

  #dropsBody(): boolean {
    const status = this.#status
    return isHead(this.stream) || status === 204 || status === 304 || status === 205
  }
}

/** As `writeHead` takes them. */
type Fields = OutgoingHttpHeaders | readonly string[] | readonly (readonly [string, string])[]

const noTrailers = Object.freeze({})

function fieldName(name: string): string {
  return name.trim().toLowerCase()
}

function coded<E extends Error>(error: E, code: string): E {
  return Object.assign(error, { code })
}

function isHead(stream: ServerHttp2Stream): boolean {
  return (stream as ServerHttp2Stream & { headRequest: boolean }).headRequest
}

function sendTrailers(this: ServerHttp2Stream): void {
  requestOfStream(this)?.response?.sendTrailers()
}

function tellDrain(this: ServerHttp2Stream): void {
  requestOfStream(this)?.response?.drained()
}

function endStream(this: ServerHttp2Stream): void {
  const { response, connectionState } = requestOfStream(this) as Http2Request
  const ended = response as Http2Response
  ended.streamClosed()
  countEnd(this, ended, connectionState)
  connectionState?.streamEnded(ended, this)
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

/** Fields that HTTP/2 has no place for (RFC 9113, 8.2.2), by their names in lower case. */
function isConnectionField(name: string): boolean {
  switch (name) {
    case 'connection':
    case 'keep-alive':
    case 'proxy-connection':
    case 'transfer-encoding':
    case 'upgrade':
      return true
    default:
      return false
  }
}
