import type { FastifyReply } from 'fastify'
import { answer } from '../../answer.ts'
import { Refusal } from '../../errors.ts'
import type { Exchange } from '../../exchange.ts'
import type { Upgrade, UpstreamCall } from '../../exchange-parties.ts'
import { enterAgain, noTicket } from '../admission.ts'
import { recordEnd, recordFailure, recordStart } from '../call-record.ts'
import type { Endpoint } from '../endpoint.ts'
import { faultyFraming } from '../headers.ts'
import type { ProxyTarget, SocketCounters } from '../target.ts'
import { type Acceptor, validateFields } from './accept.ts'
import { Dial, type DialEnd, type OpenedUpstream, type UpstreamAnswer } from './dial.ts'
import { EarlyBytes } from './early-bytes.ts'
import { acceptedFields, buffersOf, dialledHeaders, refusedFields } from './fields.ts'
import { maxMessageOf } from './limits.ts'
import { type FrameMeter, Pump, type PumpEnd } from './pump.ts'
import { Side } from './side.ts'
import type { Time } from './time.ts'

/**
 * One WebSocket connection, from its handshake to its end. The upstream is dialled first: what it says to the handshake is
 * what the client is told, and only then is the client accepted.
 */
export class WebSocketCall implements UpstreamCall, DialEnd, FrameMeter {
  readonly #target: ProxyTarget
  readonly #exchange: Exchange
  readonly #reply: FastifyReply
  readonly #acceptor: Acceptor
  readonly #offers: readonly string[]
  readonly #time: Time
  readonly #counters: SocketCounters
  readonly #maxMessage: number
  readonly #early: EarlyBytes
  #ticket: number
  #endpoint: Endpoint | null = null
  #dial: Dial | null = null
  #pump: Pump | null = null
  #isSecondTry = false
  #isOver = false

  constructor(
    target: ProxyTarget,
    exchange: Exchange,
    reply: FastifyReply,
    acceptor: Acceptor,
    offers: readonly string[],
    ticket: number,
    time: Time
  ) {
    this.#target = target
    this.#exchange = exchange
    this.#reply = reply
    this.#acceptor = acceptor
    this.#offers = offers
    this.#ticket = ticket
    this.#time = time
    this.#counters = target.sockets as SocketCounters
    this.#maxMessage = maxMessageOf(exchange.messageLimits)
    const { socket, head } = exchange.upgrade as Upgrade
    this.#early = new EarlyBytes(socket, head)
  }

