import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { ParserVerdict } from './parser-error.ts'
import { writeRawProblem } from './raw-problem.ts'
import type { Timer, Timers } from './timers.ts'

type Response = ServerResponse<IncomingMessage>

/** Milliseconds between the client's FIN and the first look whether it is still there, and between two looks. */
const probeInterval = 500
/** Looks in a row at a half-closed client in which nothing was sent to it, after which it is taken for gone. */
const maxQuietLooks = 10

/**
 * One client connection: which answers are due, in their order, and how it ends. Node parses a pipelined request as soon
 * as its bytes are there, so an error in the third may be known while the first is still being answered: the error waits
 * for the answers before it, and is never written into the middle of one.
 */
export class Connection {
  /** Responses under way, oldest first. */
  readonly pending: Response[] = []
  /** No further request of this connection is handled. */
  isClosing = false
  /**
   * An upgrade was not taken up. Node's parser then drops what follows in the same packet, so that later bytes would be
   * read from the middle: the request is answered, and is the last one.
   */
  hasDeclinedUpgrade = false
  /** The last request that is handled has come. */
  isSealed = false
  /** When the client last took bytes, while some are waiting for it; -1 when none are. */
  stalledSince = -1
  /** Bytes that the client had taken then. */
  taken = 0
  readonly #socket: Socket
  readonly #timers: Timers
  readonly #lingerTimeout: number
  #linger: Timer | null = null
  #bodyWait: Timer | null = null
  #probe: Timer | null = null
  #quietLooks = 0
  #sent = -1

  constructor(socket: Socket, timers: Timers, lingerTimeout: number) {
    this.#socket = socket
    this.#timers = timers
    this.#lingerTimeout = lingerTimeout
  }

  /** No further request is read; what the client still sends is thrown away. Answers under way are not touched. */
  stopReading(): void {
    if (this.isClosing) return
    this.isClosing = true
    // A listener of ours takes the bytes off Node's parser, which would go on making requests of them.
    this.#socket.removeAllListeners('data')
    this.#socket.on('data', discard)
    this.#socket.resume()
  }

  /**
   * Ends the connection, with an answer when there is a verdict, once the answers that are due before it are sent.
   * An answer already begun for the request that failed (its body broke off) goes first too, as far as it gets.
   */
  end(verdict: ParserVerdict | null): void {
    if (this.isClosing) return
    const last = this.pending.at(-1)
    const broken = last !== undefined && !last.req.complete ? last : undefined
    this.stopReading()
    const due = broken === undefined ? last : this.pending.at(-2)
    if (due === undefined) this.#finish(verdict, broken)
    // A due answer that says `Connection: close` ends the connection itself: then the socket is not writable any more.
    else due.once('finish', () => this.#finish(verdict, broken))
  }

  /**
   * A request was answered before its body was read. The rest of a small body is on its way already and the connection
   * stays; a client that sends on for longer than the linger timeout is closed.
   */
  awaitBody(request: IncomingMessage): void {
    // Not before the packet is parsed to its end: the whole body may be in it.
    setImmediate(() => {
      if (request.complete || this.isClosing) return
      this.#bodyWait?.cancel()
      this.#bodyWait = this.#timers.after(this.#lingerTimeout, () => {
        if (!request.complete) this.closeGently()
      })
    })
  }

  /** Closes politely: what is written goes out, and what the client still sends is read for a moment. */
  closeGently(): void {
    this.stopReading()
    if (this.#socket.destroyed) return
    // RFC 9112 9.6. Closing with unread bytes in the kernel resets the connection, and a reset takes the answer away from the client.
    this.#linger ??= this.#timers.after(this.#lingerTimeout, () => this.#socket.destroy())
    this.#socket.end()
  }

  /**
   * The client has sent its FIN. Either it waits for its answers with one side closed, or it has gone; TCP tells the two
   * apart only when something is sent: the system of a client that has gone replies with a reset, which ends what is under
   * way. So it is sent an interim answer (RFC 9110, 15.2), which is harmless, and once the head is out the body. A body that
   * pauses leaves nothing to send: then a client that has been silent for long has gone.
   */
  clientEnded(): void {
    if (this.pending.length === 0 || this.isClosing) return
    this.#probe = this.#timers.after(probeInterval, () => {
      this.#lookForClient()
      this.clientEnded()
    })
  }

  #lookForClient(): void {
    const [current] = this.pending
    if (current === undefined) return
    if (!current.headersSent) {
      // HTTP/1.0 knows no interim answers.
      if (current.req.httpVersionMinor === 0) return
      // Node's TLS keeps a reset to itself when the write that meets it is one of its own (a session ticket): every write
      // after that waits for ever, and the connection only looks half closed.
      this.#countLook(this.#socket.writableLength > 0)
      if (this.#quietLooks === 0) current.writeProcessing()
      return
    }
    const { bytesWritten } = this.#socket
    const isQuiet = bytesWritten === this.#sent
    this.#sent = bytesWritten
    this.#countLook(isQuiet)
  }

  #countLook(isQuiet: boolean): void {
    this.#quietLooks = isQuiet ? this.#quietLooks + 1 : 0
    if (this.#quietLooks >= maxQuietLooks) this.#socket.destroy()
  }

  /** The socket leaves HTTP: Node's and our ways of ending it do not apply any more. */
  release(): void {
    delete (this.#socket as Partial<Socket>).destroySoon
  }

  /** The connection is gone. Node tells the answer that had the socket, but none of those that waited behind it. */
  dispose(): void {
    this.#linger?.cancel()
    this.#bodyWait?.cancel()
    this.#probe?.cancel()
    for (const response of this.pending) if (response.socket === null) response.emit('close')
  }

  #finish(verdict: ParserVerdict | null, broken: Response | undefined): void {
    if (broken?.headersSent) {
      broken.once('finish', () => this.closeGently())
      this.#linger ??= this.#timers.after(this.#lingerTimeout, () => this.#socket.destroy())
      return
    }
    if (verdict === null) {
      this.#socket.destroy()
      return
    }
    writeRawProblem(this.#socket, verdict.status, verdict.reason)
    this.closeGently()
  }
}

function discard(): void {}

const kConnection = Symbol('sallyport.connection')
type TrackedSocket = Duplex & { [kConnection]?: Connection }

/** Tracks a connection from its first moment. */
export function trackConnection(socket: Socket, timers: Timers, lingerTimeout: number): Connection {
  const connection = new Connection(socket, timers, lingerTimeout)
  ;(socket as TrackedSocket)[kConnection] = connection
  socket.once('end', clientEnded)
  // Node calls this after a response with `Connection: close`. Its own way of closing resets the connection when the
  // client is still sending, and the client would lose the answer (a 413, say).
  socket.destroySoon = closeGently
  return connection
}

export function connectionOf(socket: Duplex): Connection | undefined {
  return (socket as TrackedSocket)[kConnection]
}

function clientEnded(this: Socket): void {
  connectionOf(this)?.clientEnded()
}

function closeGently(this: Socket): void {
  connectionOf(this)?.closeGently()
}
