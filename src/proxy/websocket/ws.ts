import WebSocket, { type PerMessageDeflateOptions, type ServerOptions } from 'ws'
import { PeerSocket } from './peer-socket.ts'

/** What ws 8.23 exports and the types of 8.18 leave out. */
interface Untyped {
  /** Throws SyntaxError where the header is not a list of different tokens. */
  readonly subprotocol: { parse(header: string): Set<string> }
  /** Throws SyntaxError where the header breaks the grammar. */
  readonly extension: { parse(header: string): Record<string, Record<string, unknown>[]> }
  /** Throws where an offer breaks RFC 7692. */
  readonly PerMessageDeflate: new (
    options: PerMessageDeflateOptions & { isServer: boolean }
  ) => {
    accept(offers: Record<string, unknown>[]): unknown
  }
}

export const { subprotocol, extension, PerMessageDeflate } = WebSocket as unknown as Untyped

/**
 * What both sides of a connection have in common. Pongs are answers of the other end, never ours. The pump ends a closing
 * handshake that nobody answers, and lets a slow reader take what is on its way to it: `closeTimeout` only stands behind it.
 */
const common = {
  autoPong: false,
  closeTimeout: 60_000,
  skipUTF8Validation: false,
  allowSynchronousEvents: true
}

/** ws reads sizes as 32-bit integers, and takes a negative one for no limit. */
const maxSize = 2 ** 31 - 1

export const serverOptions = (maxMessage: number): ServerOptions<typeof PeerSocket> => ({
  ...common,
  WebSocket: PeerSocket,
  maxPayload: payloadLimit(maxMessage),
  ...partLimits(maxMessage),
  noServer: true,
  clientTracking: false,
  handleProtocols: noProtocol,
  perMessageDeflate: deflateOptions
})

export const clientOptions = {
  ...common,
  followRedirects: false,
  // Between the gateway and its upstream compression costs more than it spares.
  perMessageDeflate: false,
  insecureHTTPParser: false,
  maxHeaderSize: 65_536
} as const

export function payloadLimit(maxMessage: number): number {
  return Math.min(maxMessage, maxSize)
}

/**
 * Each side begins every message with an empty window (RFC 7692, 7.1.1), so that what zlib keeps between messages is bounded: at
 * most 200 KiB for a client that compresses. Short messages go as they are.
 */
export const deflateOptions: PerMessageDeflateOptions = {
  serverNoContextTakeover: true,
  clientNoContextTakeover: true,
  threshold: 1024,
  concurrencyLimit: 10,
  zlibDeflateOptions: { level: 3, memLevel: 7 }
}

/**
 * Each part of a message that is not whole costs more than it holds: fragments, and pieces in which one frame comes from the
 * network. 16,000 fragments of one byte, 112 KB of a client's, were 1.8 MiB of ours; ws itself takes 16,384 of them, and 262,144
 * pieces.
 */
export function partLimits(maxMessage: number): { maxFragments: number; maxBufferedChunks: number } {
  const parts = Math.min(Math.max(1024, Math.ceil(maxMessage / 256)), 16_384)
  return { maxFragments: parts, maxBufferedChunks: Math.max(1024, Math.ceil(maxMessage / 128)) }
}

/** The upstream chooses, and its choice is written with the other fields of the 101. */
function noProtocol(): false {
  return false
}
