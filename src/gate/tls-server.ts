import type { Socket } from 'node:net'
import { createServer, type SecureContext, type Server, type TLSSocket } from 'node:tls'
import type { Credentials } from '../tls/credentials.ts'
import { verifyClient } from './client-certificate.ts'
import type { RefusedRequest } from './server.ts'

/** Where the certificates come from; `LiveCredentials` is one. */
export interface CredentialSource {
  readonly current: Credentials
  onChange(listener: (credentials: Credentials) => void): void
}

export interface TlsServerOptions {
  credentials: CredentialSource
  /** From the first byte of TCP to the end of the handshake, in milliseconds. */
  handshakeTimeout: number
  maxConnections: number
  /** Called for every connection that ends before it could carry a request; must not throw. */
  onRefused?(refused: RefusedRequest): void
}

/** Takes each connection whose handshake is done; must put an `error` listener on it at once. */
export interface SecureConnectionHandlers {
  http1(socket: TLSSocket): void
  http2(socket: TLSSocket): void
}

/**
 * The TLS in front of HTTP/1 and HTTP/2: ALPN decides, and who offers nothing speaks HTTP/1.1. New handshakes use the
 * newest certificates; connections that are open go on. It does not listen yet. `connection` gives each socket of TCP
 * before its handshake: destroying that one ends the secure one too.
 */
export function createTlsServer(options: TlsServerOptions, take: SecureConnectionHandlers): Server {
  const { credentials, onRefused } = options
  const { asksClients } = credentials.current

  function chooseContext(
    servername: string,
    done: (error: Error | null, context?: SecureContext) => void
  ): void {
    done(null, credentials.current.find(servername) ?? undefined)
  }

  const server = createServer({
    ...credentials.current.options,
    // A client that offers others only gets the alert no_application_protocol (RFC 7301, 3.2).
    ALPNProtocols: ['h2', 'http/1.1'],
    SNICallback: chooseContext,
    handshakeTimeout: options.handshakeTimeout,
    requestCert: asksClients,
    // Node would end who has no certificate too. It is `verifyClient` that ends who has a bad one.
    rejectUnauthorized: false,
    allowHalfOpen: true,
    noDelay: true
  })
  server.maxConnections = options.maxConnections

  function takeSecure(socket: TLSSocket): void {
    const fault = asksClients ? verifyClient(socket) : null
    if (fault !== null) {
      refuse(socket, 400, `client certificate: ${fault}`)
      socket.on('error', ignore)
      socket.destroy()
      return
    }
    if (socket.alpnProtocol !== 'h2') {
      take.http1(socket)
      return
    }
    // HTTP/1 answers a client that has sent its FIN; in HTTP/2 nothing would ever close such a connection.
    socket.allowHalfOpen = false
    take.http2(socket)
  }

  function countFailed(error: NodeJS.ErrnoException, socket: TLSSocket): void {
    // Whoever connects and leaves without a word only wanted to know whether somebody listens.
    const isProbe = error.code === 'ECONNRESET' && bytesReceived(socket) === 0
    if (!isProbe) refuse(socket, isTimeout(error) ? 408 : 400, error.code ?? 'handshake failed')
    socket.destroy()
  }

  function refuse(socket: TLSSocket, status: number, detail: string): void {
    onRefused?.({ status, reason: 'request.malformed', remoteAddress: socket.remoteAddress, detail })
  }

  server.on('secureConnection', takeSecure)
  server.on('tlsClientError', countFailed)
  server.on('drop', dropped => {
    onRefused?.({
      status: 503,
      reason: 'gateway.overloaded',
      remoteAddress: dropped?.remoteAddress,
      detail: 'maxConnections is reached'
    })
  })
  credentials.onChange(({ options }) => server.setSecureContext(options))
  return server
}

/** `bytesRead` of a secure socket counts what was decrypted: in a handshake, nothing. That of TCP is behind an old private name. */
function bytesReceived(socket: TLSSocket): number | undefined {
  return (socket as TLSSocket & { _parent?: Socket })._parent?.bytesRead
}

function isTimeout(error: NodeJS.ErrnoException): boolean {
  return error.code === 'ERR_TLS_HANDSHAKE_TIMEOUT'
}

function ignore(): void {}
