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
  /** Milliseconds until the credential ends; null: it does not. */
  readonly expiresIn: number | null
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
const closingLooks = 2

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
  readonly #flows: readonly Flow[]
  readonly #rate: FrameRate | null
  readonly #idle: number
  /** On the clock; Infinity: never. */
  readonly #endOfLife: number
  readonly #endOfCredential: number
  #lastFrame: number
  #nextLook: number
  #end: PumpEnd | null = null
  #timer: unknown

  constructor(options: PumpOptions) {
    const { client, upstream, limits, expiresIn, time } = options
    const now = time.clock()
    this.#options = options
    this.#client = client
    this.#upstream = upstream
    this.#rate = limits?.messageRate === undefined ? null : new FrameRate(limits.messageRate, now)
    this.#idle = limits?.idle ?? Number.POSITIVE_INFINITY
    this.#endOfLife = now + (limits?.lifetime ?? Number.POSITIVE_INFINITY)
    this.#endOfCredential = now + (expiresIn ?? Number.POSITIVE_INFINITY)
    this.#lastFrame = now
    this.#nextLook = now + look
    this.#flows = [new Flow(client, upstream, this.#meterIn), new Flow(upstream, client, this.#meterOut)]
    this.#listen(client, upstream, 'client.aborted')
    this.#listen(upstream, client, 'upstream.reset')
    this.#schedule(now)
  }

  /** The gateway ends the connection: `code` for the client, 1001 for the upstream, which has done nothing. */
  finish(code: number, reason: Reason, detail: string | null = null): void {
    if (!this.#settle({ closeCode: code, reason, detail })) return
    this.#client.close(code, '')
    this.#upstream.close(goingAway, '')
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

  #listen(side: Side, other: Side, lost: Reason): void {
    side.webSocket.on('close', (code, reason) => this.#closed(side, other, lost, code, reason))
    side.webSocket.on('error', error => this.#broken(side, other, error))
  }

  /** A side has closed, or its connection has gone. */
  #closed(side: Side, other: Side, lost: Reason, code: number, reason: Buffer): void {
    side.isClosed = true
    const isLost = code === abnormal
    if (this.#settle({ closeCode: code, reason: isLost ? lost : null, detail: null })) {
      if (isLost) other.drop()
      else other.close(code, reason)
    }
    if (other.isClosed) this.#over()
  }

  /** A side has broken the protocol. ws has closed it with the code that RFC 6455 has for that. */
  #broken(side: Side, other: Side, error: Error): void {
    const code = closeCodeOf(error)
    const isClient = side === this.#client
    const detail = (error as { code?: string }).code ?? error.message
    const fault: Reason = code === 1009 ? 'protocol.size' : 'request.malformed'
    // A client is not told that it was too long or malformed, when it was not.
    const closeCode = isClient ? code : internal
    if (this.#settle({ closeCode, reason: isClient ? fault : 'upstream.protocol', detail }))
      other.close(closeCode, '')
  }

  /** @returns whether this is the first that ends the connection: what follows is its consequence. */
  #settle(end: PumpEnd): boolean {
    if (this.#end !== null) return false
    this.#end = end
    // What they have taken so far is nothing that they take from now on.
    this.#client.look()
    this.#upstream.look()
    this.#client.quietLooks = 0
    this.#upstream.quietLooks = 0
    for (const flow of this.#flows) flow.stop()
    return true
  }

  #over(): void {
    this.#options.time.timers.clearTimeout(this.#timer)
    this.#options.onEnd(this.#end as PumpEnd)
  }

  #schedule(now: number): void {
    const due =
      this.#end === null
        ? Math.min(this.#nextLook, this.#lastFrame + this.#idle, this.#endOfLife, this.#endOfCredential)
        : this.#nextLook
    const wait = Math.max(Math.ceil(due - now), 0)
    this.#timer = this.#options.time.timers.setTimeout(this.#wake, wait)
  }

  readonly #wake = (): void => {
    const now = this.#options.time.clock()
    if (now >= this.#nextLook) {
      this.#nextLook = now + look
      this.#lookAt(this.#client)
      this.#lookAt(this.#upstream)
    }
    if (this.#client.isClosed && this.#upstream.isClosed) return
    if (this.#end === null) {
      if (now >= this.#endOfCredential) this.finish(policy, 'token.expired')
      else if (now >= this.#endOfLife) this.finish(goingAway, 'protocol.lifetime')
      else if (now >= this.#lastFrame + this.#idle) this.finish(goingAway, 'protocol.idle')
    }
    this.#schedule(now)
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
    if (this.#settle(end)) (isClient ? this.#upstream : this.#client).close(goingAway, '')
  }
}
