import { type IncomingMessage, validateHeaderName, validateHeaderValue } from 'node:http'
import type { Duplex } from 'node:stream'
import { type Server, WebSocketServer } from 'ws'
import type { PeerSocket } from './peer-socket.ts'
import { serverOptions } from './ws.ts'

type PeerServer = Server<typeof PeerSocket>

/** Routes have one size, or a few; a plugin that makes them up has its servers made anew. */
const maxServers = 16

/** Accepts clients: one server of ws for each size of message, with no socket of its own. */
export class Acceptor {
  readonly #servers = new Map<number, PeerServer>()
  #fields: readonly string[] = []

  /**
   * Writes the 101, with `fields` (name, value, name, value) on it, and takes the socket over.
   * @returns null where the client has gone, or ws has something against the handshake: nothing was written
   */
  accept(
    request: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    maxMessage: number,
    fields: readonly string[]
  ): PeerSocket | null {
    let accepted: PeerSocket | null = null
    this.#fields = fields
    this.#server(maxMessage).handleUpgrade(request, socket, head, webSocket => {
      accepted = webSocket
    })
    this.#fields = []
    return accepted
  }

  #server(maxMessage: number): PeerServer {
    const known = this.#servers.get(maxMessage)
    if (known !== undefined) return known
    const server = new WebSocketServer<typeof PeerSocket>(serverOptions(maxMessage))
    server.on('headers', lines => addFields(lines, this.#fields))
    // Otherwise ws would answer, in words of its own.
    server.on('wsClientError', () => {})
    if (this.#servers.size >= maxServers) this.#servers.clear()
    this.#servers.set(maxMessage, server)
    return server
  }
}

/** Throws where Node would not send a field: ws writes whatever it is given. */
export function validateFields(fields: readonly string[]): void {
  for (let i = 0; i < fields.length; i += 2) {
    validateHeaderName(fields[i] as string)
    validateHeaderValue(fields[i] as string, fields[i + 1] as string)
  }
}

function addFields(lines: string[], fields: readonly string[]): void {
  for (let i = 0; i < fields.length; i += 2) lines.push(`${fields[i]}: ${inBytes(fields[i + 1] as string)}`)
}

/** ws writes the head in UTF-8; a value holds one character for each byte. */
function inBytes(value: string): string {
  return Buffer.from(value, 'latin1').toString('utf8')
}
