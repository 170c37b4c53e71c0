import type { Reason } from './errors.ts'
import type { Identity } from './identity.ts'

export type Protocol = 'http' | 'grpc' | 'websocket'
export type OutcomeListener = (outcome: Outcome) => void

export interface OutcomeFields {
  readonly requestId: string
  readonly traceId: string
  /** Name of the route; `none` when no route matched. */
  readonly route: string
  readonly upstream: string | null
  readonly protocol: Protocol
  readonly method: string
  readonly host: string
  /** The path as the client sent it, without its query. */
  readonly path: string
  readonly clientIp: string
  /** Status that was sent; 499 when the client left before one could be. */
  readonly status: number
  /** Why the request did not get a complete answer from the upstream; null when it did. */
  readonly reason: Reason | null
  /** The plugin that refused; null when the gateway itself did or nobody did. */
  readonly plugin: string | null
  /** Log-only text beside the reason. */
  readonly detail: string | null
  readonly identity: Identity | null
  /** Milliseconds from the head of the request to the end. */
  readonly duration: number
  /** Milliseconds from dispatch to the end of the upstream's answer; null when no upstream was asked. */
  readonly upstreamDuration: number | null
  /** Bytes of the request body as forwarded, and of the response body as sent. */
  readonly bytesIn: number
  readonly bytesOut: number
  /** `grpc-status` that the client of a gRPC call got; null for other protocols, and when it left first. */
  readonly grpcStatus: number | null
  /** Close code of a WebSocket (RFC 6455, 7.4); null for other protocols, and for a handshake that was refused. */
  readonly closeCode: number | null
  readonly userAgent: string
}

/** How one request ended. Made exactly once per request, whatever the ending; read by logs, metrics and plugins. */
export interface Outcome extends OutcomeFields {
  /** What a log says of it beside the route: one flat object; nothing of the query, the header or the credential. */
  line(): Record<string, string | number | null>
}

const maxUserAgent = 256

export class RequestOutcome implements Outcome {
  readonly requestId: string
  readonly traceId: string
  readonly route: string
  readonly upstream: string | null
  readonly protocol: Protocol
  readonly method: string
  readonly host: string
  readonly path: string
  readonly clientIp: string
  readonly status: number
  readonly reason: Reason | null
  readonly plugin: string | null
  readonly detail: string | null
  readonly identity: Identity | null
  readonly duration: number
  readonly upstreamDuration: number | null
  readonly bytesIn: number
  readonly bytesOut: number
  readonly grpcStatus: number | null
  readonly closeCode: number | null
  readonly userAgent: string

  constructor(fields: OutcomeFields) {
    this.requestId = fields.requestId
    this.traceId = fields.traceId
    this.route = fields.route
    this.upstream = fields.upstream
    this.protocol = fields.protocol
    this.method = fields.method
    this.host = fields.host
    this.path = fields.path
    this.clientIp = fields.clientIp
    this.status = fields.status
    this.reason = fields.reason
    this.plugin = fields.plugin
    this.detail = fields.detail
    this.identity = fields.identity
    this.duration = fields.duration
    this.upstreamDuration = fields.upstreamDuration
    this.bytesIn = fields.bytesIn
    this.bytesOut = fields.bytesOut
    this.grpcStatus = fields.grpcStatus
    this.closeCode = fields.closeCode
    this.userAgent = fields.userAgent
  }

  line(): Record<string, string | number | null> {
    const line: Record<string, string | number | null> = {
      upstream: this.upstream,
      protocol: this.protocol,
      method: this.method,
      host: this.host,
      path: this.path,
      status: this.status,
      reason: this.reason,
      refusedBy: this.plugin,
      detail: this.detail,
      clientIp: this.clientIp,
      subject: this.identity === null ? null : this.identity.subject,
      durationMs: Math.round(this.duration * 1000) / 1000,
      upstreamMs: this.upstreamDuration === null ? null : Math.round(this.upstreamDuration * 1000) / 1000,
      bytesIn: this.bytesIn,
      bytesOut: this.bytesOut,
      userAgent: this.userAgent.slice(0, maxUserAgent),
      requestId: this.requestId,
      traceId: this.traceId
    }
    if (this.grpcStatus !== null) line.grpcStatus = this.grpcStatus
    if (this.closeCode !== null) line.closeCode = this.closeCode
    return line
  }
}
