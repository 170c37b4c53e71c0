import { writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { stringify } from 'yaml'
import { version } from '../../src/version.ts'
import { node, root } from '../runtime.ts'
import type { Chain, Command, Peer, Setting } from './peer.ts'

let nodeOptions: readonly string[] = []

/** Options of Node for the gateway of this checkout: to see what they are worth. */
export function tuneNode(flags: readonly string[]): void {
  nodeOptions = flags
}

/** The gateway as a checkout starts it: from source, with the Node of `node_modules`. */
export const sallyport: Peer = {
  name: 'sallyport',
  title: 'Sallyport',
  chains: ['plain', 'jwt', 'full', 'full-log'],
  setup:
    'from source (`src/main.ts start`), NODE_ENV=production, default limits except the overload threshold; tokens ' +
    'cached; access log through a pipe that another process reads.',
  version: () => `${version} on Node ${process.versions.node}`,
  prepare: (chain, setting) => sallyportCommand(root, chain, setting, nodeOptions)
}

/** The gateway of another checkout, beside that of this one: what a change has done. */
export function baseline(checkout: string): Peer {
  return {
    ...sallyport,
    name: basename(checkout),
    title: `Sallyport in ${basename(checkout)}`,
    prepare: (chain, setting) => sallyportCommand(checkout, chain, setting, [])
  }
}

export function sallyportCommand(
  checkout: string,
  chain: Chain,
  setting: Setting,
  flags: readonly string[]
): Command {
  const file = join(setting.folder, 'gateway.yaml')
  writeFileSync(file, stringify(configuration(chain, setting)))
  return {
    argv: [node, ...flags, join(checkout, 'src', 'main.ts'), 'start', '--config', file],
    env: { NODE_ENV: 'production' },
    logs: chain === 'full-log'
  }
}

function configuration(chain: Chain, { port, upstreamPort, credentials, limit }: Setting): object {
  const isFull = chain === 'full' || chain === 'full-log'
  const observers = isFull ? ['metrics'] : []
  const guards: object[] = chain === 'plain' ? [] : [{ jwt: { issuer: 'bench' } }]
  if (isFull) guards.push({ 'rate-limit': { limit, window: '1m', by: 'identity.subject' } })
  return {
    listeners: { http: { host: '127.0.0.1', port }, admin: { host: '127.0.0.1', port: 0 } },
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
    upstreams: { orders: { url: `http://127.0.0.1:${upstreamPort}` } },
    plugins: chain === 'full-log' ? ['access-log', ...observers] : observers,
    routes: {
      orders: {
        match: { path: '/orders/*' },
        upstream: 'orders',
        ...(chain === 'plain' ? { public: true } : {}),
        plugins: guards
      }
    }
  }
}
