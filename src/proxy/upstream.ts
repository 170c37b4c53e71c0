import type { Dispatcher } from 'undici'
import { Pool } from 'undici'
import type { UpstreamConfig } from '../config/schema.ts'
import type { Cell, Registry } from '../registry.ts'

/** One address of an upstream, with its own connections. */
export interface Endpoint {
  readonly origin: string
  readonly pool: Pool
  inFlight: number
}

/**
 * One backend service: its connections, its cap and its numbers. Lives as long as some generation uses its
 * configuration, so a reload keeps the connections.
 */
export class Upstream {
  readonly name: string
  readonly config: UpstreamConfig
  readonly endpoints: readonly Endpoint[]
  inFlight = 0
  #next = 0

  constructor(name: string, config: UpstreamConfig, tls: { ca?: string } | null) {
    this.name = name
    this.config = config
    this.endpoints = config.endpoints.map(origin => ({
      origin,
      pool: createPool(origin, config, tls),
      inFlight: 0
    }))
  }

  get isSaturated(): boolean {
    return this.inFlight >= this.config.maxInFlight
  }

  /** The endpoint for the next call. */
  pick(): Endpoint {
    const endpoints = this.endpoints
    if (endpoints.length === 1) return endpoints[0] as Endpoint
    this.#next = (this.#next + 1) % endpoints.length
    const turn = endpoints[this.#next] as Endpoint
    if (this.config.balance === 'round-robin') return turn
    return endpoints.reduce((least, one) => (one.inFlight < least.inFlight ? one : least), turn)
  }

  async close(): Promise<void> {
    await Promise.all(this.endpoints.map(({ pool }) => pool.destroy()))
  }
}

/**
 * Connections by undici. TLS certificates are verified: that is Node's default, which holds because we bring our own
 * dispatcher (@fastify/reply-from would turn it off). No queue of ours or undici's: a call either has a connection or opens
 * one, and `maxInFlight` bounds them.
 */
function createPool(origin: string, config: UpstreamConfig, tls: { ca?: string } | null): Pool {
  return new Pool(origin, {
    connections: null,
    pipelining: 1,
    allowH2: false,
    keepAliveTimeout: 30_000,
    keepAliveMaxTimeout: 600_000,
    headersTimeout: config.timeouts.response,
    bodyTimeout: config.timeouts.idle,
    maxHeaderSize: 65_536,
    connect: {
      timeout: config.timeouts.connect,
      ca: tls?.ca,
      servername: config.tls?.serverName,
      autoSelectFamily: true
    }
  })
}

/** What @fastify/reply-from is given as `undici`: it must exist, but every call takes our own path. */
export function unusedClient(upstream: Upstream): { request: Dispatcher['request'] } {
  return { request: () => Promise.reject(new Error(`upstream ${upstream.name} was called around the proxy`)) }
}

/** Every upstream of the process, by name and configuration. */
export class UpstreamRegistry {
  readonly #known = new Map<string, Upstream>()
  readonly registry: Registry

  constructor(registry: Registry) {
    this.registry = registry
  }

  /** The same configuration gives the same upstream, so that a reload keeps its connections. */
  get(name: string, config: UpstreamConfig, tls: { ca?: string } | null): Upstream {
    const key = upstreamKey(name, config, tls)
    const known = this.#known.get(key)
    if (known !== undefined) return known
    const upstream = new Upstream(name, config, tls)
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

  errors(upstream: string, reason: string): Cell {
    return this.registry.number('upstream_errors_total').child(upstream, reason)
  }

  async close(): Promise<void> {
    await this.retain(new Set())
  }
}

function upstreamKey(name: string, config: UpstreamConfig, tls: { ca?: string } | null): string {
  return JSON.stringify([name, config, tls])
}
