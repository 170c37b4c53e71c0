import { STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import { type Reason, reasons } from '../errors.ts'

/** RFC 9110 15.5.6: a 405 says what is allowed. These are the methods that a route can take at all. */
export const allowedMethods = 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS'

/**
 * Answers on the bare socket, where no response object exists: the request never parsed, or it was CONNECT or an upgrade.
 * Writes a problem document (RFC 9457) with `Connection: close` and ends the writable side. Only for a socket on which
 * no response is under way.
 */
export function writeRawProblem(socket: Duplex, status: number, reason: Reason): void {
  if (!socket.writable) return
  const entry = reasons[reason]
  const body = JSON.stringify({
    type: `urn:sallyport:problem:${reason}`,
    title: entry.title,
    status,
    code: entry.code,
    reason
  })
  const allow = status === 405 ? `allow: ${allowedMethods}\r\n` : ''
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'Error'}\r\n` +
      `content-type: application/problem+json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n` +
      `cache-control: no-store\r\n${allow}date: ${new Date().toUTCString()}\r\nconnection: close\r\n\r\n${body}`
  )
}
