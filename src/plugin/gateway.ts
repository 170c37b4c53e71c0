import { resolve } from 'node:path'
import { LruMap } from 'toad-cache'
import { fetch as undiciFetch } from 'undici'
import type { PluginUse } from '../config/schema.ts'
import { type Reason, Refusal, type RefusalOptions } from '../errors.ts'
import type { TokenIntrospector } from '../issuer/introspector.ts'
import type { IssuerVerifier } from '../issuer/keys.ts'
import type { Logger } from '../log.ts'
import type { OutcomeListener } from '../outcome.ts'
import type { HistogramFamily, NumberFamily, Registry } from '../registry.ts'
import { type BrowserSignIn, browserSignIn } from '../session/browser.ts'
import type { Sessions } from '../session/sessions.ts'
import type { LimitStore } from '../store/contract.ts'
import { principalKey } from '../store/key.ts'
import { announce } from './chain.ts'
import type {
  ComposedPlugin,
  GatewayPlugin,
  ParseFile,
  PluginCache,
  PluginGateway,
  PluginMetrics,
  RouteInstance,
  WatchedFile
} from './define.ts'
import { LiveFile } from './live-file.ts'
import type { Places } from './places.ts'
import type { SharedThings } from './shared.ts'

/** What outlives generations and reaches plugins. Made once per process. */
export interface PluginServices {
  readonly log: Logger
  readonly registry: Registry
  readonly limits: LimitStore
  readonly caches: Map<string, PluginCache<unknown>>
  readonly shared: SharedThings
  readonly files: FileWatching
  /** The counts of this key; made when they are first asked for. */
  places(key: string): Places
  /** Hears of decisions in shadow mode, beside the metric. */
  onShadow?(plugin: string, reason: Reason): void
}

/** How files of plugins are followed. */
export interface FileWatching {
  readonly watch: boolean
  /** Milliseconds between two looks without any event. */
  readonly poll?: number | undefined
}

/** What one route lends to the plugins on it. */
export interface PluginRoute {
  readonly name: string
  readonly upstreams: readonly string[]
  readonly isPublic: boolean
  readonly methods: readonly string[]
  readonly outcomeListeners: OutcomeListener[]
  /** Issuers that people sign in with on the route. */
  readonly signInIssuers: string[]
  issuer(name: string): IssuerVerifier
  introspector(name: string): Promise<{ value: TokenIntrospector; release: () => unknown }>
  /** Called when the generation that the route belongs to has ended. */
  onClose(release: () => unknown): void
  /** Null where the configuration has no sign-in. */
  readonly sessions: Sessions | null
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
    upstream: route.upstreams[0] as string,
    upstreams: route.upstreams,
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
    async introspector(name) {
      const { value, release } = await route.introspector(name)
      route.onClose(release)
      return value
    },
    shared<Value>(
      name: string,
      make: () => Value,
      close: (value: Value) => unknown = () => undefined
    ): Value {
      const { value, release } = services.shared.acquire(`${plugin}\0${name}`, make, close)
      route.onClose(release)
      return value
    },
    watchFile: (path, parse) => watchFile(path, parse, plugin, route, services),
    signIn: name => signInOf(name, plugin, route),
    plugin: use => compose(use, route, services),
    principal: by => principalKey(by, route.isPublic)
  }
}

function signInOf(name: string, plugin: string, { sessions, signInIssuers }: PluginRoute): BrowserSignIn {
  if (sessions === null) throw new Error('the configuration has no session and externalUrl')
  const issuer = sessions.issuer(name)
  if (!signInIssuers.includes(name)) signInIssuers.push(name)
  return browserSignIn(sessions, issuer, plugin)
}

function compose({ name, options }: PluginUse, route: PluginRoute, services: PluginServices): ComposedPlugin {
  const plugin = route.plugins.get(name)
  if (plugin?.carries === undefined) throw new Error(`plugin "${name}" cannot be part of another`)
  const own = options as Record<string, unknown>
  const { credentialHeaders = [], scheme = null, challenge = null } = plugin
  return {
    name,
    invites: plugin.invites === true,
    asksNobody: plugin.asksNobody === true,
    scheme,
    challenge,
    credentialHeaders: typeof credentialHeaders === 'function' ? credentialHeaders(own) : credentialHeaders,
    carries: plugin.carries(own),
    conceal: plugin.conceals?.(own) ?? null,
    async register(instance) {
      announce(instance, name)
      const gateway = createPluginGateway(name, route, services)
      await plugin.register(Object.create(instance, { gateway: { value: gateway } }) as RouteInstance, own)
    }
  }
}

const parserIds = new WeakMap<object, number>()
let parsers = 0

/** One reader per file, plugin and parser: the parser of a plugin that was loaded anew is another one. */
async function watchFile<Value>(
  path: string,
  parse: ParseFile<Value>,
  plugin: string,
  route: PluginRoute,
  { shared, files, log }: PluginServices
): Promise<WatchedFile<Value>> {
  const parser = parserIds.get(parse) ?? parsers++
  parserIds.set(parse, parser)
  const { value: file, release } = shared.acquire(
    `${plugin}\0file\0${parser}\0${resolve(path)}`,
    () => new LiveFile(path, parse, { ...files, log: log.child({ plugin }) }),
    one => one.close()
  )
  route.onClose(release)
  await file.load()
  return file
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
export const boundedFetch = (async (input: string | URL, init?: RequestInit) => {
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
