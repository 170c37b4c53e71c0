import type { FastifyReply, FastifyRequest } from 'fastify'
import { Refusal } from '../errors.ts'
import { type Exchange, exchangeOf } from '../exchange.ts'
import { admit, type ProxyHook, type ProxyTarget } from './target.ts'
import { Acceptor } from './websocket/accept.ts'
import { WebSocketCall } from './websocket/call.ts'
import { judgeHandshake } from './websocket/handshake.ts'
import { processTime, type Time } from './websocket/time.ts'

/** The last hook of a route with `protocol: websocket`: docs/adr/0014-websocket-pump.md. */
export function createWebSocketHook(target: ProxyTarget, time: Time = processTime): ProxyHook {
  const acceptor = new Acceptor()
  return function proxyWebSocket(request: FastifyRequest, reply: FastifyReply): void {
    const exchange = exchangeOf(request.raw)
    const offers = judgeUpgrade(exchange)
    const ticket = admit(exchange, target)
    const call = new WebSocketCall(target, exchange, reply, acceptor, offers, ticket, time)
    if (!target.viaReply) reply.hijack()
    call.start()
  }
}

/** What is asked of a handshake before the upstream is: gives what the client offers, or throws the refusal. */
export function judgeUpgrade(exchange: Exchange): readonly string[] {
  if (exchange.upgrade === null) throw new Refusal('protocol.upgrade')
  const offers = judgeHandshake(exchange.request)
  // A handshake that was still with a plugin when the gateway began to leave.
  if (exchange.isLeaving) throw new Refusal('gateway.draining')
  return offers
}
