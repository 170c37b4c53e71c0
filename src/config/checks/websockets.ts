import type { Path } from '../config-problem.ts'
import { upstreamShares } from '../upstream-shares.ts'
import type { Check } from './context.ts'

/** A route for WebSocket has a listener that takes its handshakes, and an upstream that can be dialled. */
export const checkWebSockets: Check = ({ config, isSound, report }) => {
  for (const [name, route] of Object.entries(config.routes)) {
    const { match, upstream } = route
    if (match.protocol !== 'websocket') continue
    const path: Path = ['routes', name]
    if (match.methods.length > 0)
      report([...path, 'match', 'methods'], 'means nothing to WebSocket', 'remove it: a handshake is a GET')
    if (isSound(['listeners']) && !config.listeners.http && !config.listeners.https) {
      report(
        [...path, 'match', 'protocol'],
        'no listener takes WebSocket',
        'add listeners.http or listeners.https'
      )
    }
    for (const { name: one } of upstreamShares(route)) {
      const protocol = config.upstreams[one]?.protocol ?? 'http1'
      if (protocol === 'http1') continue
      report(
        [...path, upstream === undefined ? 'upstreams' : 'upstream'],
        `${one} speaks ${protocol}, and WebSocket needs HTTP/1.1`,
        'name an upstream with protocol: http1'
      )
    }
  }
}
