import type { FastifyReply, FastifyRequest } from 'fastify'
import { type Reason, Refusal } from '../errors.ts'
import type { Exchange } from '../exchange.ts'
import { exchangeOf } from '../exchange.ts'
import { sendProblem } from '../problem.ts'
import type { Cell, Histogram } from '../registry.ts'
import { announcesTooMuch, CountedBody, hasBody } from './body.ts'
import { reasonOf } from './failures.ts'
import { type ForwardOptions, forwardedHeaders, returnedHeaders } from './headers.ts'
import { ReplyStream } from './reply-stream.ts'
import type { Rewrite } from './rewrite.ts'
import type { Endpoint, Upstream } from './upstream.ts'

/** What the proxy needs of a route; made once, when the route is built. */
export interface ProxyTarget {
  readonly upstream: Upstream
  readonly rewrite: Rewrite
  readonly location: ((value: string) => string) | null
  readonly forward: ForwardOptions
  /** Milliseconds until the head of the answer. */
  readonly responseTimeout: number
  readonly isPublic: boolean
  /** Some plugin changes bodies (`onSend`): the answer goes through Fastify's reply instead of straight out. */
  readonly viaReply: boolean
  readonly upstreamDuration: Histogram
  readonly upstreamErrors: (reason: Reason) => Cell
}

/**
 * The `preHandler` that @fastify/http-proxy is given. Instead of `reply.from` it dispatches on undici and writes the answer
 * straight into the raw response, because the copies in between cost a third of a request (docs/benchmarks.md). It never
 * calls `done`, so the package's own handler does not run: that parses the target three times over as a URL, which the gate
 * has judged already and which is forwarded as it is.
 */
export function createProxyHook(target: ProxyTarget) {
  return function proxyRequest(request: FastifyRequest, reply: FastifyReply): void {
    const exchange = exchangeOf(request.raw)
    // No 2xx without an allow decision on record: a chain that forgot to decide is a defect, and closed.
    if (!target.isPublic && exchange.identity === null) {
      throw new Refusal('plugin.failed', { detail: 'the chain ended without an identity' })
    }
    if (target.upstream.isSaturated)
      throw new Refusal('upstream.saturated', { headers: { 'retry-after': '1' } })
    if (announcesTooMuch(request.raw, exchange.maxBody)) throw new Refusal('protocol.size')
    if (!target.viaReply) reply.hijack()
    new ProxyCall(target, exchange, reply).start()
  }
}

/** Bytes of a body up to which copying it into the head's string is cheaper than sending both as they are. */
const maxJoined = 4096

/** More interim answers (1xx) than this before the final one is a flood. */
const maxInterim = 16

/**
 * One call to an upstream: an undici dispatch handler that writes into the client's response. It ends once, by the end
 * of the answer, by a failure, or because the client went.
 */
class ProxyCall {
  readonly #target: ProxyTarget
  readonly #exchange: Exchange
  readonly #reply: FastifyReply
  readonly #body: CountedBody | null
  #endpoint: Endpoint | null = null
  #abort: ((error?: Error) => void) | null = null
  #resume: (() => void) | null = null
  #stream: ReplyStream | null = null
  #interim = 0
  #expected = -1
  #ended = false
  #cancelled = false

  constructor(target: ProxyTarget, exchange: Exchange, reply: FastifyReply) {
    this.#target = target
    this.#exchange = exchange
    this.#reply = reply
    this.#body = hasBody(exchange.request) ? new CountedBody(exchange) : null
  }

  start(): void {
    const { upstream, rewrite, forward, responseTimeout } = this.#target
    const exchange = this.#exchange
    const { request } = exchange
    const endpoint = upstream.pick()
    this.#endpoint = endpoint
    upstream.inFlight++
    endpoint.inFlight++
    exchange.upstream = upstream.name
    exchange.upstreamStart = performance.now()
    exchange.cancel = () => this.#cancel()
    endpoint.pool.dispatch(
      {
        path: rewrite(exchange),
        method: request.method as 'GET',
        headers: forwardedHeaders(exchange, forward),
        body: this.#body,
        headersTimeout: responseTimeout
      },
      this
    )
  }

