/**
 * How many log lines of one kind are written: a stranger who opens connections, or a load that is shed, must not be able
 * to fill a disk. The counters in `/metrics` stay exact.
 */
export class LogLimit {
  readonly #perSecond: number
  readonly #now: () => number
  #second = -1
  #written = 0
  #suppressed = 0

  /** `now` is a clock in milliseconds. */
  constructor(perSecond: number, now: () => number = () => performance.now()) {
    this.#perSecond = perSecond
    this.#now = now
  }

  /**
   * Asked before each line.
   * @returns null when the line is not to be written, else how many were not since the last one that was
   */
  take(): number | null {
    const second = Math.floor(this.#now() / 1000)
    if (second !== this.#second) {
      this.#second = second
      this.#written = 0
    }
    if (this.#written >= this.#perSecond) {
      this.#suppressed++
      return null
    }
    this.#written++
    const suppressed = this.#suppressed
    this.#suppressed = 0
    return suppressed
  }
}
