import { randomUUID } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { constants, type ServerHttp2Stream } from 'node:http2'
import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { HeldBody } from './body/held-body.ts'
import { readJson } from './body/json-body.ts'
import type { Reason } from './errors.ts'
import type { ExchangeObserver, ExchangeRoute, Upgrade, UpstreamCall } from './exchange-parties.ts'
import { type ClientCertificate, clientCertificate } from './gate/client-certificate.ts'
import { resetStream } from './gate/http2-request.ts'
import type { Identity } from './identity.ts'
import { type Outcome, type OutcomeListener, type Protocol, RequestOutcome } from './outcome.ts'
import type { JsonBody, MessageLimits, RequestGateway, Rpc, StillHolds } from './plugin/define.ts'
import { takeParameter } from './query.ts'
import type { Listed, Roster } from './roster.ts'
import { cookieValues, setsOwnCookie, withoutOwnCookies } from './session/cookie.ts'
import { continueTrace, type TraceContext } from './trace.ts'

const kExchange = Symbol('sallyport.exchange')
const noParams: Readonly<Record<string, string>> = Object.freeze({})

declare module 'node:http' {
  interface IncomingMessage {
    [kExchange]?: Exchange
  }
  interface ServerResponse {
    [kExchange]?: Exchange
  }
}

/**
 * One request and its answer, from the parsed head to the end, whatever the end: what plugins see as `request.gateway`,
 * and the only maker of the outcome. It ends with the `close` event of the response, which Node emits exactly once:
 * after the last byte was handed to the system, or when the connection or the HTTP/2 stream went; a WebSocket with its close.
 *
 * An HTTP/2 request has objects of the gate for `request` and `response`, which routers and plugins cannot tell from
 * those of HTTP/1, and its stream beside them.
 */
export class Exchange implements RequestGateway, Listed {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly observer: ExchangeObserver
  readonly startTime: number
  readonly clientIp: string
  readonly trace: TraceContext
  readonly protocol: Protocol
  readonly rpc: Rpc | null = null
  /** Null on HTTP/1. */
  readonly stream: ServerHttp2Stream | null
  /** Null for all but WebSocket. */
  readonly upgrade: Upgrade | null
  requestId: string
  identity: Identity | null = null
  stillHolds: StillHolds | null = null
  originAllowed = false
  params: Readonly<Record<string, string>> = noParams
  maxBody = 0
  upstreamHeaders: Readonly<Record<string, string | null>> | null = null
  removeResponseHeaders: readonly string[] | null = null
  messageLimits: MessageLimits | null = null
  ownSubprotocol: string | null = null

  /** The target as the client sent it, path and query, but for what a plugin has taken out of the query. */
  target: string
  route: ExchangeRoute | null = null
  /** How many plugins of the chain have let the request pass; the next one is the one that refuses or fails. */
  passed = 0
  reason: Reason | null = null
  plugin: string | null = null
  detail: string | null = null
  upstream: string | null = null
  upstreamStart = 0
  upstreamEnd = 0
  bytesIn = 0
  bytesOut = 0
  /** What the client of a gRPC call was told (`grpc-status`). */
  grpcStatus: number | null = null
  /** The gateway is leaving: what has not called its upstream yet does not begin to. */
  isLeaving = false
  /** With what a WebSocket was closed (RFC 6455, 7.4); null: it was never open. */
  closeCode: number | null = null
  /** Another proxy asks whether it may let the request through: it is judged, and goes to no upstream. */
  isQuestion = false
  ended = false
  /** The body, where a plugin has had it read before the upstream is asked; null: nobody has. */
  held: HeldBody | null = null
  /** What the held body says, once somebody has asked. */
  json: JsonBody | null = null
  /** The plugin whose hook runs, where `passed` does not tell: a later one (`preHandler`, `onSend`, …), or one inside another. */
  running: string | null = null
  /** Headers that plugins had set before the upstream's answer was put on the reply: what a refusal after that keeps. */
  ownHeaders: Readonly<Record<string, number | string | string[] | undefined>> | null = null
  call: UpstreamCall | null = null
  /** Its place in the set that it stays in. */
  place = -1
  #set: Roster<Exchange> | null = null
  #onEnd: (() => void)[] | null = null

  constructor(
    request: IncomingMessage,
    response: ServerResponse,
    clientIp: string,
    observer: ExchangeObserver,
    protocol: Protocol = 'http',
    upgrade: Upgrade | null = null
  ) {
    this.protocol = protocol
    this.stream = streamOf(response)
    this.upgrade = upgrade
    this.request = request
    this.response = response
    this.observer = observer
    this.clientIp = clientIp
    this.startTime = performance.now()
    this.requestId = randomUUID()
    this.trace = continueTrace(request.headers.traceparent as string | undefined)
    this.target = request.url ?? '/'
    if (protocol === 'grpc') this.rpc = rpcOf(this.target)
    request[kExchange] = this
    response[kExchange] = this
    response.on('close', endExchange)
    observer.began(this)
  }

  /** The request belongs to a route from here on. */
  enter(route: ExchangeRoute, params: Readonly<Record<string, string>>, maxBody: number): void {
    this.route = route
    this.params = params
    this.maxBody = maxBody
    route.inFlight.value++
  }

  get carriesSession(): boolean {
    const { sessionCookie } = this.observer
    return (
      typeof sessionCookie === 'string' && cookieValues(this.request.headers.cookie, sessionCookie).length > 0
    )
  }

