import type { Duplex } from 'node:stream'
import WebSocket from 'ws'
import type { PeerSocket } from './peer-socket.ts'

/** One of the two WebSockets of a connection, and how far it is with what it has to send. */
export class Side {
  readonly webSocket: PeerSocket
  readonly #socket: Duplex
  #taken = 0
  #queued = 0
  /** Looks in a row at which it had taken nothing. */
  quietLooks = 0
  isClosed = false
  /** The code of its peer's close frame; null while there was none. */
  askedWith: number | null = null
  /** It is cut off as soon as what is on its way to it has gone out. */
  isDropped = false

  constructor(webSocket: PeerSocket, socket: Duplex) {
    this.webSocket = webSocket
    this.#socket = socket
  }

  get isOpen(): boolean {
    return this.webSocket.readyState === WebSocket.OPEN
  }

  get isClosing(): boolean {
    return this.webSocket.readyState === WebSocket.CLOSING
  }

  /** Bytes that it has not taken yet. */
  get waiting(): number {
    return this.webSocket.bufferedAmount
  }

  /** Whether it has taken bytes since the last look. */
  look(): void {
    const { bytesWritten = 0, writableLength, _handle } = this.#socket as ObservedSocket
    const taken = bytesWritten - writableLength
    // The system takes a long message in pieces, which are counted nowhere else.
    const queued = _handle?.writeQueueSize ?? 0
    this.quietLooks = taken === this.#taken && queued === this.#queued ? this.quietLooks + 1 : 0
    this.#taken = taken
    this.#queued = queued
  }

  /** Ends it without a word, as the other side has ended, after what is still on its way to it. */
  drop(): void {
    if (this.waiting === 0 || !this.isOpen) this.webSocket.terminate()
    else {
      this.isDropped = true
      this.webSocket.resume()
    }
  }
}

/** As net.Socket looks at its own writes before it calls them timed out. */
interface ObservedSocket extends Duplex {
  readonly bytesWritten?: number
  readonly _handle?: { readonly writeQueueSize?: number } | null
}
