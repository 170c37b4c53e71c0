import Fastify, { type FastifyInstance } from 'fastify'
import { type AdminOptions, adminRoutes } from '../routes/admin.ts'
import { adminSessionRoutes } from '../routes/admin-sessions.ts'
import { type ExplainRouteOptions, explainRoutes } from '../routes/explain.ts'
import { type HealthOptions, healthRoutes } from '../routes/health.ts'
import { metricsRoutes } from '../routes/metrics.ts'
import type { Registry } from './registry.ts'

const paths = ['/livez', '/readyz', '/metrics', '/routes', '/config', '/explain']

/**
 * The admin listener: a port of its own, never proxied, and read-only but for `/sessions`, which only callers on this machine can
 * see. It is a Fastify instance apart from every generation, so that health and metrics answer whatever the configuration is.
 */
export async function buildAdmin(
  options: AdminOptions & HealthOptions & ExplainRouteOptions & { registry: Registry }
): Promise<FastifyInstance> {
  const app = Fastify({
    logger: false,
    requestTimeout: 10_000,
    return503OnClosing: false,
    // A scraper that holds its connection must not hold the process.
    forceCloseConnections: true
  })
  await app.register(healthRoutes, options)
  await app.register(metricsRoutes, options)
  await app.register(adminRoutes, options)
  await app.register(explainRoutes, options)
  await app.register(adminSessionRoutes, options)
  // What Fastify would answer by itself repeats the target of the request or the text of the error.
  app.setErrorHandler(function hideError(_error, _request, reply) {
    return reply.code(500).send({ error: 'internal error' })
  })
  app.setNotFoundHandler(function nothingHere(_request, reply) {
    return reply.code(404).send({ error: 'not found', paths })
  })
  return app
}
