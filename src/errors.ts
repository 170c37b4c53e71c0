/**
 * The catalogue: every reason a request can be refused for, with the status, the stable code and the title that go
 * with it. It is a closed list and public interface: a reason is added, never renamed and never reused.
 * `docs/reference/errors.md` is generated from this file.
 */
export interface ReasonEntry {
  /** HTTP status of the refusal. 499 is logged and counted, never sent: the client has gone. */
  readonly status: number
  /** Stable machine-readable code of the problem document. */
  readonly code: `SP_${string}`
  /** Short text of the problem document (RFC 9457 `title`); the same for every occurrence. */
  readonly title: string
  /** For operators: when it happens and what to look at. */
  readonly explanation: string
}

function reason(status: number, code: ReasonEntry['code'], title: string, explanation: string): ReasonEntry {
  return Object.freeze({ status, code, title, explanation })
}

export const reasons = Object.freeze({
  'token.missing': reason(
    401,
    'SP_TOKEN_MISSING',
    'Authentication required',
    'The request carries no credential that the route accepts.'
  ),
  'token.expired': reason(
    401,
    'SP_TOKEN_EXPIRED',
    'The token has expired',
    'The `exp` of the token lies in the past by more than the clock tolerance. Or what was open (a WebSocket, a stream, a gRPC call) has outlived its credential: it has run out, or was withdrawn; the log says which.'
  ),
  'token.invalid': reason(
    401,
    'SP_TOKEN_INVALID',
    'The token is not valid',
    'The token is malformed, its signature or algorithm is wrong, or a required claim is missing.'
  ),
  'token.audience': reason(
    401,
    'SP_TOKEN_AUDIENCE',
    'The token is for another audience',
    'The `aud` of the token names none of the audiences of the issuer.'
  ),
  'token.issuer': reason(
    401,
    'SP_TOKEN_ISSUER',
    'The token is from another issuer',
    'The `iss` of the token equals none of the issuers that the route accepts.'
  ),
  'key.unavailable': reason(
    503,
    'SP_KEY_UNAVAILABLE',
    'Tokens cannot be verified at the moment',
    'The keys of the issuer were never fetched, or are older than `staleIfError`. The issuer is down or unreachable.'
  ),
  'auth.unavailable': reason(
    503,
    'SP_AUTH_UNAVAILABLE',
    'Requests cannot be authenticated at the moment',
    'The service that a route asks about its requests (`forward-auth`) did not answer in time, or not in a way that means yes or no.'
  ),
  'scope.missing': reason(
    403,
    'SP_SCOPE_MISSING',
    'A required scope is missing',
    'The identity lacks a scope that the route asks for.'
  ),
  'policy.denied': reason(403, 'SP_POLICY_DENIED', 'Not allowed', 'The policy of the route says no.'),
  'policy.error': reason(
    403,
    'SP_POLICY_ERROR',
    'Not allowed',
    'The policy of the route failed to evaluate, which denies. The log line says why.'
  ),
  'rate.exceeded': reason(
    429,
    'SP_RATE_EXCEEDED',
    'Too many requests',
    'A rate limit of the route is used up. `Retry-After` says when to come back.'
  ),
  'store.unavailable': reason(
    503,
    'SP_STORE_UNAVAILABLE',
    'Limits cannot be counted at the moment',
    'Redis is down or unreachable, and `redis.onError: deny` lets nothing pass meanwhile.'
  ),
  'concurrency.exceeded': reason(
    429,
    'SP_CONCURRENCY_EXCEEDED',
    'Too many requests at once',
    'The concurrency limit of the route is reached.'
  ),
  'protocol.method': reason(
    405,
    'SP_PROTOCOL_METHOD',
    'Method not allowed',
    'The route does not take this method. `Allow` lists those it takes.'
  ),
  'protocol.content_type': reason(
    415,
    'SP_PROTOCOL_CONTENT_TYPE',
    'Unsupported content type',
    'The route does not take bodies of this content type.'
  ),
  'protocol.origin': reason(
    403,
    'SP_PROTOCOL_ORIGIN',
    'Origin not allowed',
    'The `Origin` of the request is not one that the route allows.'
  ),
  'protocol.size': reason(
    413,
    'SP_PROTOCOL_SIZE',
    'Content too large',
    'The body is larger than the route allows, with or without a Content-Length.'
  ),
  'protocol.upgrade': reason(
    426,
    'SP_PROTOCOL_UPGRADE',
    'Another protocol is needed',
    'The route carries WebSocket and the request is none, or the other way round.'
  ),
  'protocol.rpc': reason(
    404,
    'SP_PROTOCOL_RPC',
    'Unknown method',
    'The gRPC method is not one of the `rpcs` that the route takes.'
  ),
  'protocol.subprotocol': reason(
    400,
    'SP_PROTOCOL_SUBPROTOCOL',
    'Unknown subprotocol',
    'The client offers no WebSocket subprotocol that the route takes.'
  ),
  'protocol.rate': reason(
    429,
    'SP_PROTOCOL_RATE',
    'Too many messages',
    'A WebSocket client has sent more messages a second than the route allows: closed with 1008.'
  ),
  'protocol.idle': reason(
    408,
    'SP_PROTOCOL_IDLE',
    'Silent for too long',
    'A WebSocket connection was silent for longer than `idle`: closed with 1001.'
  ),
  'protocol.lifetime': reason(
    408,
    'SP_PROTOCOL_LIFETIME',
    'Open for too long',
    'A WebSocket connection has reached its `lifetime`: closed with 1001.'
  ),
  'request.malformed': reason(
    400,
    'SP_REQUEST_MALFORMED',
    'Bad request',
    'The request breaks HTTP, or its target, its headers or a JSON body that a policy looks at could be read in two ways. It is refused, not normalised. Some rows have a status of their own: 405, 408, 414, 417, 431, 501.'
  ),
  'route.none': reason(
    404,
    'SP_ROUTE_NONE',
    'No route',
    'No route matches the host, path, method and headers of the request.'
  ),
  'upstream.connect': reason(
    502,
    'SP_UPSTREAM_CONNECT',
    'The upstream cannot be reached',
    'The connection to the upstream was refused, or its name does not resolve.'
  ),
  'upstream.timeout': reason(
    504,
    'SP_UPSTREAM_TIMEOUT',
    'The upstream did not answer in time',
    'A connect, response or idle timeout of the upstream or the route has passed.'
  ),
  'upstream.reset': reason(
    502,
    'SP_UPSTREAM_RESET',
    'The upstream broke the connection',
    'The upstream closed the connection before its answer was complete.'
  ),
  'upstream.tls': reason(
    502,
    'SP_UPSTREAM_TLS',
    'The upstream is not trusted',
    'The TLS handshake failed or the certificate of the upstream does not verify.'
  ),
  'upstream.protocol': reason(
    502,
    'SP_UPSTREAM_PROTOCOL',
    'The upstream sent an invalid answer',
    'The answer of the upstream breaks HTTP.'
  ),
  'upstream.breaker': reason(
    503,
    'SP_UPSTREAM_BREAKER',
    'The upstream is resting',
    'The circuit breaker of the upstream is open.'
  ),
  'upstream.saturated': reason(
    503,
    'SP_UPSTREAM_SATURATED',
    'The upstream is busy',
    '`maxInFlight` requests are under way at the upstream already.'
  ),
  'client.aborted': reason(
    499,
    'SP_CLIENT_ABORTED',
    'The client has gone',
    'The client closed its connection before its answer was complete.'
  ),
  'client.deadline': reason(
    504,
    'SP_CLIENT_DEADLINE',
    'The deadline has passed',
    'The `grpc-timeout` of the client ran out before the upstream had answered.'
  ),
  'gateway.draining': reason(
    503,
    'SP_GATEWAY_DRAINING',
    'The gateway is shutting down',
    'The request arrived after the drain deadline.'
  ),
  'gateway.overloaded': reason(
    503,
    'SP_GATEWAY_OVERLOADED',
    'The gateway is overloaded',
    'The event loop lags more than `limits.overload.eventLoopLag`, or 64 MiB of bodies are held for policies that look at them.'
  ),
  'session.sign_in': reason(
    400,
    'SP_SESSION_SIGN_IN',
    'The sign-in could not be completed',
    'A browser came back from the issuer with an answer that was refused: the sign-in is unknown here, too old or used already, the issuer says no, or `state`, `nonce`, `iss`, PKCE or the ID token do not fit. The log line says which.'
  ),
  'session.unavailable': reason(
    503,
    'SP_SESSION_UNAVAILABLE',
    'Signing in is not possible at the moment',
    'The issuer does not answer, or not as one: nobody can sign in, and sessions whose tokens are older than `staleIfError` are not let in. Or Redis, which holds the sessions, is down.'
  ),
  'plugin.failed': reason(
    500,
    'SP_PLUGIN_FAILED',
    'Internal error',
    'A plugin threw, or let a request through without a decision. The log line names the plugin.'
  )
})

