/**
 * What one HTTP/2 connection may do that costs us work and itself nearly nothing. Each number leaves room for what honest
 * clients do (gRPC cancels calls by the thousand and pings by the round trip) and ends a flood within its first packets.
 */

/**
 * A reset is rapid when its stream is younger than this, in milliseconds. One that lived longer held one of the few streams
 * of its connection: whoever resets only such streams opens no more of them than a client that waits for its answers.
 */
export const rapidReset = 100

/** Rapid resets at once: two full sets of streams, as when a client with a deadline gives up on all it has asked for. */
const resetBurst = 200
/** Rapid resets a second that cost nothing. */
const resetRate = 100
/** What a stream that ended well is worth: half of a client's calls may be cancelled for good, one after the other. */
const resetPerAnswer = 0.5
/** Most rapid resets at once by a client with many answers behind it: handling them keeps the event loop for under 100 ms. */
const maxResetBurst = 500

/** PINGs at once and a second; a keepalive is one in 10 s. */
const pingBurst = 100
const pingRate = 10
/**
 * Bytes of bodies or answers that make one PING free: gRPC measures the bandwidth with a PING for every burst of data that it gets.
 * Our answer to a PING is 17 bytes and must not pay for the next one.
 */
const bytesPerPing = 100

/** SETTINGS at once and a second: one at the start, and a few more from clients that tune their windows. */
const settingsBurst = 50
const settingsRate = 5

/**
 * Bytes at once and a second that belong to no stream, no body and no answer: PRIORITY, WINDOW_UPDATE, CONTINUATION without
 * end, frames of unknown types. Node tells nothing of them but that bytes came. 64 KiB are 5,000 WINDOW_UPDATEs.
 */
const idleBytesBurst = 1024 * 1024
const idleBytesRate = 64 * 1024
/** Wire bytes that one byte of a body explains: a DATA frame of one byte is ten. */
const wirePerBodyByte = 16
/** Wire bytes that one byte of an answer explains: two WINDOW_UPDATEs, 26 bytes, for a DATA frame of one byte. */
const wirePerAnswerByte = 3

/**
 * Limits of nghttp2 behind those of ours, for `http2.createServer`: resets of streams that have ended, which Node does not tell of.
 * Twice what 10 % of 5,000 calls a second come to; Node's own 33 a second are not.
 */
export const nativeResets = Object.freeze({ streamResetBurst: 1000, streamResetRate: 1000 })

/** Tokens that grow with time up to a limit. */
class Budget {
  tokens: number
  readonly #limit: number
  /** Tokens a millisecond. */
  readonly #rate: number
  #last: number

  constructor(burst: number, perSecond: number, limit: number, now: number) {
    this.tokens = burst
    this.#limit = limit
    this.#rate = perSecond / 1000
    this.#last = now
  }

  /** @returns false when there are not so many */
  take(count: number, now: number): boolean {
    this.tokens = Math.min(this.#limit, this.tokens + (now - this.#last) * this.#rate)
    this.#last = now
    if (this.tokens < count) return false
    this.tokens -= count
    return true
  }

  earn(count: number): void {
    this.tokens = Math.min(this.#limit, this.tokens + count)
  }
}

/** The budgets of one connection. Whatever answers false has found a flood. Times are milliseconds of one clock. */
export class FloodGuard {
  /** Bytes of bodies that came. */
  bodyBytes = 0
  readonly #resets: Budget
  readonly #pings: Budget
  readonly #settings: Budget
  readonly #idleBytes: Budget
  #useful = 0
  #read = 0
  #written = 0
  #body = 0

  constructor(now: number) {
    this.#resets = new Budget(resetBurst, resetRate, maxResetBurst, now)
    this.#pings = new Budget(pingBurst, pingRate, pingBurst, now)
    this.#settings = new Budget(settingsBurst, settingsRate, settingsBurst, now)
    this.#idleBytes = new Budget(idleBytesBurst, idleBytesRate, idleBytesBurst, now)
  }

  /** A stream has ended as it should. */
  answered(): void {
    this.#resets.earn(resetPerAnswer)
  }

  /** A stream was reset by the client, or by nghttp2 for what the client did with it (CVE-2025-8671), at this age. */
  reset(age: number, now: number): boolean {
    return age >= rapidReset || this.#resets.take(1, now)
  }

  ping(written: number, now: number): boolean {
    const useful = written + this.bodyBytes
    if (useful - this.#useful >= bytesPerPing) {
      this.#pings.earn((useful - this.#useful) / bytesPerPing)
      this.#useful = useful
    }
    // The answer to this one.
    this.#useful += 17
    return this.#pings.take(1, now)
  }

  settings(now: number): boolean {
    return this.#settings.take(1, now)
  }

  /**
   * Looks at what came since the last look.
   * @param read bytes read from the connection so far
   * @param written bytes written to it so far
   * @param explained bytes that the heads of requests may have taken since the last look
   */
  traffic(read: number, written: number, explained: number, now: number): boolean {
    const unexplained =
      read -
      this.#read -
      (this.bodyBytes - this.#body) * wirePerBodyByte -
      (written - this.#written) * wirePerAnswerByte -
      explained
    this.#read = read
    this.#written = written
    this.#body = this.bodyBytes
    return unexplained <= 0 || this.#idleBytes.take(unexplained, now)
  }
}
