import type { ClientHttp2Stream, IncomingHttpHeaders, IncomingHttpStatusHeader } from 'node:http2'

export type AnswerHeaders = IncomingHttpHeaders & IncomingHttpStatusHeader

/** Hears what comes on one stream to an upstream. */
export interface StreamUser {
  /** The head of the answer. `raw`: name, value, name, value. */
  gotHead(headers: AnswerHeaders, flags: number, raw: readonly string[]): void
  gotTrailers(raw: readonly string[]): void
  /** The stream is over, in whatever way: its `errored` says with which error. */
  gotClose(stream: ClientHttp2Stream): void
}

const kUser = Symbol('sallyport.stream-user')
type UsedStream = ClientHttp2Stream & { [kUser]?: StreamUser | undefined }

/** Who uses a stream; undefined when nobody listens any more. */
export function userOf(stream: ClientHttp2Stream): StreamUser | undefined {
  return (stream as UsedStream)[kUser]
}

/** `user` hears of the stream, by functions that all streams share: listeners of its own cost each of them more than its messages. */
export function listen(stream: ClientHttp2Stream, user: StreamUser): void {
  const used: UsedStream = stream
  used[kUser] = user
  used.on('response', takeHead)
  used.on('trailers', takeTrailers)
}

/** Nobody hears of the stream any more. */
export function forget(stream: ClientHttp2Stream): void {
  ;(stream as UsedStream)[kUser] = undefined
}

function takeHead(this: UsedStream, headers: AnswerHeaders, flags: number, raw: readonly string[]): void {
  this[kUser]?.gotHead(headers, flags, raw)
}

function takeTrailers(this: UsedStream, _trailers: object, _flags: number, raw: readonly string[]): void {
  this[kUser]?.gotTrailers(raw)
}
