import type { FastifyReply } from 'fastify'
import { answer } from '../../answer.ts'
import { Refusal } from '../../errors.ts'
import type { Exchange } from '../../exchange.ts'
import type { UpstreamCall } from '../../exchange-parties.ts'
import { enterAgain, noTicket } from '../admission.ts'
import { recordEnd, recordFailure, recordStart } from '../call-record.ts'
import type { Endpoint } from '../endpoint.ts'
import type { AnswerHeaders } from '../http2/stream-user.ts'
import type { ProxyTarget } from '../target.ts'
import { faultOfHead, noStatus, noTrailers, unreachable } from './answer.ts'
import type { RequestSink, RpcClient } from './client.ts'
import { isTimed } from './deadline.ts'
import { MessageCounter } from './frames.ts'
import { addOwn, addReturned, type CallHead, callHeaders, fieldOf, type HeaderList } from './metadata.ts'
import { messageOf, statusOfRefusal } from './refusal.ts'
import { SentRequest } from './sent-request.ts'
import { type GrpcStatus, grpcStatus, readGrpcStatus } from './status.ts'
import { type AnswerSink, UpstreamSide } from './upstream-side.ts'

const tooLarge = new Refusal('protocol.size', { detail: 'a message is larger than the route allows' })
const tooLate = new Refusal('client.deadline')
const noHead = new Refusal('upstream.timeout', { detail: 'no head of an answer' })
const cutOff = new Refusal('gateway.draining', { detail: 'cut off' })
const noHeaders = Object.freeze({})

export interface CallOptions {
  readonly target: ProxyTarget
  readonly exchange: Exchange
  readonly reply: FastifyReply
  readonly client: RpcClient
  readonly isWeb: boolean
  /** Refusals go through Fastify's reply, too. */
  readonly viaReply: boolean
  /** Of the breaker. */
  readonly ticket: number
  /** When the client's deadline passes, on the clock of `performance.now()`; null: it has set none. */
  readonly deadline: number | null
}

/**
 * One gRPC call: the client's stream and the upstream's, each of which may end before the other. It ends once: with the
 * upstream's status, with one of ours, or because the client went.
 */
export class GrpcCall implements UpstreamCall, RequestSink, AnswerSink {
  readonly #target: ProxyTarget
  readonly #exchange: Exchange
  readonly #reply: FastifyReply
  readonly #client: RpcClient
  readonly #messages: MessageCounter
  readonly #head: CallHead
  readonly #deadline: number | null
  readonly #viaReply: boolean
  readonly #sent = new SentRequest()
  #ticket: number
  #up: UpstreamSide | null = null
  #trailers: readonly string[] | null = null
  #isSecondTry = false
  #isReading = false
  #isAnswered = false
  #ended = false
  #deadlineTimer: NodeJS.Timeout | undefined
  #headTimer: NodeJS.Timeout | undefined

  constructor(options: CallOptions) {
    const { target, exchange, reply, client, isWeb, viaReply, ticket, deadline } = options
    this.#viaReply = viaReply
    this.#target = target
    this.#exchange = exchange
    this.#reply = reply
    this.#client = client
    this.#ticket = ticket
    this.#deadline = deadline
    this.#messages = new MessageCounter(exchange.messageLimits?.maxMessage ?? exchange.maxBody)
    this.#head = { path: target.rewrite(exchange), forward: target.forward, isWeb }
  }

