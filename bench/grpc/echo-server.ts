import { once } from 'node:events'
import {
  constants,
  createServer,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream
} from 'node:http2'
import type { AddressInfo } from 'node:net'

/** A call with this metadata is never finished: its client cancels it. The value is the call's number. */
export const stayHeader = 'x-stay'

/** Messages of one answer to `Expand`. */
export const expanded = 3

/** The upstream of the leak run: the four kinds of call, and what it sees of them. */
export interface EchoServer {
  readonly port: number
  readonly sessions: number
  readonly streams: number
  /** Calls that were to stay and ended with CANCEL. */
  readonly cancelled: number
  /** Resolves when a call that is to stay has come, with all that its client sent before. */
  arrival(call: string): Promise<void>
  close(): Promise<void>
}

const head = { ':status': 200, 'content-type': 'application/grpc' }
const trailers = { 'grpc-status': '0' }
const withTrailers = { waitForTrailers: true }

/**
 * Node ends a session that brings more than 1,000 resets and 33 a second (against "rapid reset"): the cancellations of all clients
 * come over one session here, and that rule is not what is measured.
 */
const patient = { streamResetBurst: 1_000_000, streamResetRate: 1_000_000 }

/** Listens on a free port of this machine. */
export async function startEchoServer(): Promise<EchoServer> {
  const server = createServer(patient)
  const sessions = new Set<ServerHttp2Session>()
  const arrivals = new Map<string, () => void>()
  let streams = 0
  let cancelled = 0

  server.on('session', session => {
    sessions.add(session)
    session.on('close', () => sessions.delete(session))
    session.on('error', () => {})
  })
  server.on('stream', (stream: ServerHttp2Stream, headers) => {
    const staying = headers[stayHeader] as string | undefined
    streams++
    stream.on('close', () => {
      streams--
      if (staying !== undefined && stream.rstCode === constants.NGHTTP2_CANCEL) cancelled++
    })
    // A call that was cancelled is no failure.
    stream.on('error', () => {})
    if (staying === undefined) answer(stream, headers)
    else hold(stream, headers, () => arrivals.get(staying)?.())
  })
  server.listen(0, '127.0.0.1', 1024)
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    get sessions() {
      return sessions.size
    },
    get streams() {
      return streams
    },
    get cancelled() {
      return cancelled
    },
    arrival(call) {
      return new Promise(resolve => {
        arrivals.set(call, () => {
          arrivals.delete(call)
          resolve()
        })
      })
    },
    async close() {
      for (const session of sessions) session.destroy()
      server.close()
      await once(server, 'close')
    }
  }
}

function answer(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
  const method = methodOf(headers)
  stream.respond(head, withTrailers)
  stream.on('wantTrailers', () => stream.sendTrailers(trailers))
  if (method === 'Say' || method === 'Chat') {
    stream.pipe(stream)
    return
  }
  const chunks: Buffer[] = []
  stream.on('data', (chunk: Buffer) => chunks.push(chunk))
  stream.on('end', () => {
    const sent = Buffer.concat(chunks)
    const message = sent.subarray(0, 5 + sent.readUInt32BE(1))
    stream.end(method === 'Expand' ? Buffer.concat(Array.from({ length: expanded }, () => message)) : message)
  })
}

/** Takes the first message, gives it back where the method streams answers, and goes no further. */
function hold(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, arrived: () => void): void {
  const streamsAnswers = ['Expand', 'Chat'].includes(methodOf(headers))
  stream.on('data', (chunk: Buffer) => {
    if (streamsAnswers && !stream.headersSent) {
      stream.respond(head, withTrailers)
      stream.write(chunk)
    }
    arrived()
  })
}

function methodOf(headers: IncomingHttpHeaders): string {
  const path = String(headers[':path'])
  return path.slice(path.lastIndexOf('/') + 1)
}
