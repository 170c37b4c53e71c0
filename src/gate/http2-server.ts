import {
  createServer,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
  type ServerOptions
} from 'node:http2'
import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { Refusal } from '../errors.ts'
import { Http2Connection } from './http2-connection.ts'
import { nativeResets } from './http2-floods.ts'
import { type Http2GateOptions, Http2Request } from './http2-request.ts'
import { Http2Response } from './http2-response.ts'
import type { RefusedRequest } from './server.ts'
import { systemTimers, type Timers } from './timers.ts'

export { connectionInfo, Http2Request } from './http2-request.ts'
export { Http2Response } from './http2-response.ts'

/** All times in milliseconds, all sizes in bytes. */
export interface Http2ServerOptions extends Http2GateOptions {
  /** For the preface and the first SETTINGS, and for each head from its first frame to its last. */
  headerTimeout: number
  /** A connection without streams is closed after so long. */
  keepAliveTimeout: number
  /** Most streams of one connection at once. */
  maxStreams: number
  /** A client that takes none of the bytes waiting for it for so long is cut off; 60 s. */
  writeStallTimeout?: number
  timers?: Timers
  /** Called for every connection that is ended for what its client did; must not throw. */
  onRefused?(refused: RefusedRequest): void
}

/**
 * Takes every HTTP/2 request. With a refusal, it must answer with it and do nothing else; the connection stays: what follows
 * is framed, so that nothing can be smuggled behind it.
 */
export type Http2RequestHandler = (
  request: Http2Request,
  response: Http2Response,
  refusal: Refusal | null
) => void

export interface Http2Front {
  /** Takes a connection, in cleartext (prior knowledge) or secure (ALPN `h2`). Any other is closed. */
  take(socket: Socket): void
  /**
   * Sends every client elsewhere: what is under way is served, what a client has sent since it may send again (it is told). Who
   * connects all the same is served once, as with `Connection: close` in HTTP/1.
   */
  startDraining(): void
  /** No new streams. Resolves when the last stream has ended and its connection is closed. */
  close(): Promise<void>
  /** Ends everything at once. */
  destroy(): void
  /** Streams whose answer is not complete yet. */
  readonly underWay: number
}

/** Received bytes of one stream that wait to be read: with 100 streams 6.4 MB a connection, which its memory limit stays above. */
const streamWindow = 64 * 1024 - 1
/** Bytes on their way over all streams of a connection; Node takes them off the wire at once, so that they wait for nobody. */
const connectionWindow = 1024 * 1024

/**
 * An HTTP/2 server that judges every request before its handler sees it, and ends connections that flood it. It owns no
 * listening socket: whoever accepts connections hands them over.
 */
export function createHttp2Server(options: Http2ServerOptions, onRequest: Http2RequestHandler): Http2Front {
  const timers = options.timers ?? systemTimers
  const limits = { ...options, writeStallTimeout: options.writeStallTimeout ?? 60_000 }
  const connections = new Set<Http2Connection>()
  let stage: 'serving' | 'draining' | 'closing' = 'serving'
  const onEmpty: (() => void)[] = []
  let taken: Socket | null = null

  const server = createServer(serverOptions(options))
  server.setTimeout(0)

  function startSession(session: ServerHttp2Session): void {
    const socket = taken as Socket
    const connection = new Http2Connection(session, socket, timers, limits, refuseFlood)
    connections.add(connection)
    session.on('error', ignore)
    session.setLocalWindowSize(connectionWindow)
    socket.on('error', ignore)
    socket.once('close', function forgetConnection() {
      connection.dispose()
      connections.delete(connection)
      if (connections.size === 0) for (const resolve of onEmpty.splice(0)) resolve()
    })
    connection.isLastCall = stage === 'draining'
  }

  function refuseFlood(connection: Http2Connection, what: string): void {
    options.onRefused?.({
      status: 429,
      reason: 'request.malformed',
      remoteAddress: connection.info.remoteAddress,
      detail: `HTTP/2 flood: ${what}`
    })
  }

  function takeStream(
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    _flags: number,
    rawHeaders: string[]
  ): void {
    const request = new Http2Request(stream, headers, rawHeaders)
    const response = new Http2Response(stream, request)
    const { connectionState } = request
    // The client has reset it in the same packet, or its connection has ended.
    if (connectionState === null || stream.destroyed || stream.closed) return
    connectionState.streamBegan(response)
    onRequest(request, response, request.judge(options))
  }

  server.on('session', startSession)
  server.on('sessionError', ignore)
  server.on('stream', takeStream)
  server.on('unknownProtocol', (socket: Socket) => socket.destroy())

  const shortest = Math.min(options.headerTimeout, options.keepAliveTimeout, limits.writeStallTimeout)
  const sweep = timers.every(Math.max(Math.min(shortest / 4, 1000), 10), function lookAtConnections() {
    const now = timers.now()
    for (const connection of connections) connection.sweep(now)
  })

  return {
    take(socket) {
      // Nothing but what was agreed on: a client that speaks HTTP/1 is not for this server.
      const isAgreed = (socket as TLSSocket).encrypted !== true || (socket as TLSSocket).alpnProtocol === 'h2'
      if (stage === 'closing' || socket.destroyed || !isAgreed) {
        socket.destroy()
        return
      }
      taken = socket
      server.emit('connection', socket)
      taken = null
    },
    startDraining() {
      if (stage === 'serving') stage = 'draining'
      for (const connection of connections) connection.close()
    },
    async close() {
      stage = 'closing'
      for (const connection of connections) connection.close()
      if (connections.size > 0) await new Promise<void>(resolve => onEmpty.push(resolve))
      sweep.cancel()
    },
    destroy() {
      stage = 'closing'
      for (const connection of connections) connection.destroy()
      sweep.cancel()
    },
    get underWay() {
      let count = 0
      for (const connection of connections) count += connection.open.size
      return count
    }
  }
}

/** Every limit that Node has, so that no default of a version is part of what the gateway promises. */
function serverOptions(options: Http2ServerOptions): ServerOptions {
  // Node's types lack some of them.
  const all = {
    settings: {
      enablePush: false,
      enableConnectProtocol: false,
      headerTableSize: 4096,
      initialWindowSize: streamWindow,
      maxConcurrentStreams: options.maxStreams,
      maxFrameSize: 16_384,
      // Beyond this nghttp2 resets the stream; between our limit and this one the client gets its 431.
      maxHeaderListSize: options.maxHeaderBytes * 4
    },
    // Pseudo-headers count, too.
    maxHeaderListPairs: options.maxHeaderCount * 4,
    maxDeflateDynamicTableSize: 4096,
    // Megabytes. Above it a connection gets no further streams.
    maxSessionMemory: 10,
    // Entries of one SETTINGS frame; ten are registered.
    maxSettings: 32,
    maxOutstandingPings: 4,
    maxOutstandingSettings: 4,
    maxReservedRemoteStreams: 0,
    peerMaxConcurrentStreams: options.maxStreams,
    // In the whole life of a connection: what nghttp2 answers with a reset (CVE-2025-8671), and DATA without content or end.
    maxSessionInvalidFrames: 1000,
    // In a row, beyond `maxStreams`.
    maxSessionRejectedStreams: 100,
    unknownProtocolTimeout: 1,
    strictFieldWhitespaceValidation: true,
    // For answers: an upstream that doubles a field is judged elsewhere.
    strictSingleValueFields: false,
    ...nativeResets
  }
  return all
}

function ignore(): void {}
