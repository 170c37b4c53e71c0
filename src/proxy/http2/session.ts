import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  type ClientSessionRequestOptions,
  connect,
  constants
} from 'node:http2'
import type { Socket } from 'node:net'
import { holdFor, nativeOf } from '../../native-session.ts'
import type { Timers } from '../../timers.ts'
import { Http2Failure } from './errors.ts'
import { listen, type StreamUser, userOf } from './stream-user.ts'

/**
 * Bytes of one stream that an upstream may send before they are read: what one client that does not read costs. It allows
 * 500 MB/s at a round trip of a millisecond.
 */
export const streamWindow = 524_288

/** Bytes of all streams together. Node credits them as they arrive, so it bounds what is on its way, not what is held. */
const sessionWindow = 16 * 1024 * 1024

/** Streams on a session until the upstream has said how many it takes (RFC 9113, 6.5.2), and the most if it says no bound. */
export const streamsBeforeSettings = 100
const maxStreams = 1000

/** Milliseconds between two looks at a session. */
export const tickInterval = 20_000

/** Milliseconds within which a PING has to be answered. */
export const pingTimeout = 10_000

/** Looks without a request after which a session is closed: after 60 to 80 seconds. */
const idleTicks = 3

/**
 * A session from which nothing comes is asked once, and then every sixteenth look. gRPC servers close the connection of a
 * client that sends more than two PINGs closer than five minutes to each other without any data of theirs in between.
 */
const ticksBetweenPings = 16

/** Stream numbers end at 2^31 - 1 and are never used again (RFC 9113, 5.1.1). */
const lastStream = 2 ** 30

/**
 * Streams cancelled on one session before another takes its place. Servers break the connection of a client that cancels
 * many (CVE-2023-44487: Envoy after 500, nghttp2 after 1000), and with it everybody's requests: one client that keeps
 * leaving shall not bring that about.
 */
const maxCancelled = 400

/** Milliseconds that a closed session waits for the upstream to close the connection. */
export const lingerTimeout = 5000

/** PING and SETTINGS frames between two looks. Each costs an answer: more is a flood. */
const maxNoise = 1000

/** Bytes of a head, each field with 32 more, as RFC 9113, 6.5.2, counts them. */
const maxHead = 65_536

/** A compressed head may be a thousand times larger than what was sent: Node stops at so many fields. */
const maxFields = 1000

const settings = { enablePush: false, initialWindowSize: streamWindow, maxHeaderListSize: maxHead }

/** Node holds an upstream to `maxHead` only on streams that were opened after it had acknowledged our SETTINGS. */
export function isHeadTooLarge(raw: readonly string[]): boolean {
  let size = raw.length * 16
  for (const text of raw) size += text.length
  return size > maxHead
}

const kSession = Symbol('sallyport.upstream-session')
type SessionStream = ClientHttp2Stream & { [kSession]?: UpstreamSession }

export interface SessionListener {
  /** A stream has ended, or it takes more of them than before. */
  onRoom(session: UpstreamSession): void
  /** It takes no more streams. */
  onRetired(): void
  onClosed(session: UpstreamSession): void
}

/** One HTTP/2 connection to an upstream, on a socket that is connected. It never keeps the process alive. */
export class UpstreamSession {
  /** Streams under way. */
  open = 0
  /** The most streams that the upstream takes. */
  limit: number
  /** Some request on it was answered: the upstream speaks HTTP/2, and a break is no longer the fault of the connection. */
  hasAnswered = false
  readonly #session: ClientHttp2Session
  readonly #socket: Socket
  readonly #timers: Timers
  readonly #listener: SessionListener
  #native: object | null = null
  #isRetired = false
  #timer: unknown
  #pingTimer: unknown
  #heard = 0
  #quietTicks = 0
  #idleTicks = 0
  #noise = 0
  #cancelled = 0

