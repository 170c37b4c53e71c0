import { upstreamShares } from '../upstream-shares.ts'
import type { Check } from './context.ts'

/** gRPC is spoken over HTTP/2 on both sides; only its form for browsers comes over HTTP/1. */
export const checkRpcTransport: Check = ({ config, isSound, report }) => {
  const { h2c, https } = config.listeners
  const hasListener = h2c !== undefined || https !== undefined
  for (const [name, route] of Object.entries(config.routes)) {
    if (route.match.protocol !== 'grpc') continue
    const path = ['routes', name]
    if (!hasListener && !route.grpcWeb && isSound(['listeners'])) {
      report(
        [...path, 'match', 'protocol'],
        'gRPC needs a listener that takes HTTP/2',
        'add listeners.h2c or listeners.https, or grpcWeb: true for browsers alone'
      )
    }
    for (const { name: one } of upstreamShares(route)) {
      const upstream = config.upstreams[one]
      if (upstream?.protocol !== 'http1') continue
      const isSecure = (upstream.url ?? upstream.endpoints[0])?.startsWith('https:')
      report(
        [...path, route.upstream === undefined ? 'upstreams' : 'upstream'],
        `gRPC needs HTTP/2, and upstream ${one} is spoken to in HTTP/1`,
        `write protocol: ${isSecure ? 'h2' : 'h2c'} below upstreams.${one}`
      )
    }
  }
}
