import { once } from 'node:events'
import { type IncomingMessage, type Server, ServerResponse } from 'node:http'
import { type AddressInfo, createServer, type Server as NetServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { LimitsConfig, ListenerConfig } from './config/schema.ts'
import { CredentialWatch, type WatchTime } from './credential-watch.ts'
import { Refusal } from './errors.ts'
import { type Exchange, exchangeOf } from './exchange.ts'
import { connectionOf } from './gate/connection.ts'
import {
  createHttp2Server,
  type Http2Front,
  type Http2Request,
  type Http2Response
} from './gate/http2-server.ts'
import { createHttpServer, type RefusedRequest } from './gate/server.ts'
import { type CredentialSource, createTlsServer } from './gate/tls-server.ts'
import type { Generation } from './generation.ts'
import type { Logger } from './log.ts'
import { LogLimit } from './log-limit.ts'
import type { OverloadGuard } from './overload.ts'
import type { Registry } from './registry.ts'
import { Roster } from './roster.ts'

const maxPathBytes = 8192

/** Milliseconds for the last words of calls that are cut off. */
const cutTime = 200

/** Milliseconds for a client to take the answer that refuses its handshake. */
const answerTime = 60_000

/** Lines a second about what was refused before it was a request. */
const refusedLines = 10

/** Made once: shedding must be cheaper than serving. */
const overloaded = new Refusal('gateway.overloaded', { headers: { 'retry-after': '1' } })

export interface ListenerOptions {
  limits: LimitsConfig
  /** The generation in force: asked for every request, so that a reload needs nothing of the sockets. */
  current: () => Pick<Generation, 'handle' | 'handleUpgrade'>
  overload: Pick<OverloadGuard, 'isOverloaded'>
  registry: Registry
  log: Logger
  /** Hears of what was refused before it was a request, beside log and metrics. */
  onRefused?: (refused: RefusedRequest) => void
  /** By what time the credentials of what is open are looked at. Default: the process's. */
  time?: WatchTime | undefined
}

export type DrainStage = 'serving' | 'draining' | 'closed'

/**
 * The public sockets: `http`, `h2c` and `https`. They outlive every generation: requests go to the one in force, sockets and
 * their limits belong to the process. There is one HTTP/1 server and one for HTTP/2 behind all of them; a port only decides
 * which of the two gets its connections.
 */
export class PublicListener {
  readonly #options: ListenerOptions
  readonly #http1: Server
  readonly #http2: Http2Front
  readonly #ports: NetServer[] = []
  /** Every connection that is open, with those whose TLS handshake is under way. */
  readonly #sockets = new Set<Socket>()
  /** Those that HTTP/1 has; the secure ones are not the sockets that were accepted. */
  readonly #http1Sockets = new Set<Socket>()
  /** WebSockets and their handshakes, and the streams of HTTP/2: what no answer due on an HTTP/1 connection stands for. */
  readonly #open = new Roster<Exchange>()
  readonly #refusedLog = new LogLimit(refusedLines)
  readonly #credentials: CredentialWatch
  #stage: DrainStage = 'serving'
  #isLeaving = false

  constructor(options: ListenerOptions) {
    const { limits } = options
    this.#options = options
    this.#credentials = new CredentialWatch(() => this.#exchanges(), options.time)
    const gate = {
      maxHeaderCount: limits.maxHeaderCount,
      maxPathBytes,
      headerTimeout: limits.headerTimeout,
      keepAliveTimeout: limits.keepAliveTimeout,
      maxHeaderBytes: limits.maxHeaderBytes,
      onRefused: (refused: RefusedRequest) => this.#countRefused(refused)
    }
    this.#http1 = createHttpServer(
      { ...gate, requestTimeout: limits.requestTimeout, maxConnections: limits.maxConnections },
      (request, response, refusal) => this.#take(request, response, refusal),
      (request, socket, head) => this.#takeUpgrade(request, socket as Socket, head)
    )
    this.#http1.on('connection', socket => remember(this.#http1Sockets, socket))
    this.#http2 = createHttp2Server(
      { ...gate, maxStreams: limits.maxStreamsPerConnection },
      (request, response, refusal) => this.#takeStream(request, response, refusal)
    )
  }

  /** Requests that have no complete answer yet, and WebSockets. */
  get underWay(): number {
    let count = this.#open.size
    for (const socket of this.#http1Sockets) count += connectionOf(socket)?.pending.length ?? 0
    return count
  }

  /** Cleartext HTTP/1.1. Resolves with the port that it listens on, which is another than asked for where that is 0. */
  listenHttp(address: ListenerConfig): Promise<number> {
    return this.#listen(this.#http1, address)
  }

  /** Cleartext HTTP/2 by prior knowledge (RFC 9113, 3.3). */
  listenH2c(address: ListenerConfig): Promise<number> {
    const server = createServer({ noDelay: true }, socket => this.#http2.take(socket))
    server.maxConnections = this.#options.limits.maxConnections
    server.on('drop', dropped => this.#countDropped(dropped?.remoteAddress))
    return this.#listen(server, address)
  }

  /** TLS; the client chooses HTTP/2 or HTTP/1.1 (ALPN). */
  listenHttps(address: ListenerConfig, credentials: CredentialSource): Promise<number> {
    const { limits } = this.#options
    const server = createTlsServer(
      {
        credentials,
        handshakeTimeout: limits.headerTimeout,
        maxConnections: limits.maxConnections,
        onRefused: refused => this.#countRefused(refused)
      },
      {
        http1: socket => void this.#http1.emit('connection', socket),
        http2: socket => this.#http2.take(socket)
      }
    )
    // Only then Node looks at the timeouts of its connections.
    if (!this.#http1.listening) this.#http1.emit('listening')
    return this.#listen(server, address)
  }

  /** Takes a connection that came to no port of the gateway. */
  takeConnection(socket: Socket, version: 'http1' | 'http2'): void {
    if (version === 'http1') this.#http1.emit('connection', socket)
    else this.#http2.take(socket)
  }

  /** From here on each answer, and on HTTP/2 a GOAWAY, tells its client not to use the connection again. */
  startDraining(): void {
    if (this.#stage !== 'serving') return
    this.#stage = 'draining'
    for (const response of this.#pending()) response.shouldKeepAlive = false
    this.#http2.startDraining()
  }

  /** Takes no more connections, ends those that are idle, waits for the rest. */
  async close(): Promise<void> {
    this.startDraining()
    // HTTP/1 may have no port of its own, and has timers all the same.
    const closed = [...[...new Set([...this.#ports, this.#http1])].map(closing), this.#http2.close()]
    this.#isLeaving = true
    for (const exchange of this.#open) exchange.leave()
    this.#http1.closeIdleConnections()
    for (const socket of this.#http1Sockets) {
      const connection = connectionOf(socket)
      const last = connection?.pending.at(-1)
      // Node takes a connection that never sent a byte for a busy one: whoever opened it would hold the drain.
      if (last === undefined) {
        if (socket.bytesRead === 0) socket.destroy()
        continue
      }
      // The head of this answer may have promised before the drain that the connection stays.
      last.once('finish', () => connection?.closeGently())
    }
    await Promise.all(closed)
  }

  /**
   * The deadline has passed: calls whose protocol has words for that end with them. Resolves when those have left, or a moment
   * later.
   */
  async cut(): Promise<void> {
    const ends: Promise<void>[] = []
    for (const exchange of [...this.#exchanges()]) {
      if (exchange.call?.cut === undefined) continue
      ends.push(new Promise(resolve => exchange.onEnd(resolve)))
      exchange.call.cut()
    }
    if (ends.length > 0) await Promise.race([Promise.all(ends), sleep(cutTime, null, { ref: false })])
  }

  /** Whatever is still under way ends now. */
  destroy(): void {
    this.#stage = 'closed'
    this.#credentials.stop()
    for (const response of this.#pending())
      exchangeOf(response.req).refuse('gateway.draining', null, 'cut off')
    for (const exchange of this.#open) exchange.refuse('gateway.draining', null, 'cut off')
    this.#http2.destroy()
    this.#http1.closeAllConnections()
    for (const socket of this.#sockets) socket.destroy()
  }

  async #listen(server: NetServer, { host, port }: ListenerConfig): Promise<number> {
    server.on('connection', (socket: Socket) => this.#accept(socket))
    server.listen({ host, port, backlog: 1024 })
    await once(server, 'listening')
    this.#ports.push(server)
    this.#credentials.start()
    return (server.address() as AddressInfo).port
  }

  /** `maxConnections` of a server counts its own only. */
  #accept(socket: Socket): void {
    if ((socket as { encrypted?: boolean }).encrypted === true) return
    remember(this.#sockets, socket)
    if (this.#sockets.size <= this.#options.limits.maxConnections) return
    this.#countDropped(socket.remoteAddress)
    socket.destroy()
  }

  *#pending(): Iterable<ServerResponse<IncomingMessage>> {
    for (const socket of this.#http1Sockets) yield* connectionOf(socket)?.pending ?? []
  }

  *#exchanges(): Iterable<Exchange> {
    yield* this.#open
    for (const { req } of this.#pending()) yield exchangeOf(req)
  }

  #take(request: IncomingMessage, response: ServerResponse, refusal: Refusal | null): void {
    // Node then sends `Connection: close` by itself, whoever writes the answer.
    if (this.#stage !== 'serving') response.shouldKeepAlive = false
    this.#options.current().handle(request, response, refusal ?? this.#judgeLoad())
  }

  /** Routers and plugins cannot tell the two from those of HTTP/1: only types can. */
  #takeStream(request: Http2Request, response: Http2Response, refusal: Refusal | null): void {
    const exchange = this.#options
      .current()
      .handle(
        request as unknown as IncomingMessage,
        response as unknown as ServerResponse,
        refusal ?? this.#judgeLoad()
      )
    exchange.stayIn(this.#open)
  }

  /** A WebSocket handshake. What refuses it writes an ordinary answer, which is the last one of its connection. */
  #takeUpgrade(request: IncomingMessage, socket: Socket, head: Buffer): void {
    const response = new ServerResponse(request)
    response.shouldKeepAlive = false
    response.assignSocket(socket)
    // The server leaves sockets half open, and nothing times one that has left HTTP: a client that stays, or that takes nothing of
    // its answer, would keep it for good.
    response.once('prefinish', () => destroyAfter(socket, answerTime))
    response.once('finish', () => socket.end(() => socket.destroy()))
    const upgrade = { socket, head }
    const exchange = this.#options.current().handleUpgrade(request, response, this.#judgeLoad(), upgrade)
    exchange.stayIn(this.#open)
    // A connection that was opened before may still bring one.
    if (this.#isLeaving) exchange.leave()
  }

  #judgeLoad(): Refusal | null {
    if (this.#stage === 'closed') return new Refusal('gateway.draining')
    return this.#options.overload.isOverloaded ? overloaded : null
  }

  #countDropped(remoteAddress: string | undefined): void {
    const detail = 'maxConnections is reached'
    this.#countRefused({ status: 503, reason: 'gateway.overloaded', remoteAddress, detail })
  }

  #countRefused(refused: RefusedRequest): void {
    const { registry, log, onRefused } = this.#options
    onRefused?.(refused)
    registry.number('requests_total').child('none', 'http', 'other', String(refused.status)).value++
    const suppressed = this.#refusedLog.take()
    if (suppressed === null) return
    log.info({ route: 'none', ...refused, suppressed }, 'request refused before it was one')
  }
}

function remember(set: Set<Socket>, socket: Socket): void {
  set.add(socket)
  socket.once('close', () => set.delete(socket))
}

function destroyAfter(socket: Socket, milliseconds: number): void {
  const timer = setTimeout(() => socket.destroy(), milliseconds)
  socket.once('close', () => clearTimeout(timer))
}

function closing(server: NetServer): Promise<void> {
  return new Promise(resolve => server.close(() => resolve()))
}
