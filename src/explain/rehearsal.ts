import type { FastifyReply, FastifyRequest } from 'fastify'
import { stopReading } from '../answer.ts'
import { Refusal } from '../errors.ts'
import { type Exchange, exchangeOf } from '../exchange.ts'
import { resting } from '../proxy/admission.ts'
import { callHeaders } from '../proxy/grpc/metadata.ts'
import { deadlineOf, judgeCall } from '../proxy/grpc.ts'
import { forwardedHeaders } from '../proxy/headers.ts'
import { judgeLength } from '../proxy/http.ts'
import type { Proxies } from '../proxy/proxies.ts'
import { judgeChain, type ProxyHook, type ProxyTarget } from '../proxy/target.ts'
import { dialledHeaders } from '../proxy/websocket/fields.ts'
import { judgeUpgrade } from '../proxy/websocket.ts'

/** What would go to the upstream: nothing has. */
export interface Forwarded {
  readonly target: ProxyTarget
  readonly path: string
  /** Names in lower case, with every value; without pseudo-headers. */
  readonly headers: readonly (readonly [string, string])[]
}

type OnForward = (exchange: Exchange, forwarded: Forwarded) => void

/**
 * What stands in the place of the proxies where a request is only explained. They ask what the proxies ask, in the same order,
 * note what would go up, and end the request without having called anybody.
 */
export function rehearsals(onForward: OnForward): Proxies {
  return {
    http: target => hook(target, onForward, judgeLength, httpFields),
    grpc: target => hook(target, onForward, exchange => judgeRpc(exchange, target), grpcFields),
    websocket: target => hook(target, onForward, judgeUpgrade, socketFields)
  }
}

function hook(
  target: ProxyTarget,
  onForward: OnForward,
  judge: (exchange: Exchange) => unknown,
  fields: (exchange: Exchange, target: ProxyTarget, path: string) => Forwarded['headers']
): ProxyHook {
  return function rehearseRequest(request: FastifyRequest, reply: FastifyReply): void {
    const exchange = exchangeOf(request.raw)
    judge(exchange)
    judgeChain(exchange, target)
    judgeBreaker(target)
    const path = target.rewrite(exchange)
    onForward(exchange, { target, path, headers: fields(exchange, target, path) })
    reply.hijack()
    const { request: raw, response, stream } = exchange
    // What a client of HTTP/2 has not sent is not waited for.
    if (stream !== null && !raw.complete) stream.once('finish', stopReading)
    response.writeHead(204).end()
  }
}

/** As `enter` does, without a place in a breaker that is half open. */
function judgeBreaker({ upstream }: ProxyTarget): void {
  if (upstream.breaker !== null && upstream.breaker.retryAfter > 0) throw resting(upstream)
}

function judgeRpc(exchange: Exchange, { grpcWeb }: ProxyTarget): void {
  judgeCall(exchange, grpcWeb)
  deadlineOf(exchange)
}

function httpFields(exchange: Exchange, { forward }: ProxyTarget): Forwarded['headers'] {
  return pairs(forwardedHeaders(exchange, forward))
}

function grpcFields(exchange: Exchange, { forward, upstream, grpcWeb }: ProxyTarget, path: string) {
  const [endpoint] = upstream.endpoints
  if (endpoint === undefined) throw new Refusal('upstream.connect')
  const deadline = deadlineOf(exchange)
  const left = deadline === null ? null : deadline - performance.now()
  const isWeb = judgeCall(exchange, grpcWeb) !== 'grpc'
  return pairs(callHeaders(exchange, endpoint, { path, forward, isWeb }, left)).filter(
    ([name]) => !name.startsWith(':')
  )
}

function socketFields(exchange: Exchange, { forward }: ProxyTarget): Forwarded['headers'] {
  return Object.entries(dialledHeaders(exchange, forward)).flatMap(([name, values]) =>
    [values].flat().map(value => [name, value] as const)
  )
}

function pairs(list: readonly string[]): [string, string][] {
  const found: [string, string][] = []
  for (let i = 0; i < list.length; i += 2) found.push([list[i] as string, list[i + 1] as string])
  return found
}