  /** `limit`: streams it may take before it has said how many. */
  constructor(origin: string, socket: Socket, limit: number, timers: Timers, listener: SessionListener) {
    this.limit = limit
    this.#socket = socket
    this.#timers = timers
    this.#listener = listener
    const session = connect(origin, {
      createConnection: () => socket,
      settings,
      peerMaxConcurrentStreams: streamsBeforeSettings,
      maxHeaderListPairs: maxFields
    })
    this.#session = session
    session.setLocalWindowSize(sessionWindow)
    session.on('error', ignore)
    session.on('remoteSettings', ({ maxConcurrentStreams }) => this.#settled(maxConcurrentStreams))
    session.on('ping', () => this.#hearNoise())
    session.on('altsvc', () => this.#hearNoise())
    session.on('origin', () => this.#hearNoise())
    session.on('goaway', () => this.retire())
    session.once('connect', () => {
      this.#native = nativeOf(session)
    })
    session.once('close', () => this.#closed())
    session.unref()
    // Node waits for the peer's FIN without end, and an upstream that has said GOAWAY need not send one.
    socket.once('finish', () => this.#linger())
    // The kernel finds out that the peer is gone while nothing is said.
    socket.setKeepAlive(true, tickInterval)
    this.#look()
  }

  get isUsable(): boolean {
    return !this.#isRetired && !this.#session.closed && !this.#session.destroyed
  }

  /** How many more streams it takes. */
  get room(): number {
    return this.limit - this.open
  }

  /** Bytes that have come from the upstream. */
  get heard(): number {
    return this.#socket.bytesRead
  }

  /** Opens a stream for `user`. Throws for a header that HTTP/2 has no way to say, and when the session has just ended. */
  request(
    headers: readonly string[],
    options: ClientSessionRequestOptions,
    user: StreamUser
  ): ClientHttp2Stream {
    const stream: SessionStream = this.#session.request(headers as string[], options)
    this.open++
    this.#idleTicks = 0
    stream[kSession] = this
    stream.on('close', endStream)
    // Its user may have gone before the last error comes; `close` comes after it.
    stream.on('error', ignore)
    listen(stream, user)
    if (!this.hasAnswered) stream.once('response', this.#answered)
    if ((stream.id ?? 0) > lastStream) this.retire()
    return stream
  }

  /** No new streams; when the last is over it closes. */
  retire(): void {
    if (this.#isRetired) return
    this.#isRetired = true
    if (!this.#session.closed) this.#session.close()
    this.#listener.onRetired()
  }

  destroy(error?: Error): void {
    this.#session.destroy(error)
    // A session that was closed gently is destroyed before its connection is.
    this.#socket.destroy()
  }

  #settled(maxConcurrentStreams: number | undefined): void {
    this.#hearNoise()
    this.limit = Math.min(maxConcurrentStreams ?? maxStreams, maxStreams)
    if (this.isUsable && this.room > 0) this.#listener.onRoom(this)
  }

  #hearNoise(): void {
    if (++this.#noise > maxNoise) this.destroy(new Http2Failure('HTTP2_FLOOD', 'a flood of PING or SETTINGS'))
  }

  readonly #answered = (): void => {
    this.hasAnswered = true
  }

  /** For the `close` of a stream of it. */
  streamClosed(stream: ClientHttp2Stream): void {
    this.open--
    holdFor(stream, this.#native, this.#session.destroyed)
    if (stream.rstCode === constants.NGHTTP2_CANCEL && ++this.#cancelled >= maxCancelled) this.retire()
    if (this.isUsable && this.room > 0) this.#listener.onRoom(this)
  }

  #linger(): void {
    this.#timers.clearTimeout(this.#timer)
    this.#timer = this.#timers.setTimeout(() => this.#socket.destroy(), lingerTimeout)
  }

  #closed(): void {
    this.#timers.clearTimeout(this.#timer)
    this.#timers.clearTimeout(this.#pingTimer)
    this.retire()
    this.#listener.onClosed(this)
  }

  #look(): void {
    this.#timer = this.#timers.setTimeout(() => this.#tick(), tickInterval)
  }

  #tick(): void {
    this.#noise = 0
    if (this.open === 0) {
      if (++this.#idleTicks > idleTicks) {
        this.retire()
        return
      }
    } else if (this.heard !== this.#heard) this.#quietTicks = 0
    else if (this.#quietTicks++ % ticksBetweenPings === 0) this.#ping()
    this.#heard = this.heard
    this.#look()
  }

  #ping(): void {
    this.#pingTimer = this.#timers.setTimeout(
      () => this.destroy(new Http2Failure('ETIMEDOUT', 'no answer to a PING')),
      pingTimeout
    )
    this.#session.ping(() => {
      this.#timers.clearTimeout(this.#pingTimer)
      // The answer to a PING is not what the session is waited for.
      this.#heard = this.heard
    })
  }
}

function endStream(this: SessionStream): void {
  this[kSession]?.streamClosed(this)
  userOf(this)?.gotClose(this)
}

function ignore(): void {}
