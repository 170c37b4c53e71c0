import { Refusal } from './errors.ts'
import type { Exchange } from './exchange.ts'
import type { Identity } from './identity.ts'
import { sessionChallenge } from './session/challenge.ts'
import { processTimers, type Timers } from './timers.ts'

/** Timers, the clock that they go by (it never goes back), and the calendar that credentials go by; all in milliseconds. */
export interface WatchTime {
  readonly timers: Timers
  readonly clock: () => number
  readonly calendar: () => number
}

const processTime: WatchTime = {
  timers: processTimers,
  clock: () => performance.now(),
  calendar: () => Date.now()
}

/** Milliseconds between two looks at what is open. */
const look = 5000
/** What has not been open for so long is a request like any other, and was judged just now. */
const lasting = 5000
/** How many credentials are asked about at a time: they may be in Redis, or at an issuer. */
const atOnce = 32
/** Whoever has not answered for so long holds up nobody else's question. */
const askingTime = 60_000

const expired = new Refusal('token.expired', { detail: 'the credential has run out' })

/** By the kind of the identity. RFC 9110, 15.5.2: a 401 has a challenge. */
const withdrawn: Readonly<Record<string, Refusal>> = {
  session: withdrawnWith(sessionChallenge),
  'api-key': withdrawnWith('ApiKey realm="sallyport", error="invalid_token"')
}
const withdrawnToken = withdrawnWith('Bearer realm="sallyport", error="invalid_token"')

/**
 * Ends what has outlived its credential. A request is judged once, when it comes; but a WebSocket, a stream of events or a gRPC call
 * may last for days, while its token runs out, its person signs out and its key is taken from the file. One timer looks at everything
 * that is open: requests that are answered at once know nothing of it.
 */
export class CredentialWatch {
  readonly #underWay: () => Iterable<Exchange>
  readonly #time: WatchTime
  #timer: unknown
  /** On the clock; null: nobody is being asked. */
  #askingSince: number | null = null
  #isOver = false

  constructor(underWay: () => Iterable<Exchange>, time: WatchTime = processTime) {
    this.#underWay = underWay
    this.#time = time
  }

  start(): void {
    if (this.#timer === undefined && !this.#isOver) this.#lookIn(look)
  }

  stop(): void {
    this.#isOver = true
    this.#time.timers.clearTimeout(this.#timer)
  }

  #lookIn(milliseconds: number): void {
    this.#timer = this.#time.timers.setTimeout(this.#look, Math.max(1, Math.ceil(milliseconds)))
  }

  readonly #look = (): void => {
    const now = this.#time.calendar()
    const clock = this.#time.clock()
    const questions: Exchange[] = []
    let next = look
    for (const exchange of this.#underWay()) {
      const { identity } = exchange
      if (identity === null || exchange.call === null) continue
      if (exchange.upgrade === null && clock - exchange.startTime < lasting) continue
      const left = endOf(exchange) - now
      if (left <= 0) end(exchange, expired, false)
      else if (left < next) next = left
      // Of what has run out, which may go on to an end of its own, nobody can tell any more whether it was withdrawn.
      if (exchange.stillHolds !== null && !hasRunOut(identity, now)) questions.push(exchange)
    }
    this.#lookIn(next)
    if (this.#askingSince !== null && clock - this.#askingSince < askingTime) return
    if (questions.length > 0) void this.#ask(questions, clock)
  }

  async #ask(exchanges: readonly Exchange[], since: number): Promise<void> {
    this.#askingSince = since
    const queue = exchanges.values()
    await Promise.all(Array.from({ length: atOnce }, () => askInTurn(queue)))
    if (this.#askingSince === since) this.#askingSince = null
  }
}

async function askInTurn(queue: Iterable<Exchange>): Promise<void> {
  for (const exchange of queue) {
    if (exchange.call === null || (await holds(exchange))) continue
    end(exchange, withdrawn[exchange.identity?.kind ?? ''] ?? withdrawnToken, true)
  }
}

/** One that cannot be ended in its own words must not keep the others from their end. */
function end(exchange: Exchange, refusal: Refusal, isWithdrawn: boolean): void {
  try {
    exchange.call?.revoke?.(refusal, isWithdrawn)
  } catch (err) {
    exchange.observer.log.error(
      { err, route: exchange.route?.name },
      'what was open could not be ended properly'
    )
    exchange.abandon()
  }
}

/** Who cannot be asked has not said no: the end of the credential's life still ends it. */
async function holds({ stillHolds, request }: Exchange): Promise<boolean> {
  try {
    return stillHolds === null || (await stillHolds(request.headers))
  } catch {
    return true
  }
}

/** Without the tolerance: whoever is asked goes by a clock of its own. */
function hasRunOut({ expiresAt }: Identity, now: number): boolean {
  return expiresAt !== null && expiresAt <= now
}

/** On the calendar. Who was let in within the tolerance of clocks is not thrown out at once. */
function endOf({ identity, observer }: Exchange): number {
  if (identity === null || identity.expiresAt === null) return Number.POSITIVE_INFINITY
  return identity.expiresAt + (observer.graceOf?.(identity) ?? 0)
}

function withdrawnWith(challenge: string): Refusal {
  return new Refusal('token.expired', {
    headers: { 'www-authenticate': challenge },
    detail: 'the credential was withdrawn'
  })
}
