import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { Registry } from './registry.ts'

const interval = 100
/** So many late timers in a row are load; fewer are a garbage collection or the building of a generation. */
const sustained = 3

/**
 * Whether the event loop is so late that new work would only make it worse. A timer that is due every 100 ms says how late
 * the loop is; only a lag that lasts counts.
 */
export class OverloadGuard {
  /** Set by the configuration in force, in ms. */
  maxLag = Number.POSITIVE_INFINITY
  isOverloaded = false
  #late = 0
  #due = 0
  readonly #timer: NodeJS.Timeout
  readonly #delay = monitorEventLoopDelay({ resolution: 10 })

  readonly #shed: boolean

  constructor(registry: Registry, shed = true) {
    this.#shed = shed
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
    this.isOverloaded = this.#shed && this.#late >= sustained
  }

  /** Forgets what was measured so far: what the start itself did is no load. */
  reset(): void {
    this.#due = performance.now() + interval
    this.#late = 0
    this.isOverloaded = false
  }

  close(): void {
    clearInterval(this.#timer)
    this.#delay.disable()
  }
}
