/** Milliseconds. */
const tick = 50

/**
 * How long somebody may wait, in ticks of 50 ms that this process has seen. Where it stood still (a busy event loop, a container
 * without processor time) the whole pause is one tick: what is late then may be we, and the answer lies in the socket. One timer
 * for all who wait.
 */
export class Patience {
  readonly #ticks: number
  /** Who waits, in the order of their coming, and since which tick. */
  readonly #waiting = new Map<() => void, number>()
  #now = 0
  #timer: NodeJS.Timeout | null = null

  /** @param milliseconds until somebody has waited too long; up to one tick more. */
  constructor(milliseconds: number) {
    this.#ticks = Math.ceil(milliseconds / tick) + 1
  }

  /** Calls `late` once, unless `end` is called with it before. */
  begin(late: () => void): void {
    this.#waiting.set(late, this.#now)
    this.#timer ??= setInterval(() => this.#pass(), tick).unref()
  }

  end(late: () => void): void {
    this.#waiting.delete(late)
  }

  close(): void {
    this.#waiting.clear()
    this.#stop()
  }

  #pass(): void {
    this.#now++
    for (const [late, since] of this.#waiting) {
      if (this.#now - since < this.#ticks) return
      this.#waiting.delete(late)
      late()
    }
    if (this.#waiting.size === 0) this.#stop()
  }

  #stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer)
    this.#timer = null
  }
}
