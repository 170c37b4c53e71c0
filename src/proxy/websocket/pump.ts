import type { Reason } from '../../errors.ts'
import type { MessageLimits } from '../../plugin/define.ts'
import { closeCodeOf } from './fault.ts'
import { Flow } from './flow.ts'
import { FrameRate } from './limits.ts'
import type { Side } from './side.ts'
import type { Time } from './time.ts'

/** Why a connection has ended: with what the client was closed, and what the gateway or an end had to do with it. */
export interface PumpEnd {
  readonly closeCode: number
  /** Null: one end has closed it in good order. */
  readonly reason: Reason | null
  readonly detail: string | null
}

export interface PumpOptions {
  readonly client: Side
  readonly upstream: Side
  readonly limits: MessageLimits | null
  readonly time: Time
  readonly meter: FrameMeter
  /** Called once, when both sides are closed. */
  readonly onEnd: (end: PumpEnd) => void
}

/** Who counts. */
export interface FrameMeter {
  in(bytes: number): void
  out(bytes: number): void
}

/** Milliseconds between two looks at both sides. */
const look = 5000
/** Looks in a row at which a side with bytes waiting for it took none, after which it is cut off: a minute. */
const stalledLooks = 12
/** The same for a side that is to close: five to ten seconds. */
const closingLooks = 1

const goingAway = 1001
const policy = 1008
const internal = 1011
const abnormal = 1006

/**
 * A WebSocket connection: two sides and the frames between them. Messages, pings, pongs and close codes are passed on as they
 * came, at the pace of whoever takes them. It has one timer, which is set to whatever is due next, at most `look` from now.
 */
export class Pump {
  readonly #options: PumpOptions
  readonly #client: Side
  readonly #upstream: Side
  readonly #flowIn: Flow
  readonly #flowOut: Flow
  readonly #rate: FrameRate | null
  readonly #idle: number
  /** On the clock; Infinity: never. */
  readonly #endOfLife: number
  #lastFrame: number
  #nextLook: number
  #end: PumpEnd | null = null
  #timer: unknown

  constructor(options: PumpOptions) {
    const { client, upstream, limits, time } = options
    const now = time.clock()
    this.#options = options
    this.#client = client
    this.#upstream = upstream
    this.#rate = limits?.messageRate === undefined ? null : new FrameRate(limits.messageRate, now)
    this.#idle = limits?.idle ?? Number.POSITIVE_INFINITY
    this.#endOfLife = now + (limits?.lifetime ?? Number.POSITIVE_INFINITY)
    this.#lastFrame = now
    this.#nextLook = now + look
    this.#flowIn = new Flow(client, upstream, this.#meterIn)
    this.#flowOut = new Flow(upstream, client, this.#meterOut)
    this.#listen(client, upstream)
    this.#listen(upstream, client)
    this.#schedule(now)
  }

  /** The gateway ends the connection: `code` for the client, 1001 for the upstream, which has done nothing. */
  finish(code: number, reason: Reason, detail: string | null = null): void {
    if (this.#end !== null) return
    this.#settle({ closeCode: code, reason, detail })
    this.#stop()
    this.#client.webSocket.endWith(code, '')
    this.#upstream.webSocket.endWith(goingAway, '')
  }

  readonly #meterIn = (bytes: number, isMessage: boolean): boolean => {
    const now = this.#options.time.clock()
    this.#lastFrame = now
    // Pings and pongs count: each one costs the upstream as much as a short message.
    if (this.#rate !== null && !this.#rate.take(now)) {
      this.finish(policy, 'protocol.rate')
      return false
    }
    if (isMessage) this.#options.meter.in(bytes)
    return true
  }

