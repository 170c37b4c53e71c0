import { hash } from 'node:crypto'
import { compile } from '@fastify/proxy-addr'
import type { Config } from './config/schema.ts'
import { describeSecret, readSecret } from './config/secret.ts'
import { Introspector } from './issuer/introspector.ts'
import { type IssuerMetrics, IssuerRegistry, identityOf } from './issuer/keys.ts'
import type { Logger } from './log.ts'
import type { GatewayPlugin, PluginCache } from './plugin/define.ts'
import type { FileWatching } from './plugin/gateway.ts'
import { CountedPlaces, type Places } from './plugin/places.ts'
import { SharedThings } from './plugin/shared.ts'
import { processEnvironment, type Upstream } from './proxy/upstream.ts'
import { UpstreamRegistry } from './proxy/upstream-registry.ts'
import type { Registry } from './registry.ts'
import type { RouteServices } from './route/build.ts'
import { SessionRegistry } from './session/registry.ts'
import type { Sessions } from './session/sessions.ts'
import { IdentityKeyRegistry, type IdentityKeys } from './signed-identity/registry.ts'
import type { IdentitySigner } from './signed-identity/signer.ts'
import type { LimitStore } from './store/contract.ts'
import { MemoryLimitStore } from './store/memory.ts'
import { RedisLimitStore } from './store/redis.ts'
import type { RedisClient } from './store/redis-client.ts'
import { RedisRegistry } from './store/redis-registry.ts'
import { SharedLimitStore } from './store/shared.ts'
import { processTimers } from './timers.ts'

/** What the routes of one configuration are made with. */
export interface Ingredients {
  readonly plugins: ReadonlyMap<string, GatewayPlugin>
  /** Null where identities are not signed. */
  readonly signer: IdentitySigner | null
  /** Null where nothing is shared with other replicas. */
  readonly redis: RedisClient | null
  /** Null where nobody signs in. */
  readonly sessions: Sessions | null
}

/** What a generation is built from. */
export interface GenerationServices
  extends Pick<Services, 'log' | 'registry' | 'upstream' | 'identityKeys' | 'redis' | 'forRoutes'> {
  readonly sessions: Pick<SessionRegistry, 'get'>
}

type Environment = Readonly<Record<string, string | undefined>>

/**
 * What outlives generations: keys, limits, connections, caches and numbers. Made once per process, so that a reload neither
 * fetches keys again nor resets a limit.
 */
export class Services {
  readonly log: Logger
  readonly registry: Registry
  /** Counts of this replica. */
  readonly limits: LimitStore
  readonly issuers: IssuerRegistry
  readonly upstreams: UpstreamRegistry
  readonly sessions: SessionRegistry
  readonly caches = new Map<string, PluginCache<unknown>>()
  readonly shared = new SharedThings()
  readonly files: FileWatching
  readonly #places = new Map<string, Places>()
  readonly #env: Environment
  readonly #identityKeys = new IdentityKeyRegistry()
  readonly #redis: RedisRegistry
  /** Which connection a configuration uses: the URL is a secret that may change behind its reference. */
  readonly #redisOf = new WeakMap<Config, RedisClient>()

  constructor(
    log: Logger,
    registry: Registry,
    env: Environment = process.env,
    files: FileWatching = { watch: true }
  ) {
    this.#env = env
    this.files = files
    this.log = log
    this.registry = registry
    this.limits = new MemoryLimitStore()
    this.#redis = new RedisRegistry(log)
    this.issuers = new IssuerRegistry({ log, metrics: issuerMetrics(registry) })
    this.sessions = new SessionRegistry({
      log,
      registry,
      issuers: this.issuers,
      readSecret: ref => readSecret(ref, env)
    })
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

  /** The connection to what replicas share; null where the configuration has none. Redis need not be there. */
  async redis(config: Config): Promise<RedisClient | null> {
    if (config.redis === undefined) return null
    const client = await this.#redis.get(await readSecret(config.redis.url, this.#env))
    this.#redisOf.set(config, client)
    return client
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
  forRoutes(config: Config, { plugins, signer, redis, sessions }: Ingredients): RouteServices {
    const isTrusted = trustFunction(config.trustedProxies)
    return {
      log: this.log,
      registry: this.registry,
      limits: this.#limitsOf(config, redis),
      caches: this.caches,
      shared: this.shared,
      files: this.files,
      places: key => this.places(key),
      plugins,
      isTrusted,
      signer,
      introspector: name => this.#introspector(config, name),
      sessions,
      issuer: name => {
        const settings = config.issuers[name]
        if (settings === undefined) throw new Error(`there is no issuer "${name}"`)
        return this.issuers.get(name, settings)
      }
    }
  }

  async #introspector(
    config: Config,
    name: string
  ): Promise<{ value: Introspector; release: () => unknown }> {
    const settings = config.issuers[name]
    const client = settings?.client
    if (settings === undefined || client?.secret === undefined)
      throw new Error(`the gateway is no client of issuer "${name}"`)
    const secret = await readSecret(client.secret, this.#env)
    // Another secret is another client, and a secret stands in no key.
    const key = ['introspector', identityOf(name, settings), client.id, hash('sha256', secret)].join('\0')
    const make = () => {
      const log = this.log.child({ issuer: name })
      const asked = this.registry.number('introspections_total')
      return new Introspector(
        name,
        settings,
        { id: client.id, secret },
        {
          log,
          fetch: globalThis.fetch,
          clock: Date.now,
          timers: processTimers,
          onAnswer: result => void asked.child(name, result).value++
        }
      )
    }
    return this.shared.acquire(key, make, one => one.close())
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
    await this.#redis.retain(new Set(configs.flatMap(config => this.#redisOf.get(config) ?? [])))
    await this.upstreams.retain(upstreams)
  }

  async close(): Promise<void> {
    this.issuers.close()
    await Promise.all([
      this.upstreams.close(),
      this.limits.close(),
      this.#redis.close(),
      this.shared.close(),
      this.sessions.close()
    ])
  }

  #limitsOf({ redis }: Config, client: RedisClient | null): LimitStore {
    if (redis === undefined || client === null) return this.limits
    return new SharedLimitStore({
      shared: new RedisLimitStore(client),
      isUp: () => client.isUp,
      local: this.limits,
      onError: redis.onError,
      errors: this.registry.number('rate_limit_store_errors_total').child('redis')
    })
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
