import httpProxy from '@fastify/http-proxy'
import type { FastifyInstance } from 'fastify'
import type { Config, RouteConfig } from '../config/schema.ts'
import type { Reason } from '../errors.ts'
import type { ExchangeRoute } from '../exchange-parties.ts'
import type { TokenIntrospector } from '../issuer/introspector.ts'
import type { IssuerVerifier } from '../issuer/keys.ts'
import type { OutcomeListener } from '../outcome.ts'
import { type ChainLink, HookWatch, markPassed } from '../plugin/chain.ts'
import type { GatewayPlugin, Phase, RouteInstance } from '../plugin/define.ts'
import { createPluginGateway, type PluginRoute, type PluginServices } from '../plugin/gateway.ts'
import { type Proxies, proxies } from '../proxy/proxies.ts'
import { compileLocation, compileRewrite } from '../proxy/rewrite.ts'
import { splitRequests } from '../proxy/split.ts'
import type { ProxyTarget, SocketCounters } from '../proxy/target.ts'
import { type Upstream, unusedClient } from '../proxy/upstream.ts'
import type { Cell, Registry } from '../registry.ts'
import type { Sessions } from '../session/sessions.ts'
import type { IdentitySigner } from '../signed-identity/signer.ts'
import type { Matchable } from './match.ts'

/** A route as the running gateway has it: what is matched, what is counted, and the address of its Fastify context. */
export interface BuiltRoute extends Matchable, ExchangeRoute {
  readonly config: RouteConfig
  /** At least one; all requests go to one of them. */
  readonly shares: readonly UpstreamShare[]
  readonly chain: readonly ChainLink[]
  readonly outcomeListeners: OutcomeListener[]
  /** Filled by the plugins that sign people in, when they are registered. */
  readonly signInIssuers: string[]
  /** The path under which Fastify knows the route; never seen by clients, upstreams or plugins. */
  readonly address: string
  readonly maxBody: number
  /** `decisions_total` with verdict allow, by the plugin's position; null for plugins that do not decide. */
  readonly allowed: readonly (Cell | null)[]
}

export interface UpstreamShare {
  readonly upstream: Upstream
  readonly weight: number
}

export interface RouteServices extends PluginServices {
  issuer(name: string): IssuerVerifier
  introspector(name: string): Promise<{ value: TokenIntrospector; release: () => unknown }>
  isTrusted: (address: string) => boolean
  /** Null where the configuration has no key. */
  readonly signer: IdentitySigner | null
  /** Null where the configuration has no sign-in. */
  readonly sessions: Sessions | null
  readonly plugins: ReadonlyMap<string, GatewayPlugin>
  /** What stands at the end of a route's chain; left out: what calls the upstream. */
  readonly proxies?: Proxies
}

const deciding: ReadonlySet<Phase> = new Set(['guard', 'authenticate', 'authorize', 'limit'])

/** The parts of a route that need no Fastify. */
export function describeRoute(
  name: string,
  config: RouteConfig,
  gateway: Config,
  shares: readonly UpstreamShare[],
  chain: readonly ChainLink[],
  registry: Registry
): BuiltRoute {
  const decisions = registry.number('decisions_total')
  return {
    inFlight: registry.number('requests_in_flight').child(name),
    allowed: chain.map(({ plugin, phase }) =>
      deciding.has(phase) ? decisions.child(name, plugin.name, 'allow', '') : null
    ),
    name,
    config,
    shares,
    chain,
    hosts: config.match.hosts,
    protocol: config.match.protocol,
    path: pathOf(config.match),
    sparesInfrastructure: config.match.protocol === 'grpc' && config.match.service === undefined,
    methods: config.match.methods,
    headers: config.match.headers,
    answersPreflight: hasPreflights(config) && chain.some(({ plugin }) => plugin.answersPreflight === true),
    outcomeListeners: [],
    signInIssuers: [],
    address: `/${name}`,
    maxBody: config.maxBody ?? gateway.limits.maxBody,
    bodyTimeout: gateway.limits.requestTimeout
  }
}

/** Browsers ask before requests and before gRPC-Web calls, never before a WebSocket. */
function hasPreflights({ match, grpcWeb }: RouteConfig): boolean {
  return match.protocol === 'http' || (match.protocol === 'grpc' && grpcWeb)
}

function pathOf({ path, service }: RouteConfig['match']): string {
  return path ?? (service === undefined ? '/*' : `/${service}/*`)
}

