import type { Config } from '../config/schema.ts'
import type { Reason } from '../errors.ts'
import { createLog } from '../log.ts'
import type { Places } from '../plugin/places.ts'
import type { Proxies } from '../proxy/proxies.ts'
import { Registry } from '../registry.ts'
import type { RouteServices } from '../route/build.ts'
import type { GenerationServices, Ingredients } from '../services.ts'
import type { Limit, LimitResult, LimitStore } from '../store/contract.ts'
import { lookingSessions } from './sessions.ts'

/** Hears what a chain does while a request is explained. */
export interface Witness {
  /** A limit was looked at. */
  limit(limit: Limit, result: LimitResult): void
  shadow(plugin: string, reason: Reason): void
}

/**
 * The services of a generation that only explains: keys, upstreams and identities are the live ones; limits and places are the
 * live ones to look at and never to change; numbers, logs and caches are its own, and nobody reads them.
 */
export class ExplainingServices implements GenerationServices {
  readonly log = createLog('silent')
  readonly registry = new Registry()
  readonly #live: GenerationServices
  readonly #proxies: Proxies
  readonly #witness: Witness

  constructor(live: GenerationServices, proxies: Proxies, witness: Witness) {
    this.#live = live
    this.#proxies = proxies
    this.#witness = witness
  }

  upstream(config: Config, name: string): ReturnType<GenerationServices['upstream']> {
    return this.#live.upstream(config, name)
  }

  identityKeys(config: Config): ReturnType<GenerationServices['identityKeys']> {
    return this.#live.identityKeys(config)
  }

  redis(config: Config): ReturnType<GenerationServices['redis']> {
    return this.#live.redis(config)
  }

  readonly sessions = {
    get: async (config: Config) => {
      const live = await this.#live.sessions.get(config)
      return live === null ? null : lookingSessions(live)
    }
  }

  forRoutes(config: Config, ingredients: Ingredients): RouteServices {
    const live = this.#live.forRoutes(config, ingredients)
    return {
      ...live,
      log: this.log,
      registry: this.registry,
      limits: new LookingLimits(live.limits, this.#witness),
      caches: new Map(),
      places: key => new LookingPlaces(live.places(key)),
      onShadow: (plugin, reason) => this.#witness.shadow(plugin, reason),
      proxies: this.#proxies
    }
  }
}

/** Decides as the store does, and counts nothing. */
class LookingLimits implements LimitStore {
  readonly name: string
  readonly #live: LimitStore
  readonly #witness: Witness

  constructor(live: LimitStore, witness: Witness) {
    this.name = live.name
    this.#live = live
    this.#witness = witness
  }

  take(key: string, limit: Limit): LimitResult | Promise<LimitResult> {
    return this.peek(key, limit)
  }

  peek(key: string, limit: Limit): LimitResult | Promise<LimitResult> {
    const result = this.#live.peek(key, limit)
    if (result instanceof Promise) return result.then(late => this.#noted(limit, late))
    return this.#noted(limit, result)
  }

  async close(): Promise<void> {}

  #noted(limit: Limit, result: LimitResult): LimitResult {
    this.#witness.limit(limit, result)
    return result
  }
}

/** Counts those that are there, and lets nobody in. */
class LookingPlaces implements Places {
  readonly #live: Places

  constructor(live: Places) {
    this.#live = live
  }

  count(key: string): number {
    return this.#live.count(key)
  }

  enter(): void {}

  leave(): void {}
}
