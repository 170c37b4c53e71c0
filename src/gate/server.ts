import {
  createServer,
  type IncomingMessage,
  type Server,
  type ServerOptions,
  type ServerResponse
} from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Reason, Refusal } from '../errors.ts'
import { type Connection, connectionOf, trackConnection } from './connection.ts'
import { type GateOptions, judgeRequest } from './gate.ts'
import { judgeParserError, type ParserError, type ParserVerdict } from './parser-error.ts'
import { writeRawProblem } from './raw-problem.ts'
import { systemTimers, type Timers } from './timers.ts'

/**
 * Most requests of one connection under way at once, as with the streams of HTTP/2: one packet holds hundreds, and would take
 * every place of an upstream. The last one is told to close; a client may send the others again (RFC 9112, 9.3.2).
 */
const maxPipelined = 100

/** A request that was answered here, because it never became one that a handler could see. */
export interface RefusedRequest {
  status: number
  reason: Reason
  remoteAddress: string | undefined
  /** What was wrong: a code of Node's parser or a sentence of the gate. For the log only. */
  detail: string
}

/** All times in milliseconds, all sizes in bytes. */
export interface HttpServerOptions extends GateOptions {
  headerTimeout: number
  /** From the first byte of a request to the last of its body. */
  requestTimeout: number
  keepAliveTimeout: number
  maxHeaderBytes: number
  maxConnections: number
  /** A client that takes none of the bytes waiting for it for so long is cut off. */
  writeStallTimeout?: number
  /** How long a closing connection is still read, so that its client gets the last answer. */
  lingerTimeout?: number
  /** Called for every request that is answered here; must not throw. */
  onRefused?(refused: RefusedRequest): void
  /** How often Node looks for requests whose time is up; 1 s. */
  timeoutCheckInterval?: number
  timers?: Timers
}

/**
 * Takes every HTTP/1 request. With a refusal, it must answer with it and `Connection: close`, and do nothing else: the
 * connection takes no further requests.
 */
export type RequestHandler = (
  request: IncomingMessage,
  response: ServerResponse<IncomingMessage>,
  refusal: Refusal | null
) => void

/** Takes a WebSocket upgrade that is well formed. The socket is the handler's from then on; it has an error listener. */
export type UpgradeHandler = (request: IncomingMessage, socket: Duplex, head: Buffer) => void

/** Options for `http.createServer` that the gate relies on. */
export const serverOptions = Object.freeze({
  // Whatever `--insecure-http-parser` in NODE_OPTIONS says.
  insecureHTTPParser: false,
  // Node's own answer to a missing Host is bare and counted nowhere: the gate judges it.
  requireHostHeader: false,
  optimizeEmptyRequests: true,
  noDelay: true,
  connectionsCheckingInterval: 1000,
  shouldUpgradeCallback: isWebSocketUpgrade
} satisfies ServerOptions)

/**
 * An HTTP/1 server that judges every request before its handler sees it and answers itself what never becomes one:
 * parser errors, timeouts, CONNECT. It does not listen yet. For TLS, emit `listening` once (Node starts to check its
 * timeouts then) and `connection` with each secure socket.
 *
 * A request without a body emits no events of its own (`optimizeEmptyRequests`), not even `close`: whoever wants to
 * know that the client has gone listens to `close` of the response.
 */
