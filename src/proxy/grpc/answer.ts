import {
  type ClientHttp2Stream,
  constants,
  type IncomingHttpHeaders,
  type IncomingHttpStatusHeader
} from 'node:http2'
import { Refusal } from '../../errors.ts'
import { detailOf, reasonOf } from '../failures.ts'
import { streamFailure } from '../http2/errors.ts'
import { rpcKindOf } from './content-type.ts'
import { grpcStatus, grpcStatusOfHttp, grpcStatusOfReset } from './status.ts'

const { NGHTTP2_CANCEL, NGHTTP2_NO_ERROR } = constants
const { INTERNAL, UNAVAILABLE, UNKNOWN } = grpcStatus

/** What is wrong with the head of an upstream's answer that brings no `grpc-status`; null when nothing is. */
export function faultOfHead(
  headers: IncomingHttpHeaders & IncomingHttpStatusHeader,
  isEnd: boolean
): Refusal | null {
  const status = headers[':status'] ?? 0
  if (status !== 200) {
    const detail = `HTTP status ${status} without a grpc-status`
    return new Refusal('upstream.protocol', { grpcStatus: grpcStatusOfHttp(status), detail })
  }
  if (rpcKindOf(headers['content-type']) !== 'grpc') {
    return new Refusal('upstream.protocol', { grpcStatus: UNKNOWN, detail: 'an answer that is not gRPC' })
  }
  return isEnd ? noStatus : null
}

export const noStatus = new Refusal('upstream.protocol', {
  grpcStatus: UNKNOWN,
  detail: 'trailers without a grpc-status'
})

export const noTrailers = new Refusal('upstream.protocol', {
  grpcStatus: INTERNAL,
  detail: 'the answer ended without trailers'
})

/** There was no stream: the upstream could not be reached in time, or a plugin's header cannot be sent. */
export function unreachable(error: Error): Refusal {
  const reason = reasonOf(error)
  // Not DEADLINE_EXCEEDED: the deadline is the client's, and another try may well do.
  const grpcStatus = reason.startsWith('upstream.') ? UNAVAILABLE : INTERNAL
  return new Refusal(reason, { cause: error, detail: detailOf(error), grpcStatus })
}

/**
 * The upstream's stream broke off.
 * @param isGoing whether its connection is gone, or about to go: without one Node closes its streams with CANCEL, as if the
 * upstream had, and a server that stops may close them with no code at all
 */
export function brokenOff(stream: ClientHttp2Stream, cause: Error | null, isGoing: boolean): Refusal {
  const failure = streamFailure(stream, cause ?? undefined)
  const code = stream.rstCode ?? NGHTTP2_NO_ERROR
  const isReset =
    failure.code.startsWith('HTTP2_') && !(isGoing && (code === NGHTTP2_CANCEL || code === NGHTTP2_NO_ERROR))
  return new Refusal(reasonOf(failure), {
    cause: failure,
    detail: detailOf(failure),
    // A reset has a meaning of its own; whatever broke the connection has only one.
    grpcStatus: isReset ? grpcStatusOfReset(code) : UNAVAILABLE
  })
}
