import type { Duplex } from 'node:stream'
import WebSocket from 'ws'

/** One of the two WebSockets of a connection, and how far it is with what it has to send. */
export class Side {
  readonly webSocket: WebSocket
  readonly #socket: Duplex
  #taken = 0
  #queued = 0
  /** Looks in a row at which it had taken nothing. */
  quietLooks = 0
  isClosed = false
  /** It is cut off as soon as what is on its way to it has gone out. */
  isDropped = false

  constructor(webSocket: WebSocket, socket: Duplex) {
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

  /** Begins the closing handshake. Without a code where the other side gave none (RFC 6455, 7.1.5). */
  close(code: number, reason: Buffer | string): void {
    if (!this.isOpen) return
    if (code === 1005) this.webSocket.close()
    else this.webSocket.close(code, reason)
    // Its own close frame is behind what it has sent before.
    this.webSocket.resume()
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
