import { isIP } from 'node:net'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import { buildConnector, errors } from 'undici'
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
  // RFC 6066, 3: an address is never sent as a server name. It is verified all the same, as `hostname`.
  const name = isIP(servername) === 0 ? { servername } : { servername: undefined }
  const connect =
    config.protocol === 'h2'
      ? createH2Connector(config.timeouts.connect, tls)
      : buildConnector({
          timeout: config.timeouts.connect,
          ca: tls?.ca,
          autoSelectFamily: true,
          ...socketOptions
        })
  return (options, callback) =>
    connect(
      { ...options, ...name, hostname: address ?? options.hostname } as buildConnector.Options,
      callback
    )
}

/** TLS that offers nothing but h2: undici's offers http/1.1 first, and an upstream that heeds the order would take that. */
function createH2Connector(timeout: number, tls: UpstreamTls): buildConnector.connector {
  return function connectH2({ hostname, port, servername }, callback) {
    const socket = connectTls({
      host: hostname,
      port: Number(port || 443),
      servername: servername ?? undefined,
      ca: tls?.ca,
      ALPNProtocols: ['h2']
    })
    socket.setNoDelay(true)
    const timer = setTimeout(() => socket.destroy(new errors.ConnectTimeoutError()), timeout)
    const done = (error: Error | null) => {
      clearTimeout(timer)
      socket.off('secureConnect', connected)
      socket.off('error', done)
      socket.on('error', ignore)
      if (error === null) callback(null, socket as TLSSocket)
      else callback(error, null)
    }
    const connected = () => done(null)
    socket.once('secureConnect', connected)
    socket.once('error', done)
  }
}

function ignore(): void {}