/**
 * One route, one encapsulated Fastify context: its plugins in the order of the chain, then the proxy. Hooks of one route can
 * never run on another, because Fastify keeps them in the context that added them.
 */
export async function registerRoute(
  app: FastifyInstance,
  route: BuiltRoute,
  services: RouteServices
): Promise<void> {
  await app.register(async function routeContext(context) {
    const hooks = new HookWatch(context)
    for (const [position, link] of route.chain.entries()) {
      hooks.plugin = link.plugin.name
      await registerPlugin(context, route, link, services)
      hooks.plugin = null
      markPassed(context, position)
    }
    await registerProxy(context, route, services, hooks.seesAnswers)
  })
}

async function registerPlugin(
  context: FastifyInstance,
  route: BuiltRoute,
  link: ChainLink,
  services: RouteServices
): Promise<void> {
  const { plugin, options } = link
  const gateway = createPluginGateway(plugin.name, pluginRoute(route, services, context), services)
  // `gateway` belongs to one plugin; the instance is the route's, so that hooks land on the route.
  const instance = Object.create(context, { gateway: { value: gateway } }) as RouteInstance
  try {
    await plugin.register(instance, options as Record<string, unknown>)
    // A Fastify plugin that it registered without waiting is loaded now: its hooks are this plugin's, and the proxy is made
    // for them.
    await context.after()
  } catch (error) {
    throw new Error(`route ${route.name}: plugin ${plugin.name}: ${(error as Error).message}`, {
      cause: error
    })
  }
}

function pluginRoute(route: BuiltRoute, services: RouteServices, context: FastifyInstance): PluginRoute {
  return {
    name: route.name,
    upstreams: route.shares.map(({ upstream }) => upstream.name),
    isPublic: route.config.public,
    methods: route.methods,
    outcomeListeners: route.outcomeListeners,
    signInIssuers: route.signInIssuers,
    issuer: services.issuer,
    introspector: services.introspector,
    onClose(release) {
      context.addHook('onClose', async () => {
        await release()
      })
    },
    sessions: services.sessions,
    plugins: services.plugins
  }
}

async function registerProxy(
  context: FastifyInstance,
  route: BuiltRoute,
  services: RouteServices,
  viaReply: boolean
): Promise<void> {
  const createHook = (services.proxies ?? proxies)[route.protocol]
  const proxyRequest = splitRequests(
    route.shares.map(({ upstream, weight }) => ({
      weight,
      proxyRequest: createHook(proxyTarget(route, upstream, services, viaReply))
    }))
  )
  const { upstream } = route.shares[0] as UpstreamShare
  await context.register(httpProxy, {
    upstream: upstream.config.endpoints[0] as string,
    routes: [route.address],
    httpMethods: [...context.supportedMethods],
    undici: unusedClient(upstream) as never,
    preHandler: proxyRequest as never
  })
}

function proxyTarget(
  route: BuiltRoute,
  upstream: Upstream,
  services: RouteServices,
  viaReply: boolean
): ProxyTarget {
  const { config, path } = route
  const { registry } = services
  return {
    route: route.name,
    upstream,
    rewrite: compileRewrite(path, config.rewrite?.path),
    location: compileLocation(upstream.config.endpoints, path, config.rewrite?.path),
    forward: {
      preserveHost: config.rewrite?.host === 'preserve',
      sessionCookie: services.sessions?.options.cookie.name ?? null,
      signIdentity: services.signer?.for(upstream.name) ?? null,
      isTrusted: services.isTrusted
    },
    responseTimeout: config.timeout ?? upstream.config.timeouts.response,
    bodyTimeout: route.bodyTimeout,
    routeTimeout: config.timeout ?? null,
    isPublic: config.public,
    grpcWeb: config.grpcWeb,
    chainLength: route.chain.length,
    viaReply,
    upstreamDuration: registry.histogram('upstream_request_duration_seconds').child(upstream.name),
    upstreamErrors: (reason: Reason) => registry.number('upstream_errors_total').child(upstream.name, reason),
    retried: () => registry.number('retries_total').child(upstream.name),
    sockets: route.protocol === 'websocket' ? socketCounters(route.name, registry) : null
  }
}

function socketCounters(route: string, registry: Registry): SocketCounters {
  const messages = registry.number('websocket_messages_total')
  return {
    connections: registry.number('websocket_connections').child(route),
    messagesIn: messages.child(route, 'in'),
    messagesOut: messages.child(route, 'out')
  }
}
