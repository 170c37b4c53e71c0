import type { FastifyReply, FastifyRequest } from 'fastify'
import { type Reason, Refusal } from '../errors.ts'
import type { Exchange } from '../exchange.ts'
import type { Cell, Histogram } from '../registry.ts'
import { enter, noTicket, resting } from './admission.ts'
import type { ForwardOptions } from './headers.ts'
import type { Rewrite, RewriteLocation } from './rewrite.ts'
import type { Upstream } from './upstream.ts'

/** What a proxy needs of a route; made once, when the route is built. */
export interface ProxyTarget {
  readonly route: string
  readonly upstream: Upstream
  readonly rewrite: Rewrite
  readonly location: RewriteLocation | null
  readonly forward: ForwardOptions
  /** Milliseconds until the head of the answer. */
  readonly responseTimeout: number
  /** Milliseconds for the body of an HTTP/2 request to arrive; on HTTP/1 the listener sees to it. */
  readonly bodyTimeout: number
  /** Whether the route itself says how long an answer may take; null: it does not. */
  readonly routeTimeout: number | null
  readonly isPublic: boolean
  /** Whether the route takes gRPC-Web. */
  readonly grpcWeb: boolean
  /** How many plugins stand on the route. */
  readonly chainLength: number
  /** Some plugin has hooks on answers or errors: those go through Fastify's reply instead of straight out. */
  readonly viaReply: boolean
  readonly upstreamDuration: Histogram
  readonly upstreamErrors: (reason: Reason) => Cell
  readonly retried: () => Cell
  /** Null for all but WebSocket. */
  readonly sockets: SocketCounters | null
}

/** What is counted of the WebSockets of a route; messages in: from the client. */
export interface SocketCounters {
  readonly connections: Cell
  readonly messagesIn: Cell
  readonly messagesOut: Cell
}

/** The last hook of a route: it takes the request over. */
export type ProxyHook = (request: FastifyRequest, reply: FastifyReply) => void

const gone = new Refusal('client.aborted', { detail: 'before the upstream was asked' })

/**
 * What every proxy asks before it calls the upstream: the client is still there, the chain has run to its end and has decided,
 * the upstream has room and its breaker lets the call through. Throws the refusal otherwise.
 * @returns the ticket with which the result is reported to the breaker
 */
export function admit(exchange: Exchange, target: ProxyTarget): number {
  refuseUndecided(exchange, target)
  if (target.upstream.isSaturated)
    throw new Refusal('upstream.saturated', { headers: { 'retry-after': '1' } })
  const ticket = enter(target.upstream)
  if (ticket === noTicket) throw resting(target.upstream)
  return ticket
}

/** Throws unless the chain has run to its end and has decided. */
export function refuseUndecided(exchange: Exchange, target: ProxyTarget): void {
  exchange.running = null
  // While a plugin was asked. Nobody would end its call any more, which would keep its place at the upstream for good.
  if (exchange.ended) throw gone
  // Fastify takes a hook that throws null or undefined for the end of the chain: the plugins behind it were never asked.
  if (exchange.passed !== target.chainLength) {
    throw new Refusal('plugin.failed', { detail: 'the chain ended before its last plugin' })
  }
  // No 2xx without an allow decision on record: a chain that forgot to decide is a defect, and closed.
  if (!target.isPublic && exchange.identity === null) {
    throw new Refusal('plugin.failed', { detail: 'the chain ended without an identity' })
  }
}
