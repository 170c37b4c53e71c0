import { type ClientHttp2Stream, constants } from 'node:http2'

/** Error codes of RFC 9113, section 7, by number. */
const names: readonly string[] = [
  'NO_ERROR',
  'PROTOCOL_ERROR',
  'INTERNAL_ERROR',
  'FLOW_CONTROL_ERROR',
  'SETTINGS_TIMEOUT',
  'STREAM_CLOSED',
  'FRAME_SIZE_ERROR',
  'REFUSED_STREAM',
  'CANCEL',
  'COMPRESSION_ERROR',
  'CONNECT_ERROR',
  'ENHANCE_YOUR_CALM',
  'INADEQUATE_SECURITY',
  'HTTP_1_1_REQUIRED'
]

/** How an upstream failed over HTTP/2. `code` is what failures.ts maps. */
export class Http2Failure extends Error {
  override readonly name = 'Http2Failure'
  readonly code: string

  constructor(code: string, message: string, cause?: unknown) {
    super(message, { cause })
    this.code = code
  }
}

/** A stream that ended before its answer did; `cause` is Node's own error, where it had one. */
export function streamFailure(stream: ClientHttp2Stream, cause?: unknown): Http2Failure {
  const { rstCode } = stream
  const isSessionFailure =
    cause !== undefined && (cause as { code?: unknown }).code !== 'ERR_HTTP2_STREAM_ERROR'
  // The session broke, and took the stream with it: its error says more than CANCEL, which Node writes on its streams.
  if (isSessionFailure) return cause as Http2Failure
  const name = names[rstCode ?? 0] ?? 'UNKNOWN'
  return new Http2Failure(`HTTP2_${name}`, `the stream was closed with ${name}`, cause)
}

/**
 * Whether the upstream has certainly not acted on the request, so that any may be sent again: its stream was refused, which
 * a GOAWAY also does to those above its last stream (RFC 9113, 6.8 and 8.7), or there never was one.
 */
export function wasNotProcessed(failed: ClientHttp2Stream | Error | null): boolean {
  if (failed === null) return false
  if (!(failed instanceof Error)) return failed.rstCode === constants.NGHTTP2_REFUSED_STREAM
  if (failed instanceof NoStream) return true
  return (failed as { code?: unknown }).code === 'HTTP2_REFUSED_STREAM'
}

/** There was no session to open a stream on. */
export class NoStream extends Error {
  override readonly name = 'NoStream'
  readonly code: string

  constructor(code: string, message: string, cause?: unknown) {
    super(message, { cause })
    this.code = code
  }
}

/** The error of a connection that was never made, with the code it came with. */
export function noStream(cause: Error): NoStream {
  const first = cause instanceof AggregateError ? ((cause.errors[0] as Error | undefined) ?? cause) : cause
  const { code } = first as { code?: unknown }
  return new NoStream(typeof code === 'string' ? code : 'ECONNREFUSED', first.message, cause)
}
