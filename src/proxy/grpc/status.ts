import { constants } from 'node:http2'
import type { Reason } from '../../errors.ts'

/** Status codes of gRPC (google/rpc/code.proto), by the names that its documents use. */
export const grpcStatus = Object.freeze({
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16
})
export type GrpcStatus = (typeof grpcStatus)[keyof typeof grpcStatus]

const {
  CANCELLED,
  UNKNOWN,
  DEADLINE_EXCEEDED,
  PERMISSION_DENIED,
  RESOURCE_EXHAUSTED,
  UNIMPLEMENTED,
  INTERNAL,
  UNAVAILABLE,
  UNAUTHENTICATED
} = grpcStatus

/** What the client of a gRPC call hears instead of an HTTP status. Public interface, as the catalogue is. */
const byReason: Readonly<Record<Reason, GrpcStatus>> = Object.freeze({
  'token.missing': UNAUTHENTICATED,
  'token.expired': UNAUTHENTICATED,
  'token.invalid': UNAUTHENTICATED,
  'token.audience': UNAUTHENTICATED,
  'token.issuer': UNAUTHENTICATED,
  'key.unavailable': UNAVAILABLE,
  'auth.unavailable': UNAVAILABLE,
  'scope.missing': PERMISSION_DENIED,
  'policy.denied': PERMISSION_DENIED,
  'policy.error': PERMISSION_DENIED,
  'rate.exceeded': RESOURCE_EXHAUSTED,
  'store.unavailable': UNAVAILABLE,
  'concurrency.exceeded': RESOURCE_EXHAUSTED,
  'protocol.method': UNIMPLEMENTED,
  'protocol.content_type': INTERNAL,
  'protocol.origin': PERMISSION_DENIED,
  'protocol.size': RESOURCE_EXHAUSTED,
  'protocol.upgrade': INTERNAL,
  'protocol.rpc': UNIMPLEMENTED,
  'protocol.subprotocol': INTERNAL,
  'protocol.rate': RESOURCE_EXHAUSTED,
  'protocol.idle': UNAVAILABLE,
  'protocol.lifetime': UNAVAILABLE,
  'request.malformed': INTERNAL,
  'route.none': UNIMPLEMENTED,
  'upstream.connect': UNAVAILABLE,
  'upstream.timeout': DEADLINE_EXCEEDED,
  'upstream.reset': UNAVAILABLE,
  'upstream.tls': UNAVAILABLE,
  'upstream.protocol': INTERNAL,
  'upstream.breaker': UNAVAILABLE,
  'upstream.saturated': UNAVAILABLE,
  'client.aborted': CANCELLED,
  'client.deadline': DEADLINE_EXCEEDED,
  'gateway.draining': UNAVAILABLE,
  'gateway.overloaded': UNAVAILABLE,
  'session.sign_in': UNAUTHENTICATED,
  'session.unavailable': UNAVAILABLE,
  'plugin.failed': INTERNAL
})

/** The gRPC status of a refusal. */
export function grpcStatusOf(reason: Reason): GrpcStatus {
  return byReason[reason]
}

/** What an answer of HTTP means to gRPC that has no status of its own (http-grpc-status-mapping.md). */
const byHttpStatus: Readonly<Record<number, GrpcStatus>> = Object.freeze({
  400: INTERNAL,
  401: UNAUTHENTICATED,
  403: PERMISSION_DENIED,
  404: UNIMPLEMENTED,
  429: UNAVAILABLE,
  502: UNAVAILABLE,
  503: UNAVAILABLE,
  504: UNAVAILABLE
})

export function grpcStatusOfHttp(status: number): GrpcStatus {
  return byHttpStatus[status] ?? UNKNOWN
}

/** What the reset of a stream means (PROTOCOL-HTTP2.md, "HTTP2 Transport Mapping"); the rest are INTERNAL. */
const byReset: Readonly<Record<number, GrpcStatus>> = Object.freeze({
  [constants.NGHTTP2_REFUSED_STREAM]: UNAVAILABLE,
  [constants.NGHTTP2_CANCEL]: CANCELLED,
  [constants.NGHTTP2_ENHANCE_YOUR_CALM]: RESOURCE_EXHAUSTED,
  [constants.NGHTTP2_INADEQUATE_SECURITY]: PERMISSION_DENIED
})

/** @param code of the RST_STREAM frame (RFC 9113, 7) */
export function grpcStatusOfReset(code: number): GrpcStatus {
  return byReset[code] ?? INTERNAL
}

/**
 * The value of a `grpc-status` field; null where it is no number. A client takes a number that it does not know for UNKNOWN, and so
 * do we.
 */
export function readGrpcStatus(value: string): GrpcStatus | null {
  if (!/^[0-9]{1,10}$/.test(value)) return null
  const status = Number(value)
  return status <= UNAUTHENTICATED ? (status as GrpcStatus) : UNKNOWN
}
