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
  'scope.missing': PERMISSION_DENIED,
  'policy.denied': PERMISSION_DENIED,
  'policy.error': PERMISSION_DENIED,
  'rate.exceeded': RESOURCE_EXHAUSTED,
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
  'plugin.failed': INTERNAL
})

/** The gRPC status of a refusal. */
export function grpcStatusOf(reason: Reason): GrpcStatus {
  return byReason[reason]
}
