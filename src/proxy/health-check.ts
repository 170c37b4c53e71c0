import type { UpstreamConfig } from '../config/schema.ts'
import type { Timers } from '../timers.ts'

export type HealthCheckConfig = NonNullable<UpstreamConfig['healthCheck']>

export interface HealthCheckOptions {
  readonly config: HealthCheckConfig
  /** One check: whether the endpoint is well. Never rejects, and ends within the timeout. */
  readonly probe: () => Promise<boolean>
  readonly onChange: (isHealthy: boolean) => void
  readonly timers: Timers
  /** From 0 to 1. */
  readonly random: () => number
}

/** A tenth of the interval either way: replicas that started together do not check together for ever. */
const jitter = 0.2

/**
 * Asks one endpoint again and again whether it is well. It counts as well until `unhealthy` bad answers in a row, and is
 * back after `healthy` good ones. A check begins an interval after the end of the one before: they never overlap.
 */
export class HealthCheck {
  readonly #options: HealthCheckOptions
  #isHealthy = true
  /** Answers in a row that speak against what it counts as. */
  #streak = 0
  #timer: unknown
  #isClosed = false

  constructor(options: HealthCheckOptions) {
    this.#options = options
    void this.#check()
  }

  get isHealthy(): boolean {
    return this.#isHealthy
  }

  close(): void {
    this.#isClosed = true
    this.#options.timers.clearTimeout(this.#timer)
  }

  async #check(): Promise<void> {
    const { config, probe, timers, random } = this.#options
    const isWell = await probe()
    if (this.#isClosed) return
    this.#judge(isWell)
    const pause = config.interval * (1 + jitter * (random() - 0.5))
    this.#timer = timers.setTimeout(() => void this.#check(), pause)
  }

  #judge(isWell: boolean): void {
    if (isWell === this.#isHealthy) {
      this.#streak = 0
      return
    }
    const { healthy, unhealthy } = this.#options.config
    if (++this.#streak < (isWell ? healthy : unhealthy)) return
    this.#streak = 0
    this.#isHealthy = isWell
    this.#options.onChange(isWell)
  }
}
