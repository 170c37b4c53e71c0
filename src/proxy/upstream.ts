import type { Dispatcher } from 'undici'
import type { UpstreamConfig } from '../config/schema.ts'
import type { Logger } from '../log.ts'
import { processTimers, type Timers } from '../timers.ts'
import { CircuitBreaker } from './breaker.ts'
import type { UpstreamTls } from './connector.ts'
import { Endpoint } from './endpoint.ts'
import { EndpointSet } from './endpoint-set.ts'
import { type Lookup, systemLookup } from './resolver.ts'
import { createRetryPolicy, type RetryPolicy } from './retry.ts'

/** Where an upstream gets time, chance and names from; tests bring their own. */
export interface UpstreamEnvironment {
  readonly log: Logger
  readonly clock: () => number
  readonly timers: Timers
  readonly random: () => number
  readonly lookup: Lookup
}

export function processEnvironment(log: Logger): UpstreamEnvironment {
  return {
    log,
    clock: () => performance.now(),
    timers: processTimers,
    random: Math.random,
    lookup: systemLookup
  }
}

/**
 * One backend service: its endpoints, its cap and what is known of its health. Lives as long as some generation uses its
 * configuration, so a reload keeps the connections and the state of the breaker and of the checks.
 */
export class Upstream {
  readonly name: string
  readonly config: UpstreamConfig
  /** Null where the configuration asks for none: a request then costs nothing for it. */
  readonly breaker: CircuitBreaker | null
  readonly retries: RetryPolicy | null
  /** Calls under way at all its endpoints. */
  inFlight = 0
  readonly #endpoints: EndpointSet

  constructor(name: string, config: UpstreamConfig, tls: UpstreamTls, environment: UpstreamEnvironment) {
    const { clock, timers, random, lookup } = environment
    const log = environment.log.child({ upstream: name })
    this.name = name
    this.config = config
    this.breaker = createBreaker(config.circuitBreaker, clock, log)
    this.retries = createRetryPolicy(config.retries)
    this.#endpoints = new EndpointSet({
      config,
      log,
      make: (origin, address, onChange) =>
        new Endpoint({ origin, address, config, tls, onChange, timers, random }),
      resolver: { lookup, timers, clock }
    })
  }

  get endpoints(): readonly Endpoint[] {
    return this.#endpoints.all
  }

  get isSaturated(): boolean {
    return this.inFlight >= this.config.maxInFlight
  }

  /** The endpoint for the next call; for a second try another one than `avoid`, if there is one. */
  pick(avoid: Endpoint | null = null): Endpoint {
    return this.#endpoints.pick(avoid)
  }

  /** A connection to the endpoint could not be made. */
  unreachable(endpoint: Endpoint): void {
    this.#endpoints.unreachable(endpoint)
  }

  close(): Promise<void> {
    return this.#endpoints.close()
  }
}

function createBreaker(
  config: UpstreamConfig['circuitBreaker'],
  clock: () => number,
  log: Logger
): CircuitBreaker | null {
  if (config === undefined) return null
  return new CircuitBreaker({
    ...config,
    clock,
    onChange: state => {
      if (state === 'open') log.warn({ state }, 'the circuit breaker refuses requests')
      else log.info({ state }, 'the circuit breaker has changed')
    }
  })
}

/** What @fastify/reply-from is given as `undici`: it must exist, but every call takes our own path. */
export function unusedClient(upstream: Upstream): { request: Dispatcher['request'] } {
  return { request: () => Promise.reject(new Error(`upstream ${upstream.name} was called around the proxy`)) }
}
