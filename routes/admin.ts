import type { FastifyInstance } from 'fastify'
import { redactConfig } from '../src/config/redact.ts'
import type { Generation } from '../src/generation.ts'
import type { ReloadStatus } from '../src/reload.ts'

export interface AdminOptions {
  current: () => Generation
  status: () => ReloadStatus | null
}

/** `/routes`: what is matched and what runs on it, in the order of the file. `/config`: what is in force, redacted. */
export async function adminRoutes(app: FastifyInstance, options: AdminOptions): Promise<void> {
  app.get('/routes', function routes() {
    const { hash, routes } = options.current()
    return {
      hash,
      routes: routes.map(route => ({
        name: route.name,
        match: route.config.match,
        public: route.config.public,
        upstream: route.shares[0]?.upstream.name,
        upstreams: route.shares.map(({ upstream: { name }, weight }) => ({ name, weight })),
        plugins: route.chain.map(({ plugin, phase }) => ({ name: plugin.name, phase })),
        inFlight: route.inFlight.value
      }))
    }
  })

  app.get('/config', function config() {
    const { hash, config } = options.current()
    return { hash, lastReload: options.status(), config: redactConfig(config) }
  })
}