  onConnect(abort: (error?: Error) => void): void {
    this.#abort = abort
    if (this.#cancelled) abort()
  }

  onHeaders(status: number, raw: Buffer[], resume: () => void): boolean {
    if (status < 200) {
      if (++this.#interim > maxInterim)
        this.#fail(new Refusal('upstream.protocol', { detail: 'flood of 1xx' }))
      return true
    }
    const { response, request } = this.#exchange
    this.#resume = resume
    if (status > 599) {
      this.#fail(new Refusal('upstream.protocol', { detail: 'status over 599' }))
      return true
    }
    const headers = returnedHeaders(raw, {
      own: this.#reply.getHeaders(),
      remove: this.#exchange.removeResponseHeaders,
      location: this.#target.location
    })
    // An answer before the end of the body: what is left of the body must not be taken for a request.
    if (this.#body !== null && !request.complete) headers.push('connection', 'close')
    try {
      if (this.#target.viaReply) this.#replyHead(status, headers)
      else response.writeHead(status, headers)
    } catch (error) {
      this.#fail(new Refusal('upstream.protocol', { cause: error }))
      return true
    }
    this.#expected = request.method === 'HEAD' ? -1 : contentLength(headers)
    return true
  }

  onData(chunk: Buffer): boolean {
    const exchange = this.#exchange
    exchange.bytesOut += chunk.length
    if (this.#stream !== null) return this.#stream.push(chunk)
    const { response } = exchange
    if (exchange.bytesOut === this.#expected) {
      // The last bytes go out with the end, in one write; a short body even in one string with the head, which saves the
      // system a gathering write and Node the bookkeeping for it.
      if (chunk.length <= maxJoined) response.end(chunk.toString('latin1'), 'latin1')
      else response.end(chunk)
      return true
    }
    if (response.write(chunk)) return true
    response.once('drain', this.#resume as () => void)
    return false
  }

  onComplete(): void {
    this.#finish()
    if (this.#stream !== null) this.#stream.push(null)
    else if (!this.#exchange.response.writableEnded) this.#exchange.response.end()
  }

  onError(error: Error): void {
    if (error instanceof Refusal) this.#fail(error)
    else this.#fail(new Refusal(reasonOf(error), { cause: error, detail: detailOf(error) }))
  }

  /** The client has gone: so does the call. */
  #cancel(): void {
    if (this.#ended) return
    this.#cancelled = true
    this.#finish()
    this.#abort?.()
  }

  #fail(refusal: Refusal): void {
    if (this.#ended) return
    this.#finish()
    const exchange = this.#exchange
    const { response } = exchange
    exchange.refuse(refusal.reason, null, refusal.detail ?? null)
    if (refusal.reason.startsWith('upstream.')) this.#target.upstreamErrors(refusal.reason).value++
    this.#abort?.()
    if (this.#stream !== null) this.#stream.destroy(refusal)
    if (response.headersSent) {
      // The status is out already: only a broken connection says that the answer is not whole.
      response.destroy()
      return
    }
    if (!this.#reply.sent) this.#reply.hijack()
    const close = this.#body !== null && !exchange.request.complete
    exchange.bytesOut = sendProblem(response, refusal, exchange.requestId, this.#reply.getHeaders(), close)
  }

  #finish(): void {
    if (this.#ended) return
    this.#ended = true
    const exchange = this.#exchange
    exchange.cancel = null
    exchange.upstreamEnd = performance.now()
    this.#target.upstreamDuration.observe((exchange.upstreamEnd - exchange.upstreamStart) / 1000)
    this.#target.upstream.inFlight--
    if (this.#endpoint !== null) this.#endpoint.inFlight--
  }

  #replyHead(status: number, headers: string[]): void {
    const reply = this.#reply
    for (let i = 0; i < headers.length; i += 2) reply.header(headers[i] as string, headers[i + 1])
    this.#stream = new ReplyStream(() => this.#resume?.())
    reply.code(status).send(this.#stream)
  }
}

function contentLength(headers: readonly string[]): number {
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i] === 'content-length') return Number(headers[i + 1])
  }
  return -1
}

/** For the log only: the code says more than the text, and holds no addresses. */
function detailOf(error: Error): string {
  const code = (error as { code?: unknown }).code
  return typeof code === 'string' ? code : error.message
}
