/** A gateway as the packages' READMEs put it together. Its settings come as JSON in BENCH. */
import httpProxy from '@fastify/http-proxy'
import fastifyJwt from '@fastify/jwt'
import rateLimit from '@fastify/rate-limit'
import Fastify from 'fastify'
import { Counter, Histogram, register } from 'prom-client'

const { chain, port, upstreamPort, limit, issuer, audience, publicPem } = JSON.parse(
  process.env.BENCH as string
) as {
  chain: string
  port: number
  upstreamPort: number
  limit: number
  issuer: string
  audience: string
  publicPem: string
}
const app = Fastify({ logger: false })

if (chain !== 'plain') {
  await app.register(fastifyJwt, {
    secret: { public: publicPem },
    verify: {
      algorithms: ['RS256'],
      allowedIss: issuer,
      allowedAud: audience,
      requiredClaims: ['exp', 'sub'],
      cache: chain === 'full-uncached' ? false : 10_000
    }
  })
  app.addHook('onRequest', async request => {
    await request.jwtVerify()
  })
}

if (chain.startsWith('full')) {
  await app.register(rateLimit, {
    max: limit,
    timeWindow: 60_000,
    cache: 10_000,
    hook: 'preHandler',
    keyGenerator: request => (request.user as { sub: string }).sub
  })
  const labelNames = ['method', 'route', 'code'] as const
  const requests = new Counter({ name: 'requests_total', help: 'Requests.', labelNames })
  const durations = new Histogram({ name: 'request_duration_seconds', help: 'Durations.', labelNames })
  app.addHook('onResponse', async (request, reply) => {
    const labels = { method: request.method, route: request.routeOptions.url, code: reply.statusCode }
    requests.inc(labels)
    durations.observe(labels, reply.elapsedTime / 1000)
  })
  app.get('/metrics', () => register.metrics())
}

await app.register(httpProxy, { upstream: `http://127.0.0.1:${upstreamPort}` })
await app.listen({ port, host: '127.0.0.1' })
