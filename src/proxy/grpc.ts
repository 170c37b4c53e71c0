import type { FastifyReply, FastifyRequest } from 'fastify'
import { Refusal } from '../errors.ts'
import { type Exchange, exchangeOf } from '../exchange.ts'
import { GrpcCall } from './grpc/call.ts'
import type { RpcClient } from './grpc/client.ts'
import { type RpcKind, rpcKindOf } from './grpc/content-type.ts'
import { parseTimeout } from './grpc/deadline.ts'
import { StreamClient } from './grpc/stream-client.ts'
import { WebClient } from './grpc/web-client.ts'
import { admit, type ProxyHook, type ProxyTarget } from './target.ts'

const wrongMethod = new Refusal('protocol.method', { headers: { allow: 'POST' } })
const noRpc = new Refusal('route.none', { detail: 'the path names no method' })
const notGrpc = new Refusal('protocol.content_type', { detail: 'no gRPC' })
const noWeb = new Refusal('protocol.content_type', { detail: 'the route takes no gRPC-Web' })
// RFC 9110, 15.6.6.
const needsHttp2 = new Refusal('request.malformed', { status: 505, detail: 'gRPC over HTTP/1' })
const badTimeout = new Refusal('request.malformed', { detail: 'grpc-timeout' })
const tooLate = new Refusal('client.deadline', { detail: 'before the upstream was asked' })

/**
 * The last hook of a gRPC route: from stream to stream on node:http2. Messages pass as they are, in whatever encoding;
 * deadlines, sizes and statuses are looked after.
 */
export function createGrpcHook(target: ProxyTarget): ProxyHook {
  const { upstream } = target
  if (upstream.config.protocol === 'http1')
    throw new Error(`upstream ${upstream.name} speaks HTTP/1, which has no gRPC`)
  return function proxyCall(request: FastifyRequest, reply: FastifyReply): void {
    const exchange = exchangeOf(request.raw)
    const kind = judgeKind(exchange, target.grpcWeb)
    if (exchange.request.method !== 'POST') throw wrongMethod
    if (exchange.rpc === null) throw noRpc
    const deadline = deadlineOf(exchange)
    const ticket = admit(exchange, target)
    const isWeb = kind !== 'grpc'
    const client = isWeb ? new WebClient(exchange, kind) : streamClient(exchange)
    // Whatever throws in here still goes through Fastify, to the error handler.
    const call = new GrpcCall({ target, exchange, reply, client, isWeb, ticket, deadline })
    reply.hijack()
    call.start()
  }
}

function judgeKind(exchange: Exchange, takesWeb: boolean): RpcKind {
  const kind = exchange.protocol === 'grpc' ? rpcKindOf(exchange.request.headers['content-type']) : null
  if (kind === null) throw notGrpc
  if (kind === 'grpc') {
    if (exchange.stream === null) throw needsHttp2
  } else if (!takesWeb) throw noWeb
  return kind
}

function streamClient({ stream, request }: Exchange): RpcClient {
  if (stream === null) throw needsHttp2
  return new StreamClient(stream, request)
}

/** When the client's deadline passes, on the clock of `performance.now()`; null: it has set none. */
function deadlineOf({ request, startTime }: Exchange): number | null {
  const value = request.headers['grpc-timeout'] as string | undefined
  if (value === undefined) return null
  const timeout = parseTimeout(value)
  if (timeout === null) throw badTimeout
  const deadline = startTime + timeout
  if (deadline <= performance.now()) throw tooLate
  return deadline
}
