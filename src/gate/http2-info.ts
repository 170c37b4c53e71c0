import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'

/** Who is on the other side of a connection: read from the socket once, and still there when it has closed. */
export class ConnectionInfo {
  readonly remoteAddress: string | undefined
  readonly remotePort: number | undefined
  readonly localAddress: string | undefined
  readonly localPort: number | undefined
  readonly encrypted: boolean
  /** The TLS socket, for its certificates only; null on a cleartext connection. */
  readonly tls: TLSSocket | null
  readonly #socket: Socket

  constructor(socket: Socket) {
    this.remoteAddress = socket.remoteAddress
    this.remotePort = socket.remotePort
    this.localAddress = socket.localAddress
    this.localPort = socket.localPort
    this.encrypted = (socket as TLSSocket).encrypted === true
    this.tls = this.encrypted ? (socket as TLSSocket) : null
    this.#socket = socket
  }

  get destroyed(): boolean {
    return this.#socket.destroyed
  }
}
