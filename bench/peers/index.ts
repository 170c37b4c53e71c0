import { bareFastify } from './bare-fastify.ts'
import { bareNode, bareUndici } from './bare-node.ts'
import { caddy } from './caddy.ts'
import { envoy } from './envoy.ts'
import { haproxy } from './haproxy.ts'
import { nginx } from './nginx.ts'
import type { Peer } from './peer.ts'
import { sallyport } from './sallyport.ts'

/** Everybody in the comparison, in the order of the report. */
export const peers: readonly Peer[] = [
  sallyport,
  nginx,
  haproxy,
  envoy,
  caddy,
  bareUndici,
  bareNode,
  bareFastify
]