  start(): void {
    const { upstream, routeTimeout } = this.#target
    const exchange = this.#exchange
    recordStart(exchange, this.#target, this)
    upstream.inFlight++
    if (this.#deadline !== null) {
      const left = this.#deadline - exchange.upstreamStart
      if (isTimed(left)) this.#deadlineTimer = setTimeout(passDeadline, left, this)
    }
    if (routeTimeout !== null) this.#headTimer = setTimeout(missHead, routeTimeout, this)
    this.#dispatch(null)
  }

  /** The client has gone. */
  cancel(): void {
    if (this.#ended) return
    this.#target.upstream.breaker?.released(this.#ticket)
    this.#finish()
    this.#takeUpstream()?.leave()
  }

  /** The gateway ends what has not ended by itself: the client hears so, and may try another one. */
  cut(): void {
    this.fail(cutOff)
  }

  revoke(refusal: Refusal): void {
    this.fail(refusal)
  }

  takeRequest(chunk: Buffer): void {
    const up = this.#up
    if (up === null) return
    this.#exchange.bytesIn += chunk.length
    if (!this.#messages.take(chunk)) {
      this.fail(tooLarge)
      return
    }
    this.#sent.keep(chunk)
    if (!up.write(chunk)) this.#client.pause()
  }

  endRequest(): void {
    this.#sent.hasEnded = true
    this.#up?.end()
  }

  rejectRequest(detail: string): void {
    this.fail(new Refusal('request.malformed', { detail }))
  }

  drained(): void {
    this.#up?.resume()
  }

  /** The call ends with a status of ours. */
  fail(refusal: Refusal): void {
    if (this.#ended) return
    const exchange = this.#exchange
    recordFailure(exchange, this.#target, refusal, this.#ticket)
    this.#finish()
    exchange.refuse(refusal.reason, null, refusal.detail ?? null)
    this.#takeUpstream()?.leave()
    if (!this.#isAnswered) {
      if (this.#viaReply) this.#reply.send(refusal)
      else answer(exchange, refusal, this.#reply.getHeaders())
      return
    }
    const status = statusOfRefusal(refusal)
    exchange.grpcStatus = status
    this.#client.end(['grpc-status', String(status), 'grpc-message', messageOf(refusal)])
  }

  opened(): void {
    const up = this.#up as UpstreamSide
    if (!this.#isReading) {
      this.#isReading = true
      this.#client.read(this)
      return
    }
    this.#sent.replay(up)
    if (!this.#sent.hasEnded) this.#client.resume()
  }

  notOpened(error: Error): void {
    const { upstream } = this.#target
    const refusal = unreachable(error)
    if (refusal.reason.startsWith('upstream.')) {
      upstream.unreachable((this.#up as UpstreamSide).endpoint)
      if (this.#retry(false)) return
    }
    this.fail(refusal)
  }

  takesMore(): void {
    this.#client.resume()
  }

  gotHead(headers: AnswerHeaders, isEnd: boolean, raw: readonly string[]): void {
    if (this.#headTimer !== undefined) clearTimeout(this.#headTimer)
    const status = isEnd ? statusIn(raw) : null
    const fault = status === null ? faultOfHead(headers, isEnd) : null
    if (fault !== null) {
      this.fail(fault)
      return
    }
    const own = this.#reply.getHeaders()
    const list: HeaderList = []
    addReturned(list, raw, own, this.#exchange)
    this.#sent.drop()
    try {
      addOwn(list, own)
      if (status === null) this.#client.head(list)
      else this.#client.only(list)
    } catch (cause) {
      // What nghttp2 has let in can be sent on: it is a plugin's.
      this.fail(new Refusal('plugin.failed', { cause, detail: 'a header that cannot be sent' }))
      return
    }
    this.#isAnswered = true
    if (status !== null) {
      this.#complete(status)
      return
    }
    this.#target.upstream.breaker?.answered(this.#ticket)
    this.#up?.read()
  }

  gotData(chunk: Buffer): void {
    this.#exchange.bytesOut += chunk.length
    if (!this.#client.write(chunk)) this.#up?.pause()
  }

  gotTrailers(raw: readonly string[]): void {
    this.#trailers = raw
  }

  gotEnd(isReset: boolean): void {
    const raw = this.#trailers
    if (raw === null) {
      if (!isReset) this.fail(noTrailers)
      return
    }
    const status = statusIn(raw)
    if (status === null) {
      this.fail(noStatus)
      return
    }
    const list: HeaderList = []
    addReturned(list, raw, noHeaders, this.#exchange)
    this.#complete(status)
    this.#client.end(list)
  }

  brokeOff(refusal: Refusal, wasSeen: boolean): void {
    if (!wasSeen && this.#sent.isWhole && this.#retry(true)) return
    this.fail(refusal)
  }

  #dispatch(avoid: Endpoint | null): void {
    const endpoint = this.#target.upstream.pick(avoid)
    const left = this.#deadline === null ? null : this.#deadline - performance.now()
    let headers: HeaderList
    try {
      headers = callHeaders(this.#exchange, endpoint, this.#head, left)
    } catch (error) {
      this.fail(unreachable(error as Error))
      return
    }
    endpoint.inFlight++
    this.#up = new UpstreamSide(endpoint, headers, this)
    this.#up.open()
  }

  /**
   * Tries the call again, once: no service has seen it. A stream that came too late on its session, or was one too many for it, is
   * sent to another session as gRPC's own clients do, without a budget.
   * @param wasOpened whether there was a stream
   */
  #retry(wasOpened: boolean): boolean {
    const { upstream, retried } = this.#target
    if (this.#isSecondTry || this.#ended) return false
    const ticket = enterAgain(upstream, this.#ticket, wasOpened ? null : 'connect-failure', performance.now())
    if (ticket === null) return false
    this.#ticket = ticket
    if (ticket === noTicket) return false
    this.#isSecondTry = true
    const failed = this.#takeUpstream() as UpstreamSide
    failed.leave()
    if (this.#isReading) this.#client.pause()
    retried().value++
    this.#dispatch(failed.endpoint)
    return true
  }

  /** The upstream has said how the call ended. */
  #complete(status: GrpcStatus): void {
    const { breaker } = this.#target.upstream
    this.#exchange.grpcStatus = status
    if (status === grpcStatus.UNAVAILABLE) breaker?.failed(this.#ticket)
    else breaker?.succeeded(this.#ticket)
    this.#finish()
    this.#takeUpstream()?.settle()
  }

  #finish(): void {
    this.#ended = true
    if (this.#deadlineTimer !== undefined) clearTimeout(this.#deadlineTimer)
    if (this.#headTimer !== undefined) clearTimeout(this.#headTimer)
    this.#target.upstream.inFlight--
    this.#exchange.call = null
    recordEnd(this.#exchange, this.#target)
  }

  /** The upstream's side, which the call has no more. */
  #takeUpstream(): UpstreamSide | null {
    const up = this.#up
    this.#up = null
    if (up !== null) up.endpoint.inFlight--
    return up
  }
}

function statusIn(raw: readonly string[]): GrpcStatus | null {
  const value = fieldOf(raw, 'grpc-status')
  return value === null ? null : readGrpcStatus(value)
}

function passDeadline(call: GrpcCall): void {
  call.fail(tooLate)
}

function missHead(call: GrpcCall): void {
  call.fail(noHead)
}
