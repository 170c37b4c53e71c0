import type { Reason } from './errors.ts'
import type { Identity } from './identity.ts'

/** How one request ended. Made exactly once per request, whatever the ending; read by logs, metrics and plugins. */
export interface Outcome {
  readonly requestId: string
  readonly traceId: string
  readonly route: string | 'none'
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
  /** Milliseconds from the first byte of the request head to the end. */
  readonly duration: number
  /** Milliseconds from dispatch to the end of the upstream's answer; null when no upstream was asked. */
  readonly upstreamDuration: number | null
  /** Bytes of the request body as forwarded and of the response body as sent. */
  readonly bytesIn: number
  readonly bytesOut: number
  readonly userAgent: string
}

export type OutcomeListener = (outcome: Outcome) => void
export type Protocol = 'http' | 'grpc' | 'websocket'
