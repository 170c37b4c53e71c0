import type { FastifyReply } from 'fastify'
import { answer, stopReading } from '../../answer.ts'
import { Refusal } from '../../errors.ts'
import type { Exchange } from '../../exchange.ts'
import type { UpstreamCall } from '../../exchange-parties.ts'
import { enterAgain, noTicket } from '../admission.ts'
import { CountedBody, hasBody } from '../body.ts'
import { recordEnd, recordFailure, recordStart } from '../call-record.ts'
import type { Endpoint, UpstreamRequest } from '../endpoint.ts'
import { detailOf, isLengthMismatch, reasonOf } from '../failures.ts'
import { faultyFraming, forwardedHeaders, isChunked, returnedHeaders } from '../headers.ts'
import { ReplyStream } from '../reply-stream.ts'
import { isRepeatable, type RetryableFailure } from '../retry.ts'
import type { ProxyTarget } from '../target.ts'
import { byName, contentLength, dropContentLength, interimFault, isSendable } from './answer-head.ts'

/** Bytes of a body up to which copying it into the head's string is cheaper than sending both as they are. */
const maxJoined = 4096

/**
 * One call to an upstream: an undici dispatch handler that writes into the client's response. It ends once, by the end
 * of the answer, by a failure, or because the client went.
 */
export class ProxyCall implements UpstreamCall {
  readonly #target: ProxyTarget
  readonly #exchange: Exchange
  readonly #reply: FastifyReply
  readonly #path: string
  readonly #headers: string[]
  readonly #body: CountedBody | null
  #endpoint: Endpoint | null = null
  #abort: ((error?: Error) => void) | null = null
  #resume: (() => void) | null = null
  #stream: ReplyStream | null = null
  #interim = 0
  #expected = -1
  #isNotModified = false
  #ended = false
  /** The call that this one is the second try of. */
  readonly #before: ProxyCall | null
  #ticket: number
  #isConnected = false
  #isReused = false
  #timer: NodeJS.Timeout | undefined

  constructor(
    target: ProxyTarget,
    exchange: Exchange,
    reply: FastifyReply,
    ticket: number,
    before: ProxyCall | null = null
  ) {
    this.#target = target
    this.#exchange = exchange
    this.#reply = reply
    this.#ticket = ticket
    this.#before = before
    this.#path = before === null ? target.rewrite(exchange) : before.#path
    this.#headers = before === null ? forwardedHeaders(exchange, target.forward) : before.#headers
    if (before !== null) this.#body = before.#body
    else this.#body = hasBody(exchange.request) ? new CountedBody(exchange, target.bodyTimeout) : null
  }

