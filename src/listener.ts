import { once } from 'node:events'
import { type IncomingMessage, type Server, ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import type { LimitsConfig } from './config/schema.ts'
import { Refusal } from './errors.ts'
import { type Exchange, exchangeOf } from './exchange.ts'
import { connectionOf } from './gate/connection.ts'
import { createHttpServer, type RefusedRequest } from './gate/server.ts'
import type { Generation } from './generation.ts'
import type { Logger } from './log.ts'
import { LogLimit } from './log-limit.ts'
import type { OverloadGuard } from './overload.ts'
import type { Registry } from './registry.ts'

const maxPathBytes = 8192

/** Lines a second about what was refused before it was a request. */
const refusedLines = 10

/** Made once: shedding must be cheaper than serving. */
const overloaded = new Refusal('gateway.overloaded', { headers: { 'retry-after': '1' } })

export interface ListenerOptions {
  limits: LimitsConfig
  /** The generation in force: asked for every request, so that a reload needs nothing of the sockets. */
  current: () => Generation
  overload: OverloadGuard
  registry: Registry
  log: Logger
}

export type DrainStage = 'serving' | 'draining' | 'closed'

/**
 * A public socket. It outlives every generation: requests go to the one in force, sockets and their limits belong to the
 * process. HTTP/1.1 today; `server` is all that another protocol would change.
 */
export class PublicListener {
  readonly #server: Server
  readonly #options: ListenerOptions
  readonly #sockets = new Set<Socket>()
  /** WebSocket handshakes and what became of them. */
  readonly #upgraded = new Set<Exchange>()
  readonly #refusedLog = new LogLimit(refusedLines)
  #stage: DrainStage = 'serving'
  #isLeaving = false

  constructor(options: ListenerOptions) {
    const { limits } = options
    this.#options = options
    this.#server = createHttpServer(
      {
        maxHeaderCount: limits.maxHeaderCount,
        maxPathBytes,
        headerTimeout: limits.headerTimeout,
        requestTimeout: limits.requestTimeout,
        keepAliveTimeout: limits.keepAliveTimeout,
        maxHeaderBytes: limits.maxHeaderBytes,
        maxConnections: limits.maxConnections,
        onRefused: refused => this.#countRefused(refused)
      },
      (request, response, refusal) => this.#take(request, response, refusal),
      (request, socket, head) => this.#takeUpgrade(request, socket as Socket, head)
    )
    this.#server.on('connection', socket => {
      this.#sockets.add(socket)
      socket.once('close', () => this.#sockets.delete(socket))
    })
  }

  /** Requests that have no complete answer yet. */
  get underWay(): number {
    let count = this.#upgraded.size
    for (const socket of this.#sockets) count += connectionOf(socket)?.pending.length ?? 0
    return count
  }

  /** Resolves with the port that it listens on, which is another than asked for where that is 0. */
  async listen(address: { host: string; port: number }): Promise<number> {
    this.#server.listen({ host: address.host, port: address.port, backlog: 1024 })
    await once(this.#server, 'listening')
    return (this.#server.address() as AddressInfo).port
  }

  /** From here on each answer tells its client not to use the connection again. */
  startDraining(): void {
    if (this.#stage === 'serving') this.#stage = 'draining'
    for (const response of this.#pending()) response.shouldKeepAlive = false
  }

  /** Takes no more connections, ends those that are idle, waits for the rest. */
  async close(): Promise<void> {
    this.startDraining()
    this.#isLeaving = true
    for (const exchange of this.#upgraded) exchange.leave()
    const closed = new Promise<void>(resolve => this.#server.close(() => resolve()))
    this.#server.closeIdleConnections()
    for (const socket of this.#sockets) {
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
    await closed
  }

  /** The deadline has passed: what is still under way ends now. */
  destroy(): void {
    this.#stage = 'closed'
    for (const response of this.#pending())
      exchangeOf(response.req).refuse('gateway.draining', null, 'cut off')
    for (const exchange of this.#upgraded) exchange.refuse('gateway.draining', null, 'cut off')
    this.#server.closeAllConnections()
    for (const socket of this.#sockets) socket.destroy()
  }

  *#pending(): Iterable<ServerResponse<IncomingMessage>> {
    for (const socket of this.#sockets) yield* connectionOf(socket)?.pending ?? []
  }

  #take(request: IncomingMessage, response: ServerResponse, refusal: Refusal | null): void {
    // Node then sends `Connection: close` by itself, whoever writes the answer.
    if (this.#stage !== 'serving') response.shouldKeepAlive = false
    this.#options.current().handle(request, response, refusal ?? this.#judgeLoad())
  }

  #judgeLoad(): Refusal | null {
    if (this.#stage === 'closed') return new Refusal('gateway.draining')
    return this.#options.overload.isOverloaded ? overloaded : null
  }

  /** A WebSocket handshake. What refuses it writes an ordinary answer, which is the last one of its connection. */
  #takeUpgrade(request: IncomingMessage, socket: Socket, head: Buffer): void {
    const response = new ServerResponse(request)
    response.shouldKeepAlive = false
    response.assignSocket(socket)
    // The server leaves sockets half open, and nothing times one that has left HTTP: a client that stays would keep it for good.
    response.once('finish', () => socket.end(() => socket.destroy()))
    const upgrade = { socket, head }
    const exchange = this.#options.current().handleUpgrade(request, response, this.#judgeLoad(), upgrade)
    if (exchange.ended) return
    this.#upgraded.add(exchange)
    exchange.onEnd(() => this.#upgraded.delete(exchange))
    // A connection that was opened before may still bring one.
    if (this.#isLeaving) exchange.leave()
  }

  #countRefused(refused: RefusedRequest): void {
    const { registry, log } = this.#options
    registry.number('requests_total').child('none', 'http', 'other', String(refused.status)).value++
    const suppressed = this.#refusedLog.take()
    if (suppressed === null) return
    log.info({ route: 'none', ...refused, suppressed }, 'request refused before it was one')
  }
}
