import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { stringify } from 'yaml'
import { version } from '../../src/version.ts'
import type { Command } from '../peers/peer.ts'
import { node, root } from '../runtime.ts'
import { type GrpcChain, type GrpcPeer, type GrpcSetting, scope, service } from './peer.ts'

let checkout = root

/** Takes the gateway of another checkout: what a change does, before it is here. */
export function useCheckout(folder: string): void {
  checkout = folder
}

/** The gateway, from source. */
export function gateway(name: string, chain: GrpcChain, does: string): GrpcPeer {
  return {
    name,
    title: `Sallyport, ${chain} chain`,
    chain,
    setup: `from source (\`src/main.ts start\`), NODE_ENV=production, default limits except the overload threshold; ${does}.`,
    version: () => `${version} on Node ${process.versions.node}`,
    prepare(setting) {
      const file = join(setting.folder, 'gateway.yaml')
      writeFileSync(file, stringify(gatewayConfig(chain, setting)))
      return {
        argv: [node, join(checkout, 'src', 'main.ts'), 'start', '--config', file],
        env: { NODE_ENV: 'production' },
        logs: chain === 'full'
      }
    }
  }
}

function gatewayConfig(chain: GrpcChain, { port, upstreamPort, credentials, limit }: GrpcSetting): object {
  const guards = [
    { jwt: { issuer: 'bench' } },
    { authorize: { allow: `"${scope}" in identity.scopes` } },
    { 'rate-limit': { limit, window: '1m', by: 'identity.subject' } }
  ]
  return {
    listeners: { h2c: { host: '127.0.0.1', port }, admin: { host: '127.0.0.1', port: 0 } },
    // Somebody else's work on the same core must not make the gateway shed the load that is being measured.
    limits: { drainDelay: '0s', overload: { eventLoopLag: '5s' } },
    issuers: {
      bench: {
        issuer: credentials.issuer,
        audience: [credentials.audience],
        algorithms: ['RS256'],
        jwks: { url: credentials.jwksUrl }
      }
    },
    upstreams: { echo: { url: `http://127.0.0.1:${upstreamPort}`, protocol: 'h2c' } },
    plugins: chain === 'full' ? ['access-log', 'metrics'] : [],
    routes: {
      echo: {
        match: { protocol: 'grpc', service },
        upstream: 'echo',
        ...(chain === 'plain' ? { public: true } : { plugins: guards })
      }
    }
  }
}

/** The gateway for the leak run: a public route with metrics, the admin listener on a known port, and an inspector. */
export function gatewayForCalls(setting: {
  folder: string
  port: number
  adminPort: number
  upstreamPort: number
}): Command {
  const file = join(setting.folder, 'gateway.yaml')
  const configuration = {
    listeners: {
      h2c: { host: '127.0.0.1', port: setting.port },
      admin: { host: '127.0.0.1', port: setting.adminPort }
    },
    limits: { drainDelay: '0s', overload: { eventLoopLag: '5s' } },
    upstreams: { echo: { url: `http://127.0.0.1:${setting.upstreamPort}`, protocol: 'h2c' } },
    plugins: ['metrics'],
    routes: { echo: { match: { protocol: 'grpc', service }, upstream: 'echo', public: true } }
  }
  writeFileSync(file, stringify(configuration))
  return {
    argv: [node, '--inspect=127.0.0.1:0', join(checkout, 'src', 'main.ts'), 'start', '--config', file],
    env: { NODE_ENV: 'production' }
  }
}
