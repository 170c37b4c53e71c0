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
    const upstream = route.upstream === undefined ? undefined : config.upstreams[route.upstream]
    if (upstream?.protocol === 'http1') {
      const isSecure = (upstream.url ?? upstream.endpoints[0])?.startsWith('https:')
      report(
        [...path, 'upstream'],
        `gRPC needs HTTP/2, and upstream ${route.upstream} is spoken to in HTTP/1`,
        `write protocol: ${isSecure ? 'h2' : 'h2c'} below upstreams.${route.upstream}`
      )
    }
  }
}