export type Reason = keyof typeof reasons

export interface RefusalOptions {
  /** Another status than the catalogue's, where a standard asks for one (e.g. 414). */
  status?: number
  /** Another status for the client of a gRPC call than the reason's. */
  grpcStatus?: number
  /** Headers of the answer, e.g. `WWW-Authenticate`, `Retry-After`, `Allow`. */
  headers?: Readonly<Record<string, string>>
  /** What the client gets in place of a problem document: of a service that is there to answer, such as a page to sign in. */
  body?: { readonly type: string; readonly content: Buffer }
  /** For the log only; never sent to a client. */
  detail?: string
  cause?: unknown
}

/** A request is refused. Thrown by the gateway and (through `route.gateway.deny`) by plugins; becomes a problem document. */
export class Refusal extends Error {
  readonly reason: Reason
  readonly status: number
  readonly grpcStatus: number | undefined
  readonly code: string
  readonly title: string
  readonly headers: Readonly<Record<string, string>> | undefined
  readonly detail: string | undefined
  readonly body: RefusalOptions['body']

  constructor(name: Reason, options: RefusalOptions = {}) {
    const entry = reasons[name]
    // A refusal is an answer, not a defect: a flood of them must not pay for stack traces.
    const limit = Error.stackTraceLimit
    Error.stackTraceLimit = 0
    super(entry.title, options.cause === undefined ? undefined : { cause: options.cause })
    Error.stackTraceLimit = limit
    this.name = 'Refusal'
    this.reason = name
    this.status = options.status ?? entry.status
    this.grpcStatus = options.grpcStatus
    this.code = entry.code
    this.title = entry.title
    this.headers = options.headers
    this.detail = options.detail
    this.body = options.body
  }
}
