import type { FastifyInstance } from 'fastify'

export interface HealthOptions {
  /** Whether new requests should be sent here: a configuration is in force and the gateway is not draining. */
  isReady: () => boolean
}

/**
 * `/livez`: the process answers. It depends on nothing else: a restart cures no issuer and no Redis.
 * `/readyz`: 200 while new requests are welcome, 503 on drain and before the first configuration is in force.
 */
export async function healthRoutes(app: FastifyInstance, options: HealthOptions): Promise<void> {
  app.get('/livez', function livez(_request, reply) {
    return reply.type('text/plain').send('ok\n')
  })

  app.get('/readyz', function readyz(_request, reply) {
    const isReady = options.isReady()
    return reply
      .code(isReady ? 200 : 503)
      .type('text/plain')
      .send(isReady ? 'ready\n' : 'not ready\n')
  })
}
