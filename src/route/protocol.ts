import type { IncomingMessage } from 'node:http'
import { Refusal } from '../errors.ts'
import type { Protocol } from '../outcome.ts'

/**
 * `application/grpc`, `application/grpc+proto`, `application/grpc-web-text`, … (PROTOCOL-HTTP2.md, PROTOCOL-WEB.md). Whatever
 * only begins so counts as well: some servers take it for gRPC, and it must not reach one as an ordinary request.
 */
const grpcType = /^application\/grpc/i

/** The protocol that a request speaks. A WebSocket handshake is told apart before, by the server that took it. */
export function protocolOf(request: IncomingMessage): Protocol {
  const type = request.headers['content-type']
  // `application/` is 12 characters: JSON and forms are told apart by the next one.
  if (type === undefined || (type.charCodeAt(12) | 0x20) !== 0x67) return 'http'
  return grpcType.test(type) ? 'grpc' : 'http'
}

const otherProtocols: Readonly<Record<Protocol, readonly Protocol[]>> = {
  http: ['websocket', 'grpc'],
  websocket: ['http', 'grpc'],
  grpc: []
}

const none = new Refusal('route.none')
// RFC 9110, 15.5.22: 426 says what to come back with.
const wantsWebSocket = new Refusal('protocol.upgrade', { headers: { upgrade: 'websocket' } })
const noWebSocket = new Refusal('protocol.upgrade', { detail: 'the route is not for WebSocket' })
// PROTOCOL-HTTP2.md: "If Content-Type does not begin with application/grpc, servers SHOULD respond with HTTP status of 415."
const wantsGrpc = new Refusal('protocol.content_type', { detail: 'the route is for gRPC' })

/**
 * Why no route took a request: none is there, or one that would have taken it in another protocol.
 * @param matches whether there is a route for the request, were it of that protocol
 */
export function refusalOfUnmatched(protocol: Protocol, matches: (other: Protocol) => boolean): Refusal {
  const other = otherProtocols[protocol].find(matches)
  if (other === undefined) return none
  if (protocol === 'websocket') return noWebSocket
  return other === 'websocket' ? wantsWebSocket : wantsGrpc
}