  readonly #meterOut = (bytes: number, isMessage: boolean): boolean => {
    this.#lastFrame = this.#options.time.clock()
    if (isMessage) this.#options.meter.out(bytes)
    return true
  }

  #listen(side: Side, other: Side): void {
    side.webSocket.onPeerClose = (code, reason) => this.#asked(side, other, code, reason)
    side.webSocket.on('close', code => this.#closed(side, other, code))
    side.webSocket.on('error', error => this.#broken(side, other, error))
  }

  /**
   * The peer has sent its close frame: the other one hears of it, and its answer is the answer. Until then what it still sends
   * goes on its way.
   */
  #asked(side: Side, other: Side, code: number, reason: Buffer): void {
    side.askedWith = code
    this.#flowFrom(side).stop()
    if (this.#end === null) this.#settle({ closeCode: code, reason: null, detail: null })
    other.webSocket.endWith(code, reason)
  }

  /** Both have closed, or the connection has gone. */
  #closed(side: Side, other: Side, code: number): void {
    side.isClosed = true
    const isLost = side.askedWith === null && code === abnormal
    if (this.#end === null) {
      const reason = side === this.#client ? 'client.aborted' : 'upstream.reset'
      this.#settle({ closeCode: code, reason, detail: null })
    }
    this.#stop()
    if (other.isClosed) this.#over()
    // It has asked to close, and waits for an answer that will not come.
    else if (other.askedWith !== null) other.webSocket.endWith(other.askedWith, '')
    else if (isLost) other.drop()
  }

  /** A side has broken the protocol. ws has closed it with the code that RFC 6455 has for that. */
  #broken(side: Side, other: Side, error: Error): void {
    const code = closeCodeOf(error)
    const isClient = side === this.#client
    const detail = (error as { code?: string }).code ?? error.message
    const fault: Reason = code === 1009 ? 'protocol.size' : 'request.malformed'
    // A client is not told that it was too long or malformed, when it was not.
    const closeCode = isClient ? code : internal
    if (this.#end === null)
      this.#settle({ closeCode, reason: isClient ? fault : 'upstream.protocol', detail })
    this.#stop()
    other.webSocket.endWith(closeCode, '')
  }

  #flowFrom(side: Side): Flow {
    return side === this.#client ? this.#flowIn : this.#flowOut
  }

  #stop(): void {
    this.#flowIn.stop()
    this.#flowOut.stop()
  }

  /** What ends the connection; what comes after it is its consequence. */
  #settle(end: PumpEnd): void {
    const now = this.#options.time.clock()
    this.#end = end
    // The first look from here on sees what they have taken, the second one whether that is all.
    this.#nextLook = now + look
    this.#schedule(now)
  }

  #over(): void {
    this.#options.time.timers.clearTimeout(this.#timer)
    this.#options.onEnd(this.#end as PumpEnd)
  }

  #schedule(now: number): void {
    const due =
      this.#end === null
        ? Math.min(this.#nextLook, this.#lastFrame + this.#idle, this.#endOfLife)
        : this.#nextLook
    const wait = Math.max(Math.ceil(due - now), 0)
    const { timers } = this.#options.time
    timers.clearTimeout(this.#timer)
    this.#timer = timers.setTimeout(this.#wake, wait)
  }

  readonly #wake = (): void => {
    const now = this.#options.time.clock()
    if (now >= this.#nextLook) {
      this.#nextLook = now + look
      this.#lookAt(this.#client)
      this.#lookAt(this.#upstream)
    }
    if (this.#client.isClosed && this.#upstream.isClosed) return
    if (this.#end !== null) this.#schedule(now)
    // Each of these schedules by itself.
    else if (now >= this.#endOfLife) this.finish(goingAway, 'protocol.lifetime')
    else if (now >= this.#lastFrame + this.#idle) this.finish(goingAway, 'protocol.idle')
    else this.#schedule(now)
  }

  #lookAt(side: Side): void {
    if (side.isClosed) return
    const isClosing = side.isClosing || side.isDropped
    if (!isClosing && side.waiting === 0) {
      side.quietLooks = 0
      return
    }
    side.look()
    if (side.quietLooks < (isClosing ? closingLooks : stalledLooks)) return
    if (!isClosing) this.#stalled(side)
    side.webSocket.terminate()
  }

  #stalled(side: Side): void {
    const isClient = side === this.#client
    const detail = 'took nothing for a minute'
    const end: PumpEnd = isClient
      ? { closeCode: abnormal, reason: 'client.aborted', detail }
      : { closeCode: goingAway, reason: 'upstream.timeout', detail }
    if (this.#end !== null) return
    this.#settle(end)
    this.#stop()
    ;(isClient ? this.#upstream : this.#client).webSocket.endWith(goingAway, '')
  }
}
