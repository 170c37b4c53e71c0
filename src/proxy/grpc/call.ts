import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  constants,
  type IncomingHttpHeaders
} from 'node:http2'
import type { FastifyReply } from 'fastify'
import { answer } from '../../answer.ts'
import { Refusal } from '../../errors.ts'
import type { Exchange, UpstreamCall } from '../../exchange.ts'
import { enter, noTicket } from '../admission.ts'
import { recordEnd, recordFailure, recordStart } from '../call-record.ts'
import type { Endpoint } from '../endpoint.ts'
import type { Http2Client, PendingRequest } from '../http2/client.ts'
import { wasNotProcessed } from '../http2/errors.ts'
import type { ProxyTarget } from '../target.ts'
import { brokenOff, faultOfHead, noStatus, noTrailers, unreachable } from './answer.ts'
import type { RequestSink, RpcClient } from './client.ts'
import { isTimed } from './deadline.ts'
import { MessageCounter } from './frames.ts'
import { addOwn, addReturned, type CallHead, callHeaders, fieldOf, type HeaderList } from './metadata.ts'
import { messageOf, statusOfRefusal } from './refusal.ts'
import { type GrpcStatus, grpcStatus, readGrpcStatus } from './status.ts'

const { NGHTTP2_CANCEL, NGHTTP2_FLAG_END_STREAM, NGHTTP2_NO_ERROR } = constants

const kCall = Symbol('sallyport.grpc-call')
type UpstreamStream = ClientHttp2Stream & { [kCall]?: GrpcCall | undefined }

const tooLarge = new Refusal('protocol.size', { detail: 'a message is larger than the route allows' })
const tooLate = new Refusal('client.deadline')
const noHead = new Refusal('upstream.timeout', { detail: 'no head of an answer' })
const cutOff = new Refusal('gateway.draining', { detail: 'cut off' })
/** The body is open: what ends it comes as a frame of its own. */
const withBody = Object.freeze({ endStream: false })
/** Bytes of a request that are kept until the upstream begins to answer. */
const maxKept = 65_536
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
export class GrpcCall implements UpstreamCall, RequestSink {
  readonly #target: ProxyTarget
  readonly #exchange: Exchange
  readonly #reply: FastifyReply
  readonly #client: RpcClient
  readonly #messages: MessageCounter
  readonly #head: CallHead
  readonly #deadline: number | null
  readonly #viaReply: boolean
  #ticket: number
  #endpoint: Endpoint | null = null
  #pending: PendingRequest | null = null
  #up: UpstreamStream | null = null
  #session: ClientHttp2Session | null = null
  #error: Error | null = null
  #trailers: readonly string[] | null = null
  #isSecondTry = false
  #isReading = false
  /** What has been sent of the request, for another try; null: too much, or the upstream has begun to answer. */
  #sent: Buffer[] | null = []
  #sentBytes = 0
  #hasEnded = false
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
    this.#leaveUpstream()
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
    if (this.#sent !== null) this.#keep(chunk, this.#sent)
    if (up.write(chunk)) return
    this.#client.pause()
    up.once('drain', resumeClient)
  }