  start(): void {
    const { upstream, responseTimeout } = this.#target
    const exchange = this.#exchange
    const endpoint = upstream.pick(this.#before === null ? null : this.#before.#endpoint)
    this.#endpoint = endpoint
    upstream.inFlight++
    endpoint.inFlight++
    if (this.#before === null) recordStart(exchange, this.#target, this)
    else exchange.call = this
    const method = exchange.request.method as 'GET'
    const { connects } = endpoint
    endpoint.pool.dispatch(
      {
        path: this.#path,
        method,
        headers: this.#headers,
        body: this.#body,
        servername: endpoint.servername,
        // undici closes the connection after each HEAD (its issue 258), and that stays so: the body that a careless server sends
        // all the same may come when the connection is another client's, and would be that client's answer.
        headersTimeout: responseTimeout
      } as UpstreamRequest,
      this
    )
    this.#isReused = endpoint.connects === connects
  }

  onConnect(abort: (error?: Error) => void): void {
    this.#abort = abort
    this.#isConnected = true
    if (this.#ended) abort()
  }

  onHeaders(status: number, raw: Buffer[], resume: () => void): boolean {
    if (status < 200) {
      this.#judgeInterim(status)
      return true
    }
    if (this.#judgeStatus(status)) return true
    this.#resume = resume
    const fault = status > 599 ? 'status over 599' : faultyFraming(status, raw)
    if (fault !== null) {
      this.#fail(new Refusal('upstream.protocol', { detail: fault }))
      return true
    }
    const { response, request } = this.#exchange
    const own = this.#reply.getHeaders()
    const headers = returnedHeaders(raw, {
      own,
      remove: this.#exchange.removeResponseHeaders,
      location: this.#target.location,
      sessionCookie: this.#target.forward.sessionCookie,
      host: request.headers.host
    })
    if (status === 204) dropContentLength(headers)
    this.#isNotModified = status === 304
    // An answer before the end of the body: what is left of the body must not be taken for a request.
    if (this.#body !== null && !request.complete) this.#endConnection(headers)
    try {
      if (this.#target.viaReply) this.#replyHead(status, headers, own)
      else response.writeHead(status, headers)
    } catch (cause) {
      this.#fail(new Refusal(isSendable(own) ? 'upstream.protocol' : 'plugin.failed', { cause }))
      return true
    }
    this.#expected = request.method === 'HEAD' ? -1 : contentLength(headers)
    if (this.#isNotModified && isChunked(raw)) {
      // A 304 has no body, but chunks that come late would be read as the next answer: the connection is not used again.
      this.onComplete()
      this.#abort?.()
      return true
    }
    // Node holds the head back for the first bytes of the body. Of a stream (no length) those may be a long time coming.
    if (this.#expected === -1 && this.#stream === null) process.nextTick(flushHead, this.#exchange)
    return true
  }

  #endConnection(headers: string[]): void {
    const { stream } = this.#exchange
    if (stream === null) headers.push('connection', 'close')
    // RFC 9113, 8.1: after the answer the client is told to stop sending.
    else stream.once('finish', stopReading)
  }

  onData(chunk: Buffer): boolean {
    const exchange = this.#exchange
    exchange.bytesOut += chunk.length
    if (this.#stream !== null) return this.#stream.push(chunk)
    const { response } = exchange
    if (exchange.bytesOut === this.#expected) {
      // The last bytes go out with the end, in one write; a short body even in one string with the head, which saves the
      // system a gathering write and Node the bookkeeping for it.
      if (chunk.length <= maxJoined && exchange.stream === null)
        response.end(chunk.toString('latin1'), 'latin1')
      else response.end(chunk)
      return true
    }
    if (response.write(chunk)) return true
    response.once('drain', this.#resume as () => void)
    return false
  }

  onComplete(): void {
    if (this.#ended) return
    this.#target.upstream.breaker?.succeeded(this.#ticket)
    this.#finish()
    if (this.#stream !== null) this.#stream.push(null)
    else if (!this.#exchange.response.writableEnded) this.#exchange.response.end()
  }

  onError(error: Error): void {
    if (this.#ended) return
    if (error instanceof Refusal) {
      this.#fail(error)
      return
    }
    if (this.#isNotModified && isLengthMismatch(error)) {
      this.onComplete()
      return
    }
    const refusal = new Refusal(reasonOf(error), { cause: error, detail: detailOf(error) })
    if (!this.#isConnected && refusal.reason.startsWith('upstream.')) {
      this.#target.upstream.unreachable(this.#endpoint as Endpoint)
      if (this.#retry('connect-failure')) return
    } else if (refusal.reason === 'upstream.reset' && this.#resume === null && this.#retry('reset')) return
    this.#fail(refusal)
  }

  cancel(): void {
    if (this.#ended) return
    this.#target.upstream.breaker?.released(this.#ticket)
    this.#finish()
    this.#abort?.()
    this.#stream?.destroy()
  }

  /** A download has an end of its own, and so has what is not answered yet, or a token of five minutes would end an upload of ten. */
  revoke(refusal: Refusal, isWithdrawn: boolean): void {
    const isEndless = this.#resume !== null && this.#expected === -1
    if (isWithdrawn || isEndless) this.#fail(refusal)
  }

  /**
   * 502, 503 and 504 say that the service does not work; a 500 may be the fault of one request, with which one client could
   * open the breaker for all. True: the request is tried again.
   */
  #judgeStatus(status: number): boolean {
    const { breaker } = this.#target.upstream
    const isFailure = status === 502 || status === 503 || status === 504
    if (isFailure && this.#retry(status)) return true
    if (this.#timer !== undefined) clearTimeout(this.#timer)
    if (breaker === null) return false
    if (!isFailure) breaker.answered(this.#ticket)
    else {
      breaker.failed(this.#ticket)
      this.#ticket = noTicket
    }
    return false
  }

  /** Tries the request again, once, if that can do no harm and is allowed: docs/adr/0011-upstream-resilience.md. */
  #retry(failure: RetryableFailure): boolean {
    const exchange = this.#exchange
    const { upstream, responseTimeout, retried } = this.#target
    if (this.#before !== null || exchange.ended || this.#body?.destroyed) return false
    if (!isRepeatable(failure, exchange.request.method as string, this.#body !== null)) return false
    const now = performance.now()
    const left = responseTimeout - (now - exchange.upstreamStart)
    if (left <= 0) return false
    const isStale = failure === 'reset' && this.#isReused
    const ticket = enterAgain(upstream, this.#ticket, isStale ? null : failure, now)
    if (ticket === null) return false
    this.#ticket = noTicket
    if (ticket === noTicket) return false
    this.#leave()
    this.#abort?.()
    retried().value++
    const again = new ProxyCall(this.#target, exchange, this.#reply, ticket, this)
    // Both tries together may take no longer than one.
    again.#timer = setTimeout(
      () => again.#fail(new Refusal('upstream.timeout', { detail: 'second try' })),
      left
    )
    again.start()
    return true
  }

  /** Interim answers are not for the client, who asked for none; and nobody asked for another protocol. */
  #judgeInterim(status: number): void {
    const fault = interimFault(status, ++this.#interim)
    if (fault !== null) this.#fail(new Refusal('upstream.protocol', { detail: fault }))
  }

  #fail(refusal: Refusal): void {
    if (this.#ended) return
    const exchange = this.#exchange
    const { response } = exchange
    recordFailure(exchange, this.#target, refusal, this.#ticket)
    this.#finish()
    exchange.refuse(refusal.reason, null, refusal.detail ?? null)
    this.#abort?.()
    if (this.#stream !== null) {
      // Hooks may hold the stream: they or Fastify hear of its error, and `refuse` answers while that is possible.
      this.#stream.destroy(refusal)
      if (response.headersSent) exchange.abandon()
      return
    }
    if (response.headersSent) {
      exchange.abandon()
      return
    }
    if (this.#target.viaReply) this.#reply.send(refusal)
    else answer(exchange, refusal, this.#reply.getHeaders())
  }

  #finish(): void {
    if (this.#ended) return
    this.#leave()
    this.#exchange.call = null
    recordEnd(this.#exchange, this.#target)
  }

  /** Nothing more is heard of this call, whatever becomes of the request. */
  #leave(): void {
    this.#ended = true
    if (this.#timer !== undefined) clearTimeout(this.#timer)
    this.#target.upstream.inFlight--
    if (this.#endpoint !== null) this.#endpoint.inFlight--
  }

  #replyHead(status: number, headers: readonly string[], own: ReturnType<FastifyReply['getHeaders']>): void {
    const reply = this.#reply
    this.#exchange.ownHeaders = own
    // `headers` holds them too, merged with the upstream's.
    for (const name in own) reply.removeHeader(name)
    for (const [name, values] of byName(headers)) reply.header(name, values.length === 1 ? values[0] : values)
    this.#stream = new ReplyStream(() => this.#resume?.())
    reply.code(status).send(this.#stream)
  }
}

/** Runs when everything that came in one piece with the head has been passed on. */
function flushHead({ response, bytesOut }: Exchange): void {
  if (bytesOut === 0 && !response.writableEnded && !response.destroyed) response.flushHeaders()
}
