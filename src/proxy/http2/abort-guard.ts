import type { ClientHttp2Session, ClientHttp2Stream } from 'node:http2'

/**
 * Node aborts the process (`current_nghttp2_memory_ == 0` in node_http2.cc, nodejs/node#39951) when a session is collected
 * before a stream of it that holds an unfinished header block: "too many CONTINUATION frames" leaves one behind, so any
 * upstream could end the gateway. The collector keeps no order, so the native session is held until the streams are gone.
 */
const held = new FinalizationRegistry<object>(() => {})

/** The native session; null while it is not connected, and in a Node that calls it otherwise. */
export function nativeOf(session: ClientHttp2Session): object | null {
  const symbol = Object.getOwnPropertySymbols(session).find(({ description }) => description === 'kHandle')
  const native: unknown = symbol === undefined ? null : Reflect.get(session, symbol)
  return typeof native === 'object' ? native : null
}

/** Holds `native` for as long as `stream` is there. */
export function holdFor(stream: ClientHttp2Stream, native: object): void {
  held.register(stream, native)
}