  start(): void {
    const { upstream } = this.#target
    const exchange = this.#exchange
    recordStart(exchange, this.#target, this)
    upstream.inFlight++
    this.#tryOnce(this.#target.responseTimeout)
  }

  opened(opened: OpenedUpstream): void {
    const { breaker } = this.#target.upstream
    breaker?.answered(this.#ticket)
    breaker?.succeeded(this.#ticket)
    this.#ticket = noTicket
    const client = this.#accept(opened)
    if (client === null) opened.webSocket.terminate()
    else this.#carry(client, opened)
  }

  refused({ status, rawHeaders, body }: UpstreamAnswer): void {
    const fault = faultOf(status, rawHeaders)
    if (fault !== null) {
      this.failed(new Refusal('upstream.protocol', { detail: fault }), false)
      return
    }
    const { breaker } = this.#target.upstream
    const isFailure = status === 502 || status === 503 || status === 504
    if (isFailure) breaker?.failed(this.#ticket)
    else {
      breaker?.answered(this.#ticket)
      breaker?.succeeded(this.#ticket)
    }
    this.#ticket = noTicket
    try {
      this.#copy(status, rawHeaders, body)
    } catch (cause) {
      this.failed(new Refusal('plugin.failed', { cause }), false)
    }
  }

  failed(refusal: Refusal, isConnectFailure: boolean): void {
    if (isConnectFailure) {
      this.#target.upstream.unreachable(this.#endpoint as Endpoint)
      if (this.#retry()) return
    }
    recordFailure(this.#exchange, this.#target, refusal, this.#ticket)
    this.#ticket = noTicket
    this.#answered()
    this.#leave()
    this.#early.discard()
    if (this.#target.viaReply) this.#reply.send(refusal)
    else answer(this.#exchange, refusal, this.#reply.getHeaders())
  }

  cancel(): void {
    if (this.#isOver) return
    this.#target.upstream.breaker?.released(this.#ticket)
    this.#answered()
    this.#leave()
    this.#dial?.cancel()
  }

  leave(): void {
    if (this.#pump !== null) this.#pump.finish(1001, 'gateway.draining')
    else if (!this.#isOver) {
      this.#dial?.cancel()
      this.failed(new Refusal('gateway.draining'), false)
    }
  }

  revoke({ reason, detail }: Refusal): void {
    this.#pump?.finish(1008, reason, detail)
  }

  in(bytes: number): void {
    this.#exchange.bytesIn += bytes
    this.#counters.messagesIn.value++
  }

  out(bytes: number): void {
    this.#exchange.bytesOut += bytes
    this.#counters.messagesOut.value++
  }

  #tryOnce(responseTimeout: number): void {
    const { upstream, forward, rewrite } = this.#target
    const endpoint = upstream.pick(this.#endpoint)
    this.#endpoint = endpoint
    endpoint.inFlight++
    this.#dial = new Dial(
      {
        endpoint,
        path: rewrite(this.#exchange),
        headers: dialledHeaders(this.#exchange, forward),
        offers: this.#offers,
        maxMessage: this.#maxMessage,
        responseTimeout
      },
      this
    )
  }

  /** Once, when nothing was sent, and where the upstream's retries cover it: docs/adr/0011-upstream-resilience.md. */
  #retry(): boolean {
    const { upstream, responseTimeout, retried } = this.#target
    const now = performance.now()
    const left = responseTimeout - (now - this.#exchange.upstreamStart)
    if (this.#isSecondTry || left <= 0) return false
    const ticket = enterAgain(upstream, this.#ticket, 'connect-failure', now)
    if (ticket === null) return false
    this.#ticket = ticket
    if (ticket === noTicket) return false
    retried().value++
    this.#isSecondTry = true
    ;(this.#endpoint as Endpoint).inFlight--
    this.#tryOnce(left)
    return true
  }

  #accept({ rawHeaders, subprotocol }: OpenedUpstream): Side | null {
    const exchange = this.#exchange
    const { request, response, upgrade } = exchange
    const { socket } = upgrade as Upgrade
    const fields = acceptedFields(exchange, rawHeaders, this.#reply.getHeaders())
    const choice = subprotocol ?? exchange.ownSubprotocol
    if (choice !== null) fields.push('Sec-WebSocket-Protocol', choice)
    try {
      validateFields(fields)
    } catch (cause) {
      this.failed(new Refusal('plugin.failed', { cause, detail: 'a header that cannot be sent' }), false)
      return null
    }
    response.detachSocket(socket as never)
    const head = this.#early.take()
    const webSocket = this.#acceptor.accept(request, socket, head, this.#maxMessage, fields)
    if (webSocket !== null) {
      if (this.#target.viaReply) this.#reply.hijack()
      return new Side(webSocket, socket)
    }
    // The client has gone in between.
    response.assignSocket(socket as never)
    socket.destroy()
    return null
  }

  #carry(client: Side, { webSocket, socket }: OpenedUpstream): void {
    const exchange = this.#exchange
    this.#answered()
    this.#counters.connections.value++
    this.#pump = new Pump({
      client,
      upstream: new Side(webSocket, socket),
      limits: exchange.messageLimits,
      time: this.#time,
      meter: this,
      onEnd: end => this.#ended(end)
    })
    client.webSocket.resume()
  }

  #ended({ closeCode, reason, detail }: PumpEnd): void {
    const exchange = this.#exchange
    this.#counters.connections.value--
    this.#leave()
    exchange.closeCode = closeCode
    if (reason !== null) exchange.refuse(reason, null, detail)
    if (reason?.startsWith('upstream.')) this.#target.upstreamErrors(reason).value++
    exchange.end()
  }

  #copy(status: number, rawHeaders: readonly string[], body: Buffer | null): void {
    const exchange = this.#exchange
    const { response } = exchange
    const reply = this.#reply
    const own = reply.getHeaders()
    const isBodyless = status === 204 || status === 304
    const fields = refusedFields(exchange, rawHeaders, own, this.#target.location, body !== null)
    if (!isBodyless) fields.push('content-length', String(body?.length ?? 0))
    if (this.#target.viaReply) {
      exchange.ownHeaders = own
      for (const name in own) reply.removeHeader(name)
      for (let i = 0; i < fields.length; i += 2) reply.header(fields[i] as string, fields[i + 1])
      reply.code(status)
    } else response.writeHead(status, fields)
    this.#answered()
    this.#leave()
    this.#early.discard()
    exchange.bytesOut = isBodyless ? 0 : (body?.length ?? 0)
    const payload = isBodyless || body === null ? undefined : body
    if (this.#target.viaReply) reply.send(payload)
    else response.end(payload)
  }

  /** The upstream has said what it has to say to the handshake. */
  #answered(): void {
    const exchange = this.#exchange
    if (exchange.upstreamEnd !== 0) return
    recordEnd(exchange, this.#target)
  }

  /** Nothing is under way at the upstream any more. */
  #leave(): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#target.upstream.inFlight--
    if (this.#endpoint !== null) this.#endpoint.inFlight--
    this.#exchange.call = null
  }
}

/** What is wrong with an answer that refuses a handshake; null when nothing is. */
function faultOf(status: number, rawHeaders: readonly string[]): string | null {
  // Node takes a 101 without Upgrade for an answer like any other: a client would take it for the acceptance.
  if (status < 200) return 'a 101 without Upgrade'
  return status > 599 ? 'status over 599' : faultyFraming(status, buffersOf(rawHeaders))
}
