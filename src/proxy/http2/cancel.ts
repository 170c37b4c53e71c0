import { type ClientHttp2Stream, constants } from 'node:http2'

/**
 * Resets a stream with CANCEL. Node's own `close` ends the request first, and an upstream would take the part of a body that
 * was sent for the whole of it.
 */
export function cancelStream(stream: ClientHttp2Stream): void {
  if (stream.closed || stream.destroyed) return
  if (!stream.writableEnded) stream.end = doNotEnd
  stream.close(constants.NGHTTP2_CANCEL)
}

function doNotEnd(this: ClientHttp2Stream): ClientHttp2Stream {
  return this
}
