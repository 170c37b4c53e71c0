/** What the server needs of time; tests put a clock of their own in its place. */
export interface Timers {
  /** Milliseconds on a clock that never goes back. */
  now(): number
  /** Calls back once after so many milliseconds. */
  after(delay: number, callback: () => void): Timer
  /** Calls back again and again. */
  every(interval: number, callback: () => void): Timer
}

export interface Timer {
  cancel(): void
}

/** The real clock. Its timers never keep the process alive. */
export const systemTimers: Timers = {
  now: () => performance.now(),
  after(delay, callback) {
    const timer = setTimeout(callback, delay).unref()
    return { cancel: () => clearTimeout(timer) }
  },
  every(interval, callback) {
    const timer = setInterval(callback, interval).unref()
    return { cancel: () => clearInterval(timer) }
  }
}
