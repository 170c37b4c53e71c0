import type { FastifyInstance } from 'fastify'
import type { Registry } from '../src/registry.ts'

/** `/metrics`: the exposition format, for Prometheus. */
export async function metricsRoutes(app: FastifyInstance, options: { registry: Registry }): Promise<void> {
  const { registry } = options
  app.get('/metrics', async function metrics(_request, reply) {
    const text = await registry.expose()
    return reply.type(registry.contentType).send(text)
  })
}
