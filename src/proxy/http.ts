import type { FastifyReply, FastifyRequest } from 'fastify'
import { Refusal } from '../errors.ts'
import { type Exchange, exchangeOf } from '../exchange.ts'
import { announcesTooMuch } from './body.ts'
import { identityFields } from './headers.ts'
import { ProxyCall } from './http/call.ts'
import { admit, type ProxyHook, type ProxyTarget, refuseUndecided } from './target.ts'

/**
 * The `preHandler` that @fastify/http-proxy is given. Instead of `reply.from` it dispatches on undici and writes the answer
 * straight into the raw response, because the copies in between cost a third of a request (docs/benchmarks.md). It never
 * calls `done`, so the package's own handler does not run: that parses the target three times over as a URL, which the gate
 * has judged already and which is forwarded as it is.
 */
export function createProxyHook(target: ProxyTarget): ProxyHook {
  return function proxyRequest(request: FastifyRequest, reply: FastifyReply): void {
    const exchange = exchangeOf(request.raw)
    // Before the breaker is asked, which counts on hearing of every call that it let through.
    judgeLength(exchange)
    if (exchange.isQuestion) {
      answerQuestion(exchange, target, reply)
      return
    }
    const ticket = admit(exchange, target)
    // Whatever throws in here still goes through Fastify, to the error handler.
    const call = new ProxyCall(target, exchange, reply, ticket)
    if (!target.viaReply) reply.hijack()
    call.start()
  }
}

/** What is asked of a request before the upstream is. Throws the refusal. */
export function judgeLength({ request, maxBody }: Exchange): void {
  if (announcesTooMuch(request, maxBody)) throw new Refusal('protocol.size')
}

/** The whole chain has let the request pass: another proxy may carry it, with these headers. */
function answerQuestion(exchange: Exchange, target: ProxyTarget, reply: FastifyReply): void {
  refuseUndecided(exchange, target)
  const { identity, response } = exchange
  const fields = identity === null ? [] : identityFields(identity, target.forward.signIdentity)
  reply.hijack()
  response.writeHead(202, [...fields, 'content-length', '0', 'cache-control', 'no-store'])
  response.end()
}
