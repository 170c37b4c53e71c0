import { isIP } from 'node:net'
import { buildConnector } from 'undici'
import type { UpstreamConfig } from '../config/schema.ts'

/** PEM of the CA bundle to trust instead of the system's roots; null: those. */
export type UpstreamTls = { ca?: string } | null

/**
 * How connections to one endpoint are made: to `address` where the name was resolved by us, and to the URL's host
 * otherwise. The name that the certificate is verified for is the upstream's own in any case. undici would take it from the
 * Host header, which is the client's where a route says `rewrite.host: preserve`.
 */
export function createConnector(
  address: string | null,
  servername: string,
  config: UpstreamConfig,
  tls: UpstreamTls,
  socketOptions: object = {}
): buildConnector.connector {
  const connect = buildConnector({
    timeout: config.timeouts.connect,
    ca: tls?.ca,
    autoSelectFamily: true,
    ...socketOptions
  })
  // RFC 6066, 3: an address is never sent as a server name. It is verified all the same, as `hostname`.
  const name = isIP(servername) === 0 ? { servername } : { servername: undefined }
  return (options, callback) =>
    connect(
      { ...options, ...name, hostname: address ?? options.hostname } as buildConnector.Options,
      callback
    )
}
