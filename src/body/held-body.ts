import type { Exchange } from '../exchange.ts'
import { hold, release } from './allowance.ts'

/**
 * How a reading ended: all of the body is here, it is longer than was asked for, it took too long, the client has gone, or the process
 * holds too much already.
 */
export type Reading = 'whole' | 'longer' | 'late' | 'gone' | 'crowded'

const nothing = Buffer.alloc(0)
/** Bytes to begin with where a body comes in pieces. */
const firstRoom = 4096

/**
 * The body of a request as far as it was read before the upstream is asked. What is held here goes up first and unchanged, and
 * what the client still sends goes up behind it.
 */
export class HeldBody {
  readonly since = performance.now()
  /** All of the body is held. */
  isWhole = false
  readonly #exchange: Exchange
  readonly #timeout: number
  /** Bytes in one piece: a body that comes byte by byte would otherwise cost a hundred times its size. */
  #room: Buffer = nothing
  #length = 0
  #counted = 0
  #turn: Promise<unknown> = Promise.resolve()
  #settle: ((reading: Reading) => void) | null = null

  /** @param timeout milliseconds for a body on HTTP/2 to arrive: the HTTP/1 server has a clock of its own for them */
  constructor(exchange: Exchange, timeout: number) {
    this.#exchange = exchange
    this.#timeout = timeout
    exchange.onEnd(() => {
      this.#settle?.('gone')
      this.release()
    })
  }

  get bytes(): Buffer {
    return this.#room.subarray(0, this.#length)
  }

  /** Reads on until the body has ended or more than `max` bytes of it are here. One reading at a time. */
  read(max: number): Promise<Reading> {
    const mine = this.#turn.then(() => this.#read(max))
    this.#turn = mine
    return mine
  }

  /** Hands the bytes over to whoever sends them. */
  take(): Buffer {
    const { bytes } = this
    this.#room = nothing
    this.#length = 0
    return bytes
  }

  /** The bytes are not held any more. */
  release(): void {
    release(this.#counted)
    this.#counted = 0
  }

  #read(max: number): Reading | Promise<Reading> {
    if (this.#length > max) return 'longer'
    if (this.isWhole) return 'whole'
    const { request, stream, ended } = this.#exchange
    // Nobody answers for it any more: it ends with the response, of which the exchange hears.
    if (ended) return 'gone'
    return new Promise(resolve => {
      const timer = stream === null ? undefined : setTimeout(() => settle('late'), this.#left).unref()
      const onData = (chunk: Buffer) => {
        if (!this.#append(chunk)) settle('crowded')
        else if (this.#length > max) settle('longer')
      }
      const onEnd = () => {
        this.isWhole = true
        settle('whole')
      }
      const settle = (reading: Reading) => {
        clearTimeout(timer)
        request.off('data', onData).off('end', onEnd)
        if (reading !== 'whole') request.pause()
        this.#settle = null
        resolve(reading)
      }
      this.#settle = settle
      request.on('data', onData).on('end', onEnd)
      // A pause stays one until it is taken back.
      request.resume()
    })
  }

  get #left(): number {
    return Math.max(this.#timeout - (performance.now() - this.since), 1)
  }

  #append(chunk: Buffer): boolean {
    const length = this.#length + chunk.length
    if (length > this.#room.length) {
      // Mostly the body is one piece, which stays as it is.
      const isAll = this.#length === 0 && this.#exchange.request.headers['content-length'] === String(length)
      const room = isAll ? chunk : Buffer.allocUnsafe(Math.max(length, this.#room.length * 2, firstRoom))
      if (!isAll) this.#room.copy(room, 0, 0, this.#length)
      this.#room = room
      if (isAll) this.#length = length
    }
    if (this.#length !== length) {
      chunk.copy(this.#room, this.#length)
      this.#length = length
    }
    const more = this.#room.length - this.#counted
    this.#counted = this.#room.length
    return hold(more)
  }
}
