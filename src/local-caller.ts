import type { IncomingMessage } from 'node:http'

/**
 * Exactly these, at both ends of a connection: what `kubectl port-forward` and a shell in the pod come by. Not all of 127.0.0.0/8: a mesh's
 * sidecar hands on what came from outside as 127.0.0.6.
 */
const loopback: ReadonlySet<string> = new Set(['127.0.0.1', '::1', '::ffff:127.0.0.1'])

const loopbackHost = /^(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?$/i

/** What proxies write on requests that they hand on for somebody else. */
const ofProxies = /^(forwarded|via|x-real-ip|x-forwarded-.*|x-envoy-.*|l5d-.*)$/

/**
 * Whether somebody on this machine (this pod) asks, and not a page in a browser there or a proxy for somebody elsewhere. A page that knows
 * its way to loopback sends `Origin` or `Sec-Fetch-Site`; one that has its own name pointed there (DNS rebinding) sends that name.
 */
export function isLocalCaller({ socket, headers }: IncomingMessage): boolean {
  if (!isLoopback(socket.remoteAddress) || !isLoopback(socket.localAddress)) return false
  if (!loopbackHost.test(headers.host ?? '')) return false
  if (headers.origin !== undefined) return false
  if ((headers['sec-fetch-site'] ?? 'none') !== 'none') return false
  for (const name in headers) if (ofProxies.test(name)) return false
  return true
}

function isLoopback(address: string | undefined): boolean {
  return address !== undefined && loopback.has(address)
}
