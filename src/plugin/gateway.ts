import { LruMap } from 'toad-cache'
import { fetch as undiciFetch } from 'undici'
import type { PluginUse } from '../config/schema.ts'
import { type Reason, Refusal, type RefusalOptions } from '../errors.ts'
import type { IssuerVerifier } from '../issuer/keys.ts'
import type { Logger } from '../log.ts'
import type { OutcomeListener } from '../outcome.ts'
import type { HistogramFamily, NumberFamily, Registry } from '../registry.ts'
import type { LimitStore } from '../store/contract.ts'
import { principalKey } from '../store/key.ts'
import { announce } from './chain.ts'
import type {
  ComposedPlugin,
  GatewayPlugin,
  PluginCache,
  PluginGateway,
  PluginMetrics,
  RouteInstance
} from './define.ts'
import type { Places } from './places.ts'

/** What outlives generations and reaches plugins. Made once per process. */
export interface PluginServices {
  readonly log: Logger
  readonly registry: Registry
  readonly limits: LimitStore
  readonly caches: Map<string, PluginCache<unknown>>
  /** The counts of this key; made when they are first asked for. */
  places(key: string): Places
  /** Hears of decisions in shadow mode, beside the metric. */
  onShadow?(plugin: string, reason: Reason): void
}

/** What one route lends to the plugins on it. */
export interface PluginRoute {
  readonly name: string
  readonly upstream: string
  readonly isPublic: boolean
  readonly methods: readonly string[]
  readonly outcomeListeners: OutcomeListener[]
  issuer(name: string): IssuerVerifier
  /** Every plugin by name. */
  readonly plugins: ReadonlyMap<string, GatewayPlugin>
}

/** `route.gateway` for one plugin on one route. */
export function createPluginGateway(
  plugin: string,
  route: PluginRoute,
  services: PluginServices
): PluginGateway {
  const { registry, caches, limits } = services
  const log = services.log.child({ plugin, route: route.name })
  return {
    route: route.name,
    upstream: route.upstream,
    public: route.isPublic,
    methods: route.methods,
    log,
    limits,
    metrics: pluginMetrics(registry),
    fetch: boundedFetch,
    deny(reason: Reason, options?: RefusalOptions): never {
      throw new Refusal(reason, options)
    },
    shadow(reason: Reason): void {
      registry.number('decisions_total').child(route.name, plugin, 'shadow', reason).value++
      services.onShadow?.(plugin, reason)
    },
    onOutcome(listener: OutcomeListener): void {
      route.outcomeListeners.push(listener)
    },
    cache<Value>(name: string, options: { max: number; ttl: number }): PluginCache<Value> {
      const key = `${route.name}/${plugin}/${name}`
      const known = caches.get(key)
      if (known !== undefined) return known as PluginCache<Value>
      const cache = new LruMap<Value>(options.max, options.ttl)
      caches.set(key, cache as PluginCache<unknown>)
      return cache
    },
    places: name => services.places(`${route.name}/${plugin}/${name}`),
    issuer: name => route.issuer(name),
    plugin: use => compose(use, route, services),
    principal: by => principalKey(by, route.isPublic)
  }
}

function compose({ name, options }: PluginUse, route: PluginRoute, services: PluginServices): ComposedPlugin {
  const plugin = route.plugins.get(name)
  if (plugin?.carries === undefined) throw new Error(`plugin "${name}" cannot be part of another`)
  const own = options as Record<string, unknown>
  return {
    name,
    invites: plugin.invites === true,
    carries: plugin.carries(own),
    async register(instance) {
      announce(instance, name)
      const gateway = createPluginGateway(name, route, services)
      await plugin.register(Object.create(instance, { gateway: { value: gateway } }) as RouteInstance, own)
    }
  }
}

function pluginMetrics(registry: Registry): PluginMetrics {
  return {
    counter: (name, help, labels) =>
      registry.declare({ name, type: 'counter', labels, help }) as NumberFamily,
    gauge: (name, help, labels) => registry.declare({ name, type: 'gauge', labels, help }) as NumberFamily,
    histogram: (name, help, labels) =>
      registry.declare({ name, type: 'histogram', labels, help }) as HistogramFamily
  }
}

const fetchTimeout = 5_000
const maxFetchBytes = 1_048_576

/** `fetch` as plugins get it: it ends, it follows nobody, and it reads at most 1 MiB. */
const boundedFetch = (async (input: string | URL, init?: RequestInit) => {
  const signals = [AbortSignal.timeout(fetchTimeout), ...(init?.signal ? [init.signal] : [])]
  const options = { ...init, redirect: 'error', signal: AbortSignal.any(signals) }
  const response = await undiciFetch(input, options as Parameters<typeof undiciFetch>[1])
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of response.body ?? []) {
    size += chunk.length
    if (size > maxFetchBytes) throw new Error(`the answer of ${new URL(input).origin} is larger than 1 MiB`)
    chunks.push(chunk)
  }
  const hasNoBody = response.status === 204 || response.status === 304
  return new Response(hasNoBody ? null : Buffer.concat(chunks), {
    status: response.status,
    headers: [...response.headers]
  })
}) as typeof globalThis.fetch
