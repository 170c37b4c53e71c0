import type { Socket } from 'node:net'
import { type buildConnector, errors } from 'undici'
import type { Timers } from '../../timers.ts'
import { NoStream, noStream } from './errors.ts'
import { type SessionListener, streamsBeforeSettings, UpstreamSession } from './session.ts'

export interface Http2ClientOptions {
  /** Scheme, host and port. `https:` wants a server that chooses h2 by ALPN; to `http:` it is spoken without asking. */
  readonly origin: string
  readonly connector: buildConnector.connector
  /** Milliseconds that a request waits for a session at most. */
  readonly connectTimeout: number
  /** The most sessions there may be. */
  readonly maxSessions: number
  readonly timers: Timers
  /** A connection is begun, or a request goes out on one over which nothing was answered yet. */
  readonly onUnproven: () => void
}

/**
 * Whoever wants a session. It is given one, or hears why there is none: then the error has a code that failures.ts knows, and
 * `wasNotProcessed` says that no stream was ever there.
 */
export interface SessionTaker {
  /** Has to open one stream on it, or none, before it returns. A session that has just gone away is given back with `acquire`. */
  onSession(session: UpstreamSession): void
  onNoSession(error: Error): void
}

/**
 * HTTP/2 to one endpoint: sessions that are opened as streams need room, and whoever waits for them. A request goes to the
 * session with the fewest streams.
 */
export class Http2Client implements SessionListener {
  readonly #options: Http2ClientOptions
  readonly #target: buildConnector.Options
  readonly #sessions = new Set<UpstreamSession>()
  /** In the order of their coming, with the timer that ends the wait. */
  readonly #waiting = new Map<SessionTaker, NodeJS.Timeout>()
  #connecting = 0
  /** What the last session took: so much is expected of the next. */
  #usualLimit = streamsBeforeSettings
  #isClosed = false
  readonly #whenClosed: (() => void)[] = []

  constructor(options: Http2ClientOptions) {
    this.#options = options
    const { protocol, hostname, host, port } = new URL(options.origin)
    this.#target = { protocol, hostname: hostname.replace(/^\[|\]$/g, ''), host, port }
  }

  /** Streams under way. */
  get streams(): number {
    let count = 0
    for (const session of this.#sessions) count += session.open
    return count
  }

  /** Sessions that are not closed. */
  get size(): number {
    return this.#sessions.size
  }

  /** Gives `taker` a session with room: now if there is one, or later. */
  acquire(taker: SessionTaker): void {
    if (this.#isClosed) {
      taker.onNoSession(noStream(new errors.ClientClosedError()))
      return
    }
    const session = this.#pick()
    const { connectTimeout, onUnproven } = this.#options
    if (session !== null) {
      if (!session.hasAnswered) onUnproven()
      taker.onSession(session)
      return
    }
    const timer = setTimeout(() => this.#giveUp(taker), connectTimeout).unref()
    this.#waiting.set(taker, timer)
    if (!this.#connectIfNeeded()) onUnproven()
  }

  /** `taker` waits no longer. Does nothing when it was called. */
  release(taker: SessionTaker): void {
    clearTimeout(this.#waiting.get(taker))
    this.#waiting.delete(taker)
    this.#settleClosing()
  }

  /** Takes no more requests; resolves when those under way have ended. */
  close(): Promise<void> {
    this.#isClosed = true
    return new Promise(resolve => {
      this.#whenClosed.push(resolve)
      this.#settleClosing()
    })
  }

  /** Ends everything at once. */
  destroy(): Promise<void> {
    this.#isClosed = true
    this.#failWaiting(noStream(new errors.ClientDestroyedError()))
    for (const session of this.#sessions) session.destroy()
    return this.close()
  }

  onRoom(session: UpstreamSession): void {
    if (session.limit > 0) this.#usualLimit = session.limit
    if (this.#waiting.size > 0) this.#serveWaiting()
  }

  onRetired(): void {
    if (this.#waiting.size > 0) this.#connectIfNeeded()
  }

  onClosed(session: UpstreamSession): void {
    this.#sessions.delete(session)
    if (this.#waiting.size > 0) this.#connectIfNeeded()
    this.#settleClosing()
  }

  #pick(): UpstreamSession | null {
    let best: UpstreamSession | null = null
    for (const session of this.#sessions) {
      if (session.room <= 0 || !session.isUsable) continue
      if (best === null || session.open < best.open) best = session
    }
    return best
  }

  /** True: a connection was begun. One at a time, unless more requests wait than it is expected to take. */
  #connectIfNeeded(): boolean {
    const { connector, onUnproven, maxSessions } = this.#options
    if (this.#waiting.size <= this.#connecting * this.#usualLimit) return false
    if (this.#sessions.size + this.#connecting >= maxSessions) return false
    // An upstream that takes no streams at the moment takes none on another connection either.
    for (const session of this.#sessions) if (session.limit === 0 && session.isUsable) return false
    this.#connecting++
    onUnproven()
    connector(this.#target, (...[error, socket]) => {
      this.#connecting--
      const failure = error ?? this.#faultOf(socket as Socket)
      if (failure === null) this.#start(socket as Socket)
      else this.#failed(failure, socket)
    })
    return true
  }

  #faultOf(socket: Socket): Error | null {
    if (this.#isClosed && this.#waiting.size === 0) return new errors.ClientClosedError()
    if (this.#target.protocol !== 'https:') return null
    // RFC 9113, 3.2: over TLS both sides agree on h2.
    const { alpnProtocol } = socket as { alpnProtocol?: unknown }
    return alpnProtocol === 'h2' ? null : new NoStream('HTTP2_NOT_CHOSEN', 'the upstream did not choose h2')
  }

  #failed(error: Error, socket: Socket | null): void {
    socket?.destroy()
    if (this.#connecting === 0) this.#failWaiting(noStream(error))
    this.#settleClosing()
  }

  #start(socket: Socket): void {
    const { origin, timers } = this.#options
    this.#sessions.add(new UpstreamSession(origin, socket, this.#usualLimit, timers, this))
    this.#serveWaiting()
  }

  #serveWaiting(): void {
    for (const [taker, timer] of this.#waiting) {
      const session = this.#pick()
      if (session === null) break
      clearTimeout(timer)
      this.#waiting.delete(taker)
      taker.onSession(session)
    }
    if (this.#waiting.size > 0) this.#connectIfNeeded()
    this.#settleClosing()
  }

  #giveUp(taker: SessionTaker): void {
    this.#waiting.delete(taker)
    taker.onNoSession(noStream(new errors.ConnectTimeoutError()))
    this.#settleClosing()
  }

  #failWaiting(error: Error): void {
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    for (const [taker, timer] of waiting) {
      clearTimeout(timer)
      taker.onNoSession(error)
    }
  }

  #settleClosing(): void {
    if (!this.#isClosed || this.#waiting.size > 0) return
    for (const session of this.#sessions) session.retire()
    if (this.#sessions.size > 0) return
    for (const resolve of this.#whenClosed.splice(0)) resolve()
  }
}
