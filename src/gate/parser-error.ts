import type { Reason } from '../errors.ts'

/** An error of Node's `clientError` event. */
export interface ParserError extends Error {
  code?: string
  /** The bytes that were being parsed. */
  rawPacket?: Buffer
}

export interface ParserVerdict {
  status: number
  reason: Reason
}

const malformed: ParserVerdict = Object.freeze({ status: 400, reason: 'request.malformed' })
const timedOut: ParserVerdict = Object.freeze({ status: 408, reason: 'request.malformed' })
const targetTooLong: ParserVerdict = Object.freeze({ status: 414, reason: 'request.malformed' })
const headersTooLarge: ParserVerdict = Object.freeze({ status: 431, reason: 'request.malformed' })

/**
 * What an error of the parser or the socket means for the client.
 * @returns null when there is nobody to answer or nothing to say: the connection just ends, after answers that are due
 */
export function judgeParserError(error: ParserError): ParserVerdict | null {
  const code = error.code
  if (code === undefined) return null
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return timedOut
  if (!code.startsWith('HPE_')) return null
  switch (code) {
    case 'HPE_HEADER_OVERFLOW':
      return isRequestLine(error.rawPacket) ? targetTooLong : headersTooLarge
    case 'HPE_INVALID_EOF_STATE':
      // The client closed in the middle of its own request: that is how an abandoned upload looks.
      return null
    case 'HPE_CLOSED_CONNECTION':
      // Bytes after a request that said `Connection: close`: RFC 9112 9.6 has them ignored.
      return null
    default:
      // Chunk extensions beyond 16 KiB too: Node would say 413, but it is not the content that is too large.
      return malformed
  }
}

/** Whether the packet starts with a request line that does not end in it: then it is the target that is too long. */
function isRequestLine(packet: Buffer | undefined): boolean {
  if (packet === undefined || packet.includes(0x0a)) return false
  const space = packet.indexOf(0x20)
  return space > 0 && space < 16 && packet[space + 1] === 0x2f && isUpperCase(packet, space)
}

function isUpperCase(packet: Buffer, end: number): boolean {
  for (let i = 0; i < end; i++) if (packet[i]! < 0x41 || packet[i]! > 0x5a) return false
  return true
}
