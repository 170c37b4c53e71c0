import type { Duplex } from 'node:stream'

/** More than this a client has no business to send before it was accepted: then it is not read any further. */
const maxEarly = 65_536

/**
 * Watches a client while its upstream is dialled. Somebody has to read, or its leaving would not be heard of; what it sends
 * already is kept for the connection.
 */
export class EarlyBytes {
  readonly #socket: Duplex
  readonly #chunks: Buffer[]
  #size: number

  constructor(socket: Duplex, head: Buffer) {
    this.#socket = socket
    this.#chunks = [head]
    this.#size = head.length
    socket.on('data', this.#keep)
    socket.on('end', leave)
    if (this.#size > maxEarly) socket.pause()
  }

  /** Ends the watch. The socket is paused: whoever takes it over resumes it. */
  take(): Buffer {
    this.#socket.pause()
    this.#release()
    return Buffer.concat(this.#chunks)
  }

  /** The client is refused. What it still sends is thrown away, for unread bytes would take the answer away from it. */
  discard(): void {
    this.#release()
    this.#chunks.length = 0
    this.#socket.resume()
  }

  readonly #keep = (chunk: Buffer): void => {
    this.#chunks.push(chunk)
    this.#size += chunk.length
    if (this.#size > maxEarly) this.#socket.pause()
  }

  #release(): void {
    this.#socket.off('data', this.#keep)
    this.#socket.off('end', leave)
  }
}

/** No WebSocket client says that it has nothing more to send before it was accepted: it has gone. */
function leave(this: Duplex): void {
  this.destroy()
}
