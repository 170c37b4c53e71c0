import { constants, type Http2Session, type Http2Stream } from 'node:http2'

/**
 * Node aborts the process (`current_nghttp2_memory_ == 0` in node_http2.cc, nodejs/node#39951) when a session is collected
 * before a stream of it that holds an unfinished header block: "too many CONTINUATION frames" leaves one behind, so any
 * client and any upstream could end the gateway. The collector keeps no order, so the native session is held until the
 * streams are gone.
 */
const held = new FinalizationRegistry<object>(() => {})

/** The native session; null while it is not connected, and in a Node that calls it otherwise. */
export function nativeOf(session: Http2Session): object | null {
  const symbol = Object.getOwnPropertySymbols(session).find(({ description }) => description === 'kHandle')
  const native: unknown = symbol === undefined ? null : Reflect.get(session, symbol)
  return typeof native === 'object' ? native : null
}

/** For the `close` of a stream: holds `native` for as long as the stream is there, unless its peer had ended it properly. */
export function holdFor(stream: Http2Stream, native: object | null, isSessionOver: boolean): void {
  if (native === null) return
  const isWhole =
    stream.rstCode === constants.NGHTTP2_NO_ERROR && (stream.endAfterHeaders || stream.readableEnded)
  if (!isWhole || isSessionOver) held.register(stream, native)
}