  endRequest(): void {
    this.#hasEnded = true
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
    this.#leaveUpstream()
    if (!this.#isAnswered) {
      if (this.#viaReply) this.#reply.send(refusal)
      else answer(exchange, refusal, this.#reply.getHeaders())
      return
    }
    const status = statusOfRefusal(refusal)
    exchange.grpcStatus = status
    this.#client.end(['grpc-status', String(status), 'grpc-message', messageOf(refusal)])
  }

  resumeClient(): void {
    this.#client.resume()
  }

  gotHead(headers: IncomingHttpHeaders, flags: number, raw: readonly string[]): void {
    if (this.#headTimer !== undefined) clearTimeout(this.#headTimer)
    const isEnd = (flags & NGHTTP2_FLAG_END_STREAM) !== 0
    const status = isEnd ? statusIn(raw) : null
    const fault = status === null ? faultOfHead(headers, isEnd) : null
    if (fault !== null) {
      this.fail(fault)
      return
    }
    const own = this.#reply.getHeaders()
    const list: HeaderList = []
    addReturned(list, raw, own, this.#exchange.removeResponseHeaders)
    this.#sent = null
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
    if (status === null) this.#readAnswer()
    else this.#complete(status)
  }

  gotData(chunk: Buffer): void {
    this.#exchange.bytesOut += chunk.length
    if (!this.#client.write(chunk)) this.#up?.pause()
  }

  gotTrailers(raw: readonly string[]): void {
    this.#trailers = raw
  }

  gotEnd(): void {
    const raw = this.#trailers
    if (raw === null) {
      // Node ends a stream that was reset, too: `close` comes next and says why.
      if (this.#up?.rstCode === NGHTTP2_NO_ERROR) this.fail(noTrailers)
      return
    }
    const status = statusIn(raw)
    if (status === null) {
      this.fail(noStatus)
      return
    }
    const list: HeaderList = []
    addReturned(list, raw, noHeaders, this.#exchange.removeResponseHeaders)
    this.#complete(status)
    this.#client.end(list)
  }

  gotError(error: Error): void {
    this.#error ??= error
  }

  gotClose(): void {
    const up = this.#up as UpstreamStream
    const isGoing = this.#session?.closed !== false || this.#session.destroyed
    if (this.#sent !== null && wasNotProcessed(up) && this.#retry(true)) return
    this.fail(brokenOff(up, this.#error, isGoing))
  }

  #dispatch(avoid: Endpoint | null): void {
    const endpoint = this.#target.upstream.pick(avoid)
    this.#endpoint = endpoint
    endpoint.inFlight++
    const left = this.#deadline === null ? null : this.#deadline - performance.now()
    let headers: HeaderList
    try {
      headers = callHeaders(this.#exchange, endpoint, this.#head, left)
    } catch (error) {
      this.fail(unreachable(error as Error))
      return
    }
    const pending = (endpoint.http2 as Http2Client).request(headers, withBody, this.#opened)
    // An open session has a stream at once.
    if (this.#up === null && !this.#ended) this.#pending = pending
  }

  readonly #opened = (error: Error | null, stream: ClientHttp2Stream | null): void => {
    this.#pending = null
    if (stream === null) {
      this.#unreachable(error as Error)
      return
    }
    const up: UpstreamStream = stream
    up[kCall] = this
    this.#up = up
    this.#session = up.session as ClientHttp2Session
    up.on('response', takeHead)
    up.on('trailers', takeTrailers)
    up.on('error', takeError)
    up.on('close', takeClose)
    if (this.#isReading) this.#sendAgain(up)
    else {
      this.#isReading = true
      this.#client.read(this)
    }
  }

  #keep(chunk: Buffer, sent: Buffer[]): void {
    this.#sentBytes += chunk.length
    if (this.#sentBytes > maxKept) this.#sent = null
    else sent.push(chunk)
  }

  #sendAgain(up: UpstreamStream): void {
    for (const chunk of this.#sent ?? []) up.write(chunk)
    if (this.#hasEnded) up.end()
    else this.#client.resume()
  }

  #unreachable(error: Error): void {
    const { upstream } = this.#target
    const refusal = unreachable(error)
    if (refusal.reason.startsWith('upstream.')) {
      upstream.unreachable(this.#endpoint as Endpoint)
      if (this.#retry(false)) return
    }
    this.fail(refusal)
  }

  #readAnswer(): void {
    this.#target.upstream.breaker?.answered(this.#ticket)
    const up = this.#up as UpstreamStream
    // Not before the head was heard of: data that come with it would be read first.
    up.on('data', takeData)
    up.on('end', takeEnd)
  }

  /**
   * Tries the call again, once: no service has seen it. A stream that came too late on its session, or was one too many for it, is
   * sent to another session as gRPC's own clients do, without a budget.
   * @param wasOpened whether there was a stream
   */
  #retry(wasOpened: boolean): boolean {
    const { upstream, retried } = this.#target
    if (this.#isSecondTry || this.#ended) return false
    if (wasOpened) upstream.breaker?.released(this.#ticket)
    else {
      const { retries } = upstream
      if (retries === null || !retries.covers('connect-failure') || !retries.take(performance.now()))
        return false
      upstream.breaker?.failed(this.#ticket)
    }
    this.#ticket = noTicket
    const ticket = enter(upstream)
    if (ticket === noTicket) return false
    this.#ticket = ticket
    this.#isSecondTry = true
    this.#forgetUpstream()
    if (this.#isReading) this.#client.pause()
    const failed = this.#endpoint as Endpoint
    failed.inFlight--
    retried().value++
    this.#dispatch(failed)
    return true
  }

  /** The upstream has said how the call ended. */
  #complete(status: GrpcStatus): void {
    const { breaker } = this.#target.upstream
    this.#exchange.grpcStatus = status
    if (status === grpcStatus.UNAVAILABLE) breaker?.failed(this.#ticket)
    else breaker?.succeeded(this.#ticket)
    this.#finish()
    const up = this.#forgetUpstream() as UpstreamStream
    // One that has ended both ways goes by itself, once its end is read.
    if (up.writableFinished) up.resume()
    else up.close(NGHTTP2_CANCEL)
  }

  #finish(): void {
    this.#ended = true
    if (this.#deadlineTimer !== undefined) clearTimeout(this.#deadlineTimer)
    if (this.#headTimer !== undefined) clearTimeout(this.#headTimer)
    this.#target.upstream.inFlight--
    if (this.#endpoint !== null) this.#endpoint.inFlight--
    this.#exchange.call = null
    recordEnd(this.#exchange, this.#target)
  }

  /** Nothing more is heard of the upstream's stream, and it ends at once. */
  #leaveUpstream(): void {
    this.#pending?.cancel()
    this.#pending = null
    this.#forgetUpstream()?.close(NGHTTP2_CANCEL)
  }

  #forgetUpstream(): UpstreamStream | null {
    const up = this.#up
    if (up !== null) up[kCall] = undefined
    this.#up = null
    this.#session = null
    this.#error = null
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

function resumeClient(this: UpstreamStream): void {
  this[kCall]?.resumeClient()
}

function takeHead(
  this: UpstreamStream,
  headers: IncomingHttpHeaders,
  flags: number,
  raw: readonly string[]
): void {
  this[kCall]?.gotHead(headers, flags, raw)
}

function takeData(this: UpstreamStream, chunk: Buffer): void {
  this[kCall]?.gotData(chunk)
}

function takeTrailers(this: UpstreamStream, _trailers: object, _flags: number, raw: readonly string[]): void {
  this[kCall]?.gotTrailers(raw)
}

function takeEnd(this: UpstreamStream): void {
  this[kCall]?.gotEnd()
}

function takeError(this: UpstreamStream, error: Error): void {
  this[kCall]?.gotError(error)
}

function takeClose(this: UpstreamStream): void {
  this[kCall]?.gotClose()
}
