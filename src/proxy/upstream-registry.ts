import type { UpstreamConfig } from '../config/schema.ts'
import type { Registry } from '../registry.ts'
import type { BreakerState } from './breaker.ts'
import type { UpstreamTls } from './connector.ts'
import { Upstream, type UpstreamEnvironment } from './upstream.ts'

/** As `circuit_breaker_state` says it. */
const breakerStates: Readonly<Record<BreakerState, number>> = { closed: 0, 'half-open': 1, open: 2 }

/** Every upstream of the process, by name and configuration. */
export class UpstreamRegistry {
  readonly #known = new Map<string, Upstream>()
  readonly #registry: Registry
  readonly #environment: UpstreamEnvironment

  constructor(registry: Registry, environment: UpstreamEnvironment) {
    this.#registry = registry
    this.#environment = environment
    registry.onScrape(() => this.#measure())
  }

  /** The same configuration gives the same upstream, so that a reload keeps its connections and what is known of it. */
  get(name: string, config: UpstreamConfig, tls: UpstreamTls): Upstream {
    const key = JSON.stringify([name, config, tls])
    const upstream = this.#known.get(key) ?? new Upstream(name, config, tls, this.#environment)
    // To the end of the map: asked for last, it is the one of its name that is in force.
    this.#known.delete(key)
    this.#known.set(key, upstream)
    return upstream
  }

  get size(): number {
    return this.#known.size
  }

  /** Closes the upstreams that none of `used` is. */
  async retain(used: ReadonlySet<Upstream>): Promise<void> {
    const gone = [...this.#known].filter(([, upstream]) => !used.has(upstream))
    for (const [key] of gone) this.#known.delete(key)
    await Promise.all(gone.map(([, upstream]) => upstream.close()))
  }

  async close(): Promise<void> {
    await this.retain(new Set())
  }

  /**
   * Made anew at each scrape, so that nothing is left of endpoints that are gone. Of two upstreams of one name (a reload has
   * changed it, and old requests are under way) the one in force is measured.
   */
  #measure(): void {
    const states = this.#registry.number('circuit_breaker_state')
    const health = this.#registry.number('upstream_healthy')
    states.reset()
    health.reset()
    const inForce = new Map([...this.#known.values()].map(upstream => [upstream.name, upstream]))
    for (const { name, config, breaker, endpoints } of inForce.values()) {
      if (breaker !== null) states.child(name).value = breakerStates[breaker.state]
      if (config.healthCheck === undefined && endpoints.length === 1) continue
      for (const { label, isWell } of endpoints) health.child(name, label).value = isWell ? 1 : 0
    }
  }
}
