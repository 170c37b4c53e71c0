import { METHODS } from 'node:http'
import Fastify, {
  type FastifyBaseLogger,
  type FastifyError,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  LogController
} from 'fastify'
import { jwksRoutes, ownPaths } from '../routes/jwks.ts'
import { sessionRoutes } from '../routes/session.ts'
import { answer } from './answer.ts'
import type { Config } from './config/schema.ts'
import { upstreamShares } from './config/upstream-shares.ts'
import { Refusal } from './errors.ts'
import { type Exchange, exchangeOf } from './exchange.ts'
import { Generation } from './generation.ts'
import { orderChain } from './plugin/chain.ts'
import type { GatewayPlugin } from './plugin/define.ts'
import { refusalOf } from './plugin/refusal.ts'
import { type BuiltRoute, describeRoute, registerRoute, type UpstreamShare } from './route/build.ts'
import type { GenerationServices } from './services.ts'
import { signInIssuersAt } from './session/offers.ts'
import { ownSignInPaths } from './session/return-url.ts'

/**
 * Builds ONE Fastify instance from one configuration: a generation. The order of everything:
 *
 *   listener.ts   owns the sockets, hands each request to the generation in force
 *   gate          what is not one clear request gets 400 and its connection closed
 *   own           /.well-known/sallyport/ where identities are signed, /oauth2/ where people sign in: answered here, by no route
 *   match         host > path > headers > methods -> the route, or 404
 *   onRequest     the route's plugins: observe > guard > authenticate > authorize > limit > transform
 *   handler       the proxy; whatever refuses or throws on the way ends in `refuse` as a problem document, or a page
 *   close         the exchange ends -> the outcome, exactly once
 */
export async function buildApp(
  config: Config,
  hash: string,
  plugins: ReadonlyMap<string, GatewayPlugin>,
  services: GenerationServices
): Promise<Generation> {
  const app = createInstance()
  const routes: BuiltRoute[] = []
  for (const [name, route] of Object.entries(config.routes)) {
    const shares: UpstreamShare[] = []
    for (const { name: upstream, weight } of upstreamShares(route))
      shares.push({ upstream: await services.upstream(config, upstream), weight })
    const chain = orderChain([...config.plugins, ...route.plugins], plugins)
    routes.push(describeRoute(name, route, config, shares, chain, services.registry))
  }
  const identityKeys = await services.identityKeys(config)
  const redis = await services.redis(config)
  const sessions = await services.sessions.get(config, redis)
  const signer = identityKeys?.signer ?? null
  const routeServices = services.forRoutes(config, { plugins, signer, redis, sessions })
  try {
    for (const route of routes) await registerRoute(app, route, routeServices)
    if (identityKeys !== null) await app.register(jwksRoutes, { jwks: () => identityKeys.jwks() })
    if (sessions !== null) {
      const issuersAt = (host: string | undefined) => signInIssuersAt(routes, host)
      await app.register(sessionRoutes, { sessions, issuersAt })
    }
    await app.ready()
    const own = [...(identityKeys === null ? [] : [ownPaths]), ...(sessions === null ? [] : [ownSignInPaths])]
    return new Generation(config, hash, app, routes, services, own, plugins, sessions)
  } catch (error) {
    // What the plugins of the routes before it have opened is closed by their `onClose`.
    await app.close().catch(() => undefined)
    throw error
  }
}

function createInstance(): FastifyInstance {
  const app = Fastify({
    // Without a logger of its own Fastify adds no listeners to each response, and a `childLoggerFactory` would have each
    // request's logger checked method by method: `beginRequest` gives the request the gateway's log.
    logger: false,
    // Fastify would log each request object whole, credentials and all, before any plugin has seen it.
    logController: new LogController({ disableRequestLogging: true }),
    exposeHeadRoutes: false,
    forceCloseConnections: false,
    return503OnClosing: false,
    routerOptions: { caseSensitive: true },
    genReqId: request => exchangeOf(request as never).requestId
  })
  // The gateway forwards bodies and never parses them, whatever the method: so Fastify is told that none has one.
  for (const method of METHODS) {
    if (method !== 'CONNECT' && method !== 'TRACE')
      app.addHttpMethod(method, { hasBody: false, overrideExisting: true })
  }
  app.decorateRequest('gateway', { getter: gatewayOfRequest } as never)
  app.addHook('onRequest', beginRequest)
  app.setErrorHandler(refuse)
  app.setNotFoundHandler(noRoute)
  return app
}

function gatewayOfRequest(this: FastifyRequest): Exchange {
  return exchangeOf(this.raw)
}

/** Gives plugins and the proxy the client's target, and what they log goes where the gateway's does. */
function beginRequest(request: FastifyRequest, reply: FastifyReply, done: () => void): void {
  const exchange = exchangeOf(request.raw)
  request.raw.url = exchange.target
  request.log = exchange.observer.log as FastifyBaseLogger
  reply.log = request.log
  done()
}

/** Whatever a plugin or a hook throws ends here: as a refusal, and with the plugin that it came from. */
function refuse(error: FastifyError | Refusal, request: FastifyRequest, reply: FastifyReply): void {
  const exchange = exchangeOf(request.raw)
  const refusal = refusalOf(error)
  const route = exchange.route as BuiltRoute | null
  const plugin = exchange.running ?? route?.chain[exchange.passed]?.plugin.name ?? null
  if (refusal.reason === 'plugin.failed')
    request.log.error({ err: error, plugin, route: route?.name }, 'a plugin failed')
  exchange.refuse(refusal.reason, plugin, refusal.detail ?? null)
  reply.hijack()
  answer(exchange, refusal, exchange.ownHeaders ?? reply.getHeaders())
}

function noRoute(request: FastifyRequest, reply: FastifyReply): void {
  reply.hijack()
  answer(exchangeOf(request.raw), new Refusal('route.none'), null)
}