  get foreignCookies(): string | undefined {
    const { cookie } = this.request.headers
    const { sessionCookie } = this.observer
    if (cookie === undefined || typeof sessionCookie !== 'string') return cookie
    return withoutOwnCookies(cookie, sessionCookie)
  }

  foreignSetCookies(values: string | readonly string[]): string[] {
    const { sessionCookie } = this.observer
    const all = [values].flat()
    return typeof sessionCookie === 'string' ? all.filter(one => !setsOwnCookie(one, sessionCookie)) : all
  }

  get traceId(): string {
    return this.trace.traceId
  }

  get clientCertificate(): ClientCertificate | null {
    // Of HTTP/2 it is what is known of the connection, which has the socket of TLS for this.
    const socket = this.request.socket as Socket & { tls?: TLSSocket | null }
    return clientCertificate(socket.tls ?? socket)
  }

  useRequestId(id: string): void {
    this.requestId = id
  }

  /** Puts it into a set until it ends. */
  stayIn(set: Roster<Exchange>): void {
    if (this.ended) return
    set.add(this)
    this.#set = set
  }

  takeQuery(name: string): readonly string[] {
    const { rest, values } = takeParameter(this.target, name)
    this.target = rest
    if (values.length > 0) this.request.url = rest
    return values
  }

  readJson(maxSize: number): Promise<JsonBody> {
    return readJson(this, maxSize)
  }

  onEnd(listener: () => void): void {
    if (this.ended) {
      listener()
      return
    }
    this.#onEnd ??= []
    this.#onEnd.push(listener)
  }

  /** Notes why the request does not get the upstream's answer. The first reason stands: later ones are its consequences. */
  refuse(reason: Reason, plugin: string | null, detail: string | null): void {
    if (this.reason !== null) return
    this.reason = reason
    this.plugin = plugin
    this.detail = detail
  }

  /** The gateway goes: whatever is under way is told so, if it has words for it. */
  leave(): void {
    this.isLeaving = true
    this.call?.leave?.()
  }

  /** The status is out already: only a broken connection, or a broken stream, says that the answer is not whole. */
  abandon(): void {
    if (this.stream === null) this.response.destroy()
    else resetStream(this.stream, constants.NGHTTP2_INTERNAL_ERROR)
  }

  end(): void {
    if (this.ended) return
    this.ended = true
    this.#set?.delete(this)
    this.call?.cancel()
    if (!this.#isAnswered) this.refuse('client.aborted', null, null)
    const outcome = this.#outcome()
    if (this.route !== null) {
      this.route.inFlight.value--
      for (const listener of this.route.outcomeListeners) this.#tell(listener, outcome)
    }
    if (this.#onEnd !== null) {
      for (const listener of this.#onEnd) this.#tell(listener, outcome)
    }
    this.observer.ended(this, outcome)
  }

  get #isAnswered(): boolean {
    // A WebSocket says itself how it ended, and a stream that was reset has not delivered what was written.
    if (this.closeCode !== null) return true
    return this.response.writableFinished && (this.stream === null || this.stream.rstCode === 0)
  }

  get #status(): number {
    // The WebSocket library has written that answer.
    if (this.closeCode !== null) return 101
    return this.response.headersSent ? this.response.statusCode : 499
  }

  #tell(listener: OutcomeListener | (() => void), outcome: Outcome): void {
    try {
      listener(outcome)
    } catch (err) {
      this.observer.log.error({ err, route: outcome.route }, 'an outcome listener threw')
    }
  }

  #outcome(): Outcome {
    const headers = this.request.headers
    const query = this.target.indexOf('?')
    return new RequestOutcome({
      requestId: this.requestId,
      traceId: this.trace.traceId,
      route: this.route === null ? 'none' : this.route.name,
      upstream: this.upstream,
      protocol: this.protocol,
      method: this.request.method ?? '',
      host: headers.host ?? '',
      path: query === -1 ? this.target : this.target.slice(0, query),
      clientIp: this.clientIp,
      status: this.#status,
      reason: this.reason,
      plugin: this.plugin,
      detail: this.detail,
      identity: this.identity,
      duration: performance.now() - this.startTime,
      upstreamDuration:
        this.upstreamStart === 0 ? null : (this.upstreamEnd || performance.now()) - this.upstreamStart,
      bytesIn: this.bytesIn,
      bytesOut: this.bytesOut,
      grpcStatus: this.grpcStatus,
      closeCode: this.closeCode,
      userAgent: headers['user-agent'] ?? ''
    })
  }
}

/** The stream of an HTTP/2 response; ServerResponse has no such property. */
function streamOf(response: ServerResponse): ServerHttp2Stream | null {
  return (response as { stream?: ServerHttp2Stream }).stream ?? null
}

/** `/package.Service/Method`, and nothing else; null for another path, which no gRPC method has. */
function rpcOf(target: string): Rpc | null {
  const slash = target.indexOf('/', 1)
  const isRpc =
    slash > 1 && slash < target.length - 1 && !target.includes('/', slash + 1) && !target.includes('?')
  return isRpc ? { service: target.slice(1, slash), method: target.slice(slash + 1) } : null
}

function endExchange(this: ServerResponse): void {
  this[kExchange]?.end()
}

/** The exchange of a raw request; there is one from the moment the gate has let it in. */
export function exchangeOf(request: IncomingMessage): Exchange {
  const exchange = request[kExchange]
  if (exchange === undefined) throw new Error('the request did not come through the listener')
  return exchange
}