export function createHttpServer(
  options: HttpServerOptions,
  onRequest: RequestHandler,
  onUpgrade: UpgradeHandler
): Server {
  const timers = options.timers ?? systemTimers
  const lingerTimeout = options.lingerTimeout ?? 2000
  const server = createServer({
    ...serverOptions,
    maxHeaderSize: options.maxHeaderBytes,
    headersTimeout: Math.min(options.headerTimeout, options.requestTimeout),
    requestTimeout: options.requestTimeout,
    keepAliveTimeout: options.keepAliveTimeout,
    connectionsCheckingInterval: options.timeoutCheckInterval ?? serverOptions.connectionsCheckingInterval
  })
  // Zero: no limit of Node's, which would drop the fields beyond it and pass the request on. The gate counts.
  server.maxHeadersCount = 0
  server.maxConnections = options.maxConnections
  // Undocumented and old: without it a client that has sent its FIN loses the answer it waits for.
  ;(server as Server & { httpAllowHalfOpen: boolean }).httpAllowHalfOpen = true

  const open = new Map<Socket, Connection>()

  function onConnection(socket: Socket): void {
    open.set(socket, trackConnection(socket, timers, lingerTimeout))
    socket.once('close', forgetConnection)
  }

  function forgetConnection(this: Socket): void {
    open.get(this)?.dispose()
    open.delete(this)
  }

  function handleRequest(request: IncomingMessage, response: ServerResponse<IncomingMessage>): void {
    const connection = connectionOf(request.socket)
    // What follows a refused request in the same packet is parsed already. It may be the very thing that the refused
    // one tried to smuggle: it is not even looked at.
    if (connection === undefined || connection.isClosing) return
    if (connection.isSealed) {
      connection.stopReading()
      return
    }
    if (connection.hasDeclinedUpgrade || connection.pending.length >= maxPipelined - 1) {
      connection.isSealed = true
      response.shouldKeepAlive = false
    }
    connection.pending.push(response)
    response.on('finish', releaseResponse)
    const refusal = judgeRequest(request, options)
    if (refusal !== null) {
      response.shouldKeepAlive = false
      connection.stopReading()
    }
    onRequest(request, response, refusal)
  }

  function handleExpectation(request: IncomingMessage, response: ServerResponse<IncomingMessage>): void {
    continueOnRead(request, response)
    handleRequest(request, response)
  }

  function handleUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on('error', ignore)
    const refusal = judgeRequest(request, options)
    if (refusal !== null) {
      refuse(request.socket, refusal, refusal.detail ?? refusal.message)
      return
    }
    connectionOf(request.socket)?.release()
    // From here on it is no HTTP connection: whoever carries the frames watches for a stalled reader.
    open.delete(request.socket)
    onUpgrade(request, socket, head)
  }

  function handleConnect(request: IncomingMessage, socket: Duplex): void {
    socket.on('error', ignore)
    // Node has let go of the socket; answers of earlier requests still wait for its `drain`.
    request.socket.on('drain', passDrainOn)
    refuse(request.socket, { status: 405, reason: 'protocol.method' }, 'CONNECT')
  }

  function handleClientError(error: ParserError, duplex: Duplex): void {
    const socket = duplex as Socket
    const connection = connectionOf(socket)
    if (connection === undefined || socket.destroyed || isSocketError(error)) {
      socket.destroy(error)
      return
    }
    const verdict = judgeParserError(error)
    if (verdict === null) connection.end(null)
    else refuse(socket, verdict, error.code ?? error.message)
  }

  function refuse(socket: Socket, verdict: ParserVerdict, detail: string): void {
    const connection = connectionOf(socket)
    if (connection?.isClosing) return
    if (connection === undefined) writeRawProblem(socket, verdict.status, verdict.reason)
    else connection.end(verdict)
    options.onRefused?.({
      status: verdict.status,
      reason: verdict.reason,
      remoteAddress: socket.remoteAddress,
      detail
    })
  }

  const writeStallTimeout = options.writeStallTimeout ?? 60_000
  const sweep = timers.every(Math.max(writeStallTimeout / 12, 10), function cutStalledReaders() {
    const now = timers.now()
    for (const [socket, connection] of open) {
      if (isStalled(socket, connection, now, writeStallTimeout)) socket.destroy()
    }
  })

  server.on('connection', onConnection)
  server.on('request', handleRequest)
  server.on('checkContinue', handleExpectation)
  // Any other Expect: the gate refuses it.
  server.on('checkExpectation', handleRequest)
  server.on('upgrade', handleUpgrade)
  server.on('connect', handleConnect)
  server.on('clientError', handleClientError)
  server.on('drop', dropped => {
    options.onRefused?.({
      status: 503,
      reason: 'gateway.overloaded',
      remoteAddress: dropped?.remoteAddress,
      detail: 'maxConnections is reached'
    })
  })
  server.on('close', () => sweep.cancel())
  return server
}

/**
 * Only WebSocket leaves HTTP/1 here. Any other Upgrade (h2c above all) is ignored, as RFC 9110 7.8 allows: the request
 * is answered as what it also is. So is an upgrade behind answers that are still due, and one with a body.
 */
function isWebSocketUpgrade(request: IncomingMessage): boolean {
  const connection = connectionOf(request.socket)
  if (connection === undefined) return false
  const isTaken =
    request.headers.upgrade?.toLowerCase() === 'websocket' &&
    request.method === 'GET' &&
    request.httpVersionMinor === 1 &&
    request.headers['content-length'] === undefined &&
    request.headers['transfer-encoding'] === undefined &&
    connection.pending.length === 0 &&
    !connection.isClosing &&
    !connection.isSealed
  if (!isTaken) connection.hasDeclinedUpgrade = true
  return isTaken
}

function releaseResponse(this: ServerResponse<IncomingMessage>): void {
  const connection = connectionOf(this.req.socket)
  if (connection === undefined) return
  connection.pending.shift()
  if (!this.req.complete) connection.awaitBody(this.req)
}

/** Sends `100 Continue` when the handler starts to read the body, so that a refusal spares the client the upload. */
function continueOnRead(request: IncomingMessage, response: ServerResponse<IncomingMessage>): void {
  const read = request._read
  request._read = function continueThenRead(size: number): void {
    request._read = read
    if (!response.headersSent && !response.destroyed) response.writeContinue()
    read.call(request, size)
  }
}

function passDrainOn(this: Duplex): void {
  connectionOf(this)?.pending[0]?.emit('drain')
}

/** Bytes wait for the client, and it has taken none for as long as the timeout. */
function isStalled(socket: Socket, connection: Connection, now: number, timeout: number): boolean {
  if (socket.writableLength === 0) {
    connection.stalledSince = -1
    return false
  }
  const taken = socket.bytesWritten - socket.writableLength
  if (connection.stalledSince === -1 || taken !== connection.taken) {
    connection.stalledSince = now
    connection.taken = taken
    return false
  }
  return now - connection.stalledSince >= timeout
}

/** An error of the connection itself (ECONNRESET, EPIPE): nobody is left to answer. */
function isSocketError(error: ParserError): boolean {
  return error.code !== 'ERR_HTTP_REQUEST_TIMEOUT' && !error.code?.startsWith('HPE_')
}

function ignore(): void {}
