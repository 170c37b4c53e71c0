import { compile } from '@fastify/proxy-addr'
import type { Config } from './config/schema.ts'
import { describeSecret, readSecret } from './config/secret.ts'
import { type IssuerMetrics, IssuerRegistry } from './issuer/keys.ts'
import type { Logger } from './log.ts'
import type { GatewayPlugin, PluginCache } from './plugin/define.ts'
import { CountedPlaces, type Places } from './plugin/places.ts'
import { processEnvironment, type Upstream } from './proxy/upstream.ts'
import { UpstreamRegistry } from './proxy/upstream-registry.ts'
import type { Registry } from './registry.ts'
import type { RouteServices } from './route/build.ts'
import { IdentityKeyRegistry, type IdentityKeys } from './signed-identity/registry.ts'
import type { IdentitySigner } from './signed-identity/signer.ts'
import type { LimitStore } from './store/contract.ts'
import { MemoryLimitStore } from './store/memory.ts'

/** What a generation is built from. */
export interface GenerationServices
  extends Pick<Services, 'log' | 'registry' | 'upstream' | 'identityKeys' | 'forRoutes'> {}

type Environment = Readonly<Record<string, string | undefined>>

/**
 * What outlives generations: keys, limits, connections, caches and numbers. Made once per process, so that a reload neither
 * fetches keys again nor resets a limit.
 */
export class Services {
  readonly log: Logger
  readonly registry: Registry
  readonly limits: LimitStore
  readonly issuers: IssuerRegistry
  readonly upstreams: UpstreamRegistry
  readonly caches = new Map<string, PluginCache<unknown>>()
  readonly #places = new Map<string, Places>()
  readonly #env: Environment
  readonly #identityKeys = new IdentityKeyRegistry()

  constructor(log: Logger, registry: Registry, env: Environment = process.env) {
    this.#env = env
    this.log = log
    this.registry = registry
    this.limits = new MemoryLimitStore()
    this.issuers = new IssuerRegistry({ log, metrics: issuerMetrics(registry) })
    this.upstreams = new UpstreamRegistry(registry, processEnvironment(log))
  }

  /** The upstream of this name, as `config` describes it. */
  async upstream(config: Config, name: string): Promise<Upstream> {
    const upstream = config.upstreams[name]
    if (upstream === undefined) throw new Error(`there is no upstream "${name}"`)
    const ca = upstream.tls?.ca === undefined ? undefined : await readSecret(upstream.tls.ca, this.#env)
    return this.upstreams.get(name, upstream, ca === undefined ? null : { ca })
  }

  /** The keys that identities are signed with; null where the configuration has none. */
  async identityKeys({ identity, externalUrl }: Config): Promise<IdentityKeys | null> {
    const key = identity?.sign?.key
    if (key === undefined) return null
    const text = await readSecret(key, this.#env)
    return this.#identityKeys.get(text, externalUrl as string).catch(cause => {
      throw new Error(`identity.sign.key: ${describeSecret(key)} ${(cause as Error).message}`, { cause })
    })
  }

  /** Who is under way, by route, plugin and name. */
  places(key: string): Places {
    const known = this.#places.get(key)
    if (known !== undefined) return known
    const made = new CountedPlaces()
    this.#places.set(key, made)
    return made
  }

  /** What the routes of one configuration get. */
  forRoutes(
    config: Config,
    plugins: ReadonlyMap<string, GatewayPlugin>,
    signer: IdentitySigner | null
  ): RouteServices {
    const isTrusted = trustFunction(config.trustedProxies)
    return {
      log: this.log,
      registry: this.registry,
      limits: this.limits,
      caches: this.caches,
      places: key => this.places(key),
      plugins,
      isTrusted,
      signer,
      issuer: name => {
        const settings = config.issuers[name]
        if (settings === undefined) throw new Error(`there is no issuer "${name}"`)
        return this.issuers.get(name, settings)
      }
    }
  }

  /**
   * Lets go of what none of `configs` uses: those in force and those that still have requests under way, so that a
   * request that ends late neither misses its keys nor brings back a series that has gone.
   */
  async retain(configs: readonly Config[], upstreams: ReadonlySet<Upstream>): Promise<void> {
    const routes = new Set(configs.flatMap(config => Object.keys(config.routes)))
    this.registry.retainRoutes(routes)
    this.registry.retainUpstreams(configs.flatMap(config => Object.keys(config.upstreams)))
    this.registry.retainIssuers(configs.flatMap(config => Object.keys(config.issuers)))
    this.issuers.retain(...configs.map(config => config.issuers))
    for (const byRoute of [this.caches, this.#places]) {
      for (const key of byRoute.keys()) {
        if (!routes.has(key.slice(0, key.indexOf('/')))) byRoute.delete(key)
      }
    }
    await this.upstreams.retain(upstreams)
  }

  async close(): Promise<void> {
    this.issuers.close()
    await Promise.all([this.upstreams.close(), this.limits.close()])
  }
}

/** Whether an address is one of the trusted proxies. CIDRs only: a number of hops is a guess. */
export function trustFunction(cidrs: readonly string[]): (address: string) => boolean {
  if (cidrs.length === 0) return trustNobody
  const trust = compile([...cidrs])
  return address => trust(address, 0)
}

function trustNobody(): boolean {
  return false
}

function issuerMetrics(registry: Registry): IssuerMetrics {
  const ages = new Map<string, () => number | undefined>()
  const gauge = registry.number('jwks_age_seconds')
  registry.onScrape(() => {
    for (const [issuer, age] of ages) {
      const seconds = age()
      if (seconds === undefined) gauge.remove(issuer)
      else gauge.child(issuer).value = seconds
    }
  })
  return {
    fetches: (issuer, result) => {
      registry.number('jwks_fetches_total').child(issuer, result).value++
    },
    age: (issuer, seconds) => {
      if (seconds !== null) ages.set(issuer, seconds)
      else if (ages.delete(issuer)) gauge.remove(issuer)
    }
  }
}
