import { constants, type ServerHttp2Stream } from 'node:http2'
import type { Refusal } from './errors.ts'
import type { Exchange } from './exchange.ts'
import { resetStream } from './gate/http2-request.ts'
import { type KeptHeaders, sendProblem } from './problem.ts'
import { hasBody } from './proxy/body.ts'
import { readsRpcStatus, refuseRpc } from './proxy/grpc/refusal.ts'
import { refusalForPerson } from './session/refusal-page.ts'

/**
 * Answers an exchange with a refusal, if it can still be answered: how a refusal looks is the protocol's business, never the
 * plugin's. `kept` are headers that plugins had set on the answer before.
 */
export function answer(exchange: Exchange, refusal: Refusal, kept: KeptHeaders): void {
  const { request, response, stream } = exchange
  exchange.refuse(refusal.reason, null, refusal.detail ?? null)
  if (response.headersSent || response.destroyed) {
    exchange.abandon()
    return
  }
  if (exchange.protocol === 'grpc' && readsRpcStatus(exchange)) {
    refuseRpc(exchange, refusal, kept)
  } else {
    const shown = refusalForPerson(exchange, refusal) ?? refusal
    exchange.bytesOut = sendProblem(response, shown, exchange.requestId, kept, closes(exchange, refusal))
  }
  // RFC 9113, 8.1: the client is told to stop sending what nobody reads.
  if (stream !== null && !request.complete) stream.once('finish', stopReading)
}

/** What is left of a body that nobody reads must not be taken for the next request. HTTP/2 has a stream for each. */
function closes({ request, stream, upgrade }: Exchange, refusal: Refusal): boolean {
  if (stream !== null) return false
  if (upgrade !== null || refusal.reason === 'request.malformed') return true
  return hasBody(request) && !request.complete
}

/**
 * For the `finish` of a stream whose request body nobody reads to its end. A turn later: Node writes HEADERS with END_STREAM
 * in the next one, and a reset before that would be all that the client gets.
 */
export function stopReading(this: ServerHttp2Stream): void {
  setImmediate(resetStream, this, constants.NGHTTP2_NO_ERROR)
}
