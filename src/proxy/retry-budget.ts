/** Seconds that the share is taken over. */
const window = 10
/** Second tries that are always allowed in a window: a share of little traffic would be none. */
const floor = 3
/** One second each: the window, the one that is being left, and the one that is being entered. */
const buckets = window + 2

/**
 * Second tries as a share of requests over a sliding window, so that an upstream in trouble is not asked twice by
 * everybody. Counted in whole seconds and on the safe side: requests over at most ten seconds, second tries over at
 * least ten.
 */
export class RetryBudget {
  readonly #share: number
  readonly #requests = new Uint32Array(buckets)
  readonly #retries = new Uint32Array(buckets)
  #second = 0

  /** `share` is a fraction: 0.1 is a tenth of the requests. */
  constructor(share: number) {
    this.#share = share
  }

  /** A request begins; `now` in milliseconds, never going back. */
  count(now: number): void {
    this.#advance(now)
    this.#requests[this.#second % buckets]!++
  }

  /** Whether one more second try is within the budget; if so it is taken. */
  take(now: number): boolean {
    this.#advance(now)
    const allowed = Math.max(floor, this.#share * this.#sum(this.#requests, window))
    if (this.#sum(this.#retries, window + 1) + 1 > allowed) return false
    this.#retries[this.#second % buckets]!++
    return true
  }

  #advance(now: number): void {
    const second = Math.floor(now / 1000)
    if (second === this.#second) return
    const passed = Math.min(second - this.#second, buckets)
    for (let i = 0; i < passed; i++) {
      this.#requests[(second - i) % buckets] = 0
      this.#retries[(second - i) % buckets] = 0
    }
    this.#second = second
  }

  #sum(counts: Uint32Array, seconds: number): number {
    let sum = 0
    for (let i = 0; i < seconds; i++) sum += counts[(this.#second + buckets - i) % buckets] as number
    return sum
  }
}
