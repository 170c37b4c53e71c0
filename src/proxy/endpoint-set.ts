import type { UpstreamConfig } from '../config/schema.ts'
import type { Logger } from '../log.ts'
import { type Balancer, createBalancer } from './balancer.ts'
import type { Endpoint } from './endpoint.ts'
import { HostResolver, type HostResolverOptions } from './resolver.ts'

/** Makes the endpoint of an origin: at `address`, or where its host resolves to. */
export type MakeEndpoint = (
  origin: string,
  address: string | null,
  onChange: (endpoint: Endpoint) => void
) => Endpoint

export interface EndpointSetOptions {
  readonly config: UpstreamConfig
  readonly log: Logger
  readonly make: MakeEndpoint
  readonly resolver: Pick<HostResolverOptions, 'lookup' | 'timers' | 'clock'>
}

/**
 * The endpoints of one upstream: which there are, which of them get requests, and which gets the next. When none is
 * well all of them get requests: docs/adr/0011-upstream-resilience.md.
 */
export class EndpointSet {
  readonly #options: EndpointSetOptions
  readonly #byOrigin = new Map<string, readonly Endpoint[]>()
  readonly #resolvers: HostResolver[] = []
  readonly #draining = new Set<Endpoint>()
  #all: readonly Endpoint[] = []
  #balancer: Balancer<Endpoint>
  #isClosed = false

  constructor(options: EndpointSetOptions) {
    this.#options = options
    const { config, make } = options
    // Until a name has been resolved its endpoint is the name itself: a start never waits for DNS.
    for (const origin of config.endpoints) this.#byOrigin.set(origin, [make(origin, null, this.#changed)])
    this.#balancer = this.#rotate()
    if (config.resolve === 'all') for (const origin of config.endpoints) this.#resolve(origin)
  }

  get all(): readonly Endpoint[] {
    return this.#all
  }

  pick(avoid: Endpoint | null): Endpoint {
    return this.#balancer.pick(avoid)
  }

  /** A connection to it could not be made. */
  unreachable(endpoint: Endpoint): void {
    if (this.#isClosed) return
    for (const resolver of this.#resolvers) resolver.suspect()
    // The only endpoint gets every request anyway, so there is nothing to be gained from a rest.
    if (this.#all.length > 1 && this.#all.includes(endpoint)) endpoint.rest()
  }

  async close(): Promise<void> {
    this.#isClosed = true
    for (const resolver of this.#resolvers) resolver.close()
    await Promise.all([...this.#all, ...this.#draining].map(endpoint => endpoint.close()))
  }

  readonly #changed = (endpoint: Endpoint): void => {
    if (this.#isClosed || !this.#all.includes(endpoint)) return
    const { log } = this.#options
    if (endpoint.isWell) log.info({ endpoint: endpoint.label }, 'the endpoint gets requests again')
    else log.warn({ endpoint: endpoint.label }, 'the endpoint is not well: others get its requests')
    this.#balancer = this.#rotate()
  }

  #rotate(): Balancer<Endpoint> {
    this.#all = [...this.#byOrigin.values()].flat()
    const well = this.#all.filter(endpoint => endpoint.isWell)
    return createBalancer(this.#options.config.balance, well.length === 0 ? this.#all : well)
  }

  #resolve(origin: string): void {
    const { log, resolver } = this.#options
    const host = new URL(origin).hostname
    const options: HostResolverOptions = {
      ...resolver,
      host: host.startsWith('[') ? host.slice(1, -1) : host,
      onAddresses: addresses => this.#replace(origin, addresses),
      onError: err => log.warn({ err, host }, 'the name does not resolve: its last addresses stay')
    }
    this.#resolvers.push(new HostResolver(options))
  }

  /** Endpoints that stay keep their connections; the others end what they have begun. */
  #replace(origin: string, addresses: readonly string[]): void {
    const before = this.#byOrigin.get(origin) ?? []
    const next = addresses.map(
      address =>
        before.find(endpoint => endpoint.address === address) ??
        this.#options.make(origin, address, this.#changed)
    )
    this.#byOrigin.set(origin, next)
    this.#balancer = this.#rotate()
    this.#options.log.info({ origin, addresses }, 'the name has these addresses')
    for (const endpoint of before) if (!next.includes(endpoint)) void this.#drain(endpoint)
  }

  async #drain(endpoint: Endpoint): Promise<void> {
    this.#draining.add(endpoint)
    await endpoint.drain()
    this.#draining.delete(endpoint)
  }
}
