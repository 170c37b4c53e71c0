import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { Registry } from './registry.ts'

const interval = 100

/**
 * Whether the event loop is so late that new work would only make it worse. A timer that is due every 100 ms says how late
 * the loop is; two late ones in a row count, so that one garbage collection sheds nothing.
 */
export class OverloadGuard {
  /** Set by the configuration in force, in ms. */
  maxLag = Number.POSITIVE_INFINITY
  isOverloaded = false
  #late = 0
  #due = 0
  readonly #timer: NodeJS.Timeout
  readonly #delay = monitorEventLoopDelay({ resolution: 10 })

  constructor(registry: Registry) {
    this.#due = performance.now() + interval
    this.#timer = setInterval(() => this.sample(performance.now() - this.#due), interval).unref()
    this.#delay.enable()
    const gauge = registry.number('event_loop_lag_seconds').child()
    registry.onScrape(() => {
      // The histogram holds whole intervals: its resolution is not lag.
      gauge.value = Math.max(0, this.#delay.percentile(99) / 1e9 - 0.01)
      this.#delay.reset()
    })
  }

  /** One measurement: how many ms the loop came late. */
  sample(lag: number): void {
    this.#due = performance.now() + interval
    this.#late = lag > this.maxLag ? this.#late + 1 : 0
    this.isOverloaded = this.#late >= 2
  }

  close(): void {
    clearInterval(this.#timer)
    this.#delay.disable()
  }
}
