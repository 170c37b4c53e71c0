import { constants, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2'
import type { Socket } from 'node:net'
import { Roster } from '../roster.ts'
import { FloodGuard } from './http2-floods.ts'
import { ConnectionInfo } from './http2-info.ts'
import type { Http2Response } from './http2-response.ts'
import type { Timer, Timers } from './timers.ts'

const {
  NGHTTP2_CANCEL,
  NGHTTP2_ENHANCE_YOUR_CALM,
  NGHTTP2_NO_ERROR,
  NGHTTP2_PROTOCOL_ERROR,
  NGHTTP2_SETTINGS_TIMEOUT
} = constants

/** Milliseconds that a connection that ends gets to take what is written to it. */
const lingerTimeout = 2000

/**
 * What a client is sent of one answer counts in pieces of this size: it has the stall timeout for each. Node tells when a whole
 * chunk has gone out, not how much of it has.
 */
const stallPiece = 64 * 1024
/** Most of these timeouts for one chunk, however large. */
const maxStallPieces = 10

/** Times in milliseconds, sizes in bytes. */
export interface ConnectionLimits {
  headerTimeout: number
  keepAliveTimeout: number
  writeStallTimeout: number
  maxHeaderBytes: number
}

/** One HTTP/2 connection: its open streams, what it may still do, and how it ends. */
export class Http2Connection {
  readonly info: ConnectionInfo
  readonly guard: FloodGuard
  /** The next stream is the last one. */
  isLastCall = false
  /** Answers under way. */
  readonly open = new Roster<Http2Response>()
  readonly #session: ServerHttp2Session
  readonly #socket: Socket
  readonly #timers: Timers
  readonly #limits: ConnectionLimits
  readonly #onFlood: (connection: Http2Connection, what: string) => void
  readonly #since: number
  #hasSettings = false
  /** The highest stream whose head is whole. */
  #lastStream = 0
  #streams = 0
  #streamsSeen = 0
  /** Since when there is no stream; -1 while there is one. */
  #idleSince: number
  /** Since when a head has begun that is not whole; -1 when there is none. */
  #partialSince = -1
  /** When the client last took bytes, while some are waiting for it; -1 when none are. */
  #stalledSince = -1
  #taken = 0
  #isEnding = false
  #linger: Timer | null = null

  constructor(
    session: ServerHttp2Session,
    socket: Socket,
    timers: Timers,
    limits: ConnectionLimits,
    onFlood: (connection: Http2Connection, what: string) => void
  ) {
    this.#session = session
    this.#socket = socket
    this.#timers = timers
    this.#limits = limits
    this.#onFlood = onFlood
    this.#since = timers.now()
    this.#idleSince = this.#since
    this.info = new ConnectionInfo(socket)
    this.guard = new FloodGuard(this.#since)
    connections.set(session, this)
    session.on('remoteSettings', settingsCame)
    session.on('ping', pingCame)
    session.on('stream', headCame)
  }

  now(): number {
    return this.#timers.now()
  }

  /** The head of a stream is whole. */
  headCame(stream: ServerHttp2Stream): void {
    this.#streams++
    if ((stream.id as number) > this.#lastStream) this.#lastStream = stream.id as number
  }

  streamBegan(response: Http2Response): void {
    this.open.add(response)
    this.#idleSince = -1
    if (this.isLastCall) this.close()
  }

  streamEnded(response: Http2Response): void {
    this.open.delete(response)
    if (this.open.size === 0) this.#idleSince = this.#timers.now()
  }

  /** A stream of this age was cut off by the client, or by nghttp2 for what the client did. */
  streamReset(age: number): void {
    if (!this.guard.reset(age, this.#timers.now())) this.#flood('rapid resets')
  }

  settingsCame(): void {
    this.#hasSettings = true
    if (!this.guard.settings(this.#timers.now())) this.#flood('SETTINGS')
  }

  pingCame(): void {
    if (!this.guard.ping(this.#socket.bytesWritten, this.#timers.now())) this.#flood('PING')
  }

  /**
   * No further stream; the connection ends with the last one that is open. Its GOAWAY names the last stream that is served, so that
   * the client may send what it sent after that again (RFC 9113, 6.8). A first GOAWAY that turns nothing away would be of no use:
   * nghttp2 ignores every stream that comes after one, and Node has no way to its notice of a shutdown.
   */
  close(): void {
    if (!this.#session.closed) this.#session.close()
    // Node waits for the client to close, and for a client that takes nothing.
    if (this.open.size === 0) this.#lingerOn()
  }

  /** Ends the connection and all of its streams at once; the client is told why, if it listens. */
  end(code: number): void {
    if (this.#isEnding) return
    this.#isEnding = true
    if (!this.#session.destroyed) this.#session.destroy(new Error('the connection is ended'), code)
    this.#lingerOn()
  }

  destroy(): void {
    this.#isEnding = true
    this.#session.destroy()
    this.#socket.destroy()
  }

  /** The socket is gone. */
  dispose(): void {
    this.#linger?.cancel()
    this.#isEnding = true
    // A session that waits to be told is told: its streams end.
    this.#session.destroy()
  }

  /** Looks whether a time is up. Called about once a second. */
  sweep(now: number): void {
    if (this.#isEnding) return
    const { headerTimeout, keepAliveTimeout, maxHeaderBytes } = this.#limits
    if (this.#session.destroyed) {
      this.#lingerOn()
      return
    }
    if (now - this.#since >= headerTimeout) {
      if (!this.#hasSettings) {
        this.destroy()
        return
      }
      // Until the client has acknowledged them, most of our limits do not hold (RFC 9113, 6.5.3).
      if (this.#session.pendingSettingsAck) {
        this.end(NGHTTP2_SETTINGS_TIMEOUT)
        return
      }
    }
    if (!this.#hasSettings) return
    if (this.#isHeadLate(now, headerTimeout)) {
      this.end(NGHTTP2_PROTOCOL_ERROR)
      return
    }
    if (this.#isStalled(now)) {
      this.destroy()
      return
    }
    const { bytesRead, bytesWritten } = this.#socket
    const heads = (this.#streams - this.#streamsSeen) * maxHeaderBytes
    this.#streamsSeen = this.#streams
    if (!this.guard.traffic(bytesRead, bytesWritten, heads, now)) {
      this.#flood('frames without use')
      return
    }
    if (this.open.size === 0) {
      if (this.#session.closed || now - this.#idleSince >= keepAliveTimeout) this.close()
      return
    }
    for (const response of this.open) this.#judgeResponse(response, now)
  }

  /**
   * A head that began (nghttp2 counts its stream) and never reached us is either not whole or was refused by nghttp2. Within a head
   * no other frame may come (RFC 9113, 4.3): a client that answers a PING has sent the whole of it.
   */
  #isHeadLate(now: number, headerTimeout: number): boolean {
    const began = this.#session.state.lastProcStreamID ?? 0
    if (began <= this.#lastStream) {
      this.#partialSince = -1
      return false
    }
    if (this.#partialSince === -1) {
      this.#partialSince = now
      this.#session.ping(error => {
        if (error === null && began > this.#lastStream) this.#lastStream = began
      })
      return false
    }
    return now - this.#partialSince >= headerTimeout
  }

  /** Bytes wait in the socket, and the client has taken none for as long as the timeout. */
  #isStalled(now: number): boolean {
    const waiting = waitingBytes(this.#socket)
    if (waiting === 0) {
      this.#stalledSince = -1
      return false
    }
    const taken = this.#socket.bytesWritten - waiting
    if (this.#stalledSince === -1 || taken !== this.#taken) {
      this.#stalledSince = now
      this.#taken = taken
      return false
    }
    return now - this.#stalledSince >= this.#limits.writeStallTimeout
  }

  #judgeResponse(response: Http2Response, now: number): void {
    const { stream } = response
    if (stream.destroyed) return
    const isFinished = stream.writableFinished && stream.headersSent
    if (isFinished && stream.state.localClose === 1) {
      // RFC 9113, 8.1: the answer is out, and nobody reads what the client still sends.
      if (response.outSince === -1) response.outSince = now
      else if (now - response.outSince >= lingerTimeout) response.reset(NGHTTP2_NO_ERROR)
      return
    }
    // A client without a window does not even get the end of an answer.
    const held = stream.writableLength
    const isHeld = held > 0 || isFinished
    // The next write begins when the one before it has gone out whole.
    const hasMoved = response.writes !== response.writesSeen || held < response.heldSeen
    response.writesSeen = isHeld ? response.writes : -1
    response.heldSeen = held
    if (!isHeld || hasMoved) {
      response.heldSince = now
      return
    }
    const pieces = Math.min(maxStallPieces, Math.max(1, Math.ceil(held / stallPiece)))
    if (now - response.heldSince >= this.#limits.writeStallTimeout * pieces) response.reset(NGHTTP2_CANCEL)
  }

  #flood(what: string): void {
    if (this.#isEnding) return
    this.#onFlood(this, what)
    this.end(NGHTTP2_ENHANCE_YOUR_CALM)
  }

  #lingerOn(): void {
    this.#linger ??= this.#timers.after(lingerTimeout, () => this.#socket.destroy())
  }
}

/** Bytes that Node has handed to the system's queue and the system not yet to the client. */
function waitingBytes(socket: Socket): number {
  // A session writes past the socket's own stream, so that `writableLength` is always 0.
  const handle = (socket as Socket & { _handle?: { writeQueueSize?: number } | null })._handle
  return handle?.writeQueueSize ?? 0
}

const connections = new WeakMap<object, Http2Connection>()

/** The connection of a session; undefined for one that has ended before its first stream. */
export function connectionOfSession(session: object | undefined): Http2Connection | undefined {
  return session === undefined ? undefined : connections.get(session)
}

function settingsCame(this: ServerHttp2Session): void {
  connections.get(this)?.settingsCame()
}

function pingCame(this: ServerHttp2Session): void {
  connections.get(this)?.pingCame()
}

function headCame(this: ServerHttp2Session, stream: ServerHttp2Stream): void {
  connections.get(this)?.headCame(stream)
}
