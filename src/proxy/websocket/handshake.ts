import type { IncomingMessage } from 'node:http'
import { Refusal } from '../../errors.ts'
import { deflateOptions, extension, PerMessageDeflate, subprotocol } from './ws.ts'

const noOffers: readonly string[] = []
const deflate = 'permessage-deflate'

/** RFC 6455, 4.1: sixteen bytes in base64. */
const keyForm = /^[+/0-9A-Za-z]{22}==$/

// RFC 6455, 4.4: the version that we speak, for whoever speaks another.
const otherVersion = new Refusal('protocol.upgrade', {
  headers: { upgrade: 'websocket', 'sec-websocket-version': '13' },
  detail: 'Sec-WebSocket-Version other than 13'
})
const badKey = malformed('Sec-WebSocket-Key')
const badProtocol = malformed('Sec-WebSocket-Protocol')
const badExtensions = malformed('Sec-WebSocket-Extensions')

function malformed(field: string): Refusal {
  return new Refusal('request.malformed', { detail: `${field} is missing or not valid` })
}

/**
 * Judges a handshake as RFC 6455, 4.2.1, asks, before anybody is dialled. Method, HTTP version and Upgrade are judged
 * already by the server that took it. Throws the refusal.
 * @returns the subprotocols that the client offers, in its order
 */
export function judgeHandshake({ headers }: IncomingMessage): readonly string[] {
  if (headers['sec-websocket-version'] !== '13') throw otherVersion
  if (!keyForm.test(headers['sec-websocket-key'] ?? '')) throw badKey
  judgeExtensions(headers)
  return offers(headers['sec-websocket-protocol'])
}

function offers(header: string | undefined): readonly string[] {
  if (header === undefined) return noOffers
  try {
    return [...subprotocol.parse(header)]
  } catch {
    throw badProtocol
  }
}

/** RFC 7692, 5.1: an offer of compression that cannot be taken is declined, and the connection goes on without it. */
function judgeExtensions(headers: IncomingMessage['headers']): void {
  const header = headers['sec-websocket-extensions']
  if (header === undefined) return
  let found: Record<string, unknown>[] | undefined
  try {
    found = extension.parse(header)[deflate]
  } catch {
    throw badExtensions
  }
  if (found === undefined) return
  try {
    new PerMessageDeflate({ ...deflateOptions, isServer: true }).accept(found)
  } catch {
    delete headers['sec-websocket-extensions']
  }
}
