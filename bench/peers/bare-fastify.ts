import { createRequire } from 'node:module'
import { join } from 'node:path'
import { node } from '../runtime.ts'
import type { Peer } from './peer.ts'

const require = createRequire(import.meta.url)
const server = join(import.meta.dirname, 'servers', 'fastify.ts')

/** The packages that the gateway is made of, put together as their READMEs say. */
export const bareFastify: Peer = {
  name: 'fastify',
  title: 'bare Fastify',
  chains: ['plain', 'jwt', 'full', 'full-uncached'],
  setup:
    '@fastify/http-proxy; @fastify/jwt with a prepared verifier, with and without its `cache` (of 10,000); ' +
    '@fastify/rate-limit by subject; prom-client counter and histogram in `onResponse`; no logger.',
  version: () =>
    ['fastify', '@fastify/http-proxy', '@fastify/jwt', '@fastify/rate-limit', 'prom-client']
      .map(name => `${name} ${(require(`${name}/package.json`) as { version: string }).version}`)
      .join(', '),
  prepare: (chain, { port, upstreamPort, credentials, limit }) => ({
    argv: [node, server],
    env: {
      NODE_ENV: 'production',
      BENCH: JSON.stringify({
        chain,
        port,
        upstreamPort,
        limit,
        issuer: credentials.issuer,
        audience: credentials.audience,
        publicPem: credentials.publicPem
      })
    }
  })
}
