import { join } from 'node:path'
import { node } from '../runtime.ts'
import type { Peer } from './peer.ts'

const servers = join(import.meta.dirname, 'servers')

/** A reverse proxy of twenty lines, as one would write it with what Node has. */
export const bareNode: Peer = {
  name: 'node',
  title: 'bare node:http',
  chains: ['plain'],
  setup: '`http.createServer` and `http.request` with a keep-alive agent, piped both ways.',
  version: () => `Node ${process.versions.node}`,
  prepare: (_chain, setting) => ({
    argv: [node, join(servers, 'node.ts'), String(setting.port), String(setting.upstreamPort)],
    env: { NODE_ENV: 'production' }
  })
}

/** The same with undici's dispatch: about what any gateway on Node has to pay. */
export const bareUndici: Peer = {
  name: 'undici',
  title: 'bare node:http + undici',
  chains: ['plain'],
  setup:
    '`http.createServer` and undici `dispatch` straight into the response: no routing, no header policy.',
  version: () => `Node ${process.versions.node}`,
  prepare: (_chain, setting) => ({
    argv: [node, join(servers, 'undici.ts'), String(setting.port), String(setting.upstreamPort)],
    env: { NODE_ENV: 'production' }
  })
}
