import { type ClientHttp2Session, connect, type OutgoingHttpHeaders } from 'node:http2'
import type { Socket } from 'node:net'
import { type Duplex, duplexPair } from 'node:stream'
import { fieldsOf, headOf, hostOf, type Question } from './question.ts'

/** A connection that is none: both of its ends are in this process, and no port is open for it. */
export interface Wire {
  /** The gateway's end, as if it came from the client's address. */
  readonly socket: Socket
  /**
   * Writes the request.
   * @param onCut called where the connection or the stream ends: with what was wrong, where it could not even be written
   */
  send(onCut: (detail: string) => void): void
  close(): void
}

/**
 * The wire for a question: HTTP/2 for a gRPC call, HTTP/1.1 for everything else.
 * @param localPort the port that it seems to have come to
 */
export function wireFor(question: Question, localPort: number): Wire {
  const [near, far] = duplexPair()
  const socket = asSocket(far, question.clientIp ?? '127.0.0.1', localPort)
  near.on('error', ignore)
  far.on('error', ignore)
  return question.protocol === 'grpc' ? http2(question, near, socket) : http1(question, near, socket)
}

function http1(question: Question, near: Duplex, socket: Socket): Wire {
  near.resume()
  return {
    socket,
    send(onCut) {
      near.once('close', () => onCut('the connection was closed'))
      near.write(headOf(question), 'utf8')
      if (question.body !== undefined) near.write(question.body)
    },
    close: () => {
      near.destroy()
      socket.destroy()
    }
  }
}

function http2(question: Question, near: Duplex, socket: Socket): Wire {
  let session: ClientHttp2Session | null = null
  return {
    socket,
    send(onCut) {
      session = connect('http://gateway', { createConnection: () => near })
      session.on('error', ignore)
      // What comes before the request's own fields, as a client of gRPC has it.
      const fields: OutgoingHttpHeaders = Object.create(null)
      fields[':method'] = question.method
      fields[':path'] = inBytes(question.target)
      fields[':scheme'] = 'http'
      fields[':authority'] = inBytes(hostOf(question))
      for (const [name, value] of fieldsOf(question)) add(fields, name.toLowerCase(), inBytes(value))
      try {
        // The messages would follow.
        const stream = session.request(fields, { endStream: false })
        stream.on('error', ignore)
        stream.once('close', () => onCut('HTTP/2 resets the stream'))
        stream.resume()
      } catch (error) {
        onCut((error as Error).message)
      }
    },
    close() {
      session?.destroy()
      near.destroy()
      socket.destroy()
    }
  }
}

/** Both protocols send UTF-8: cut down to one byte, a letter could become a line break. */
function inBytes(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1')
}

function add(fields: OutgoingHttpHeaders, name: string, value: string): void {
  const before = fields[name]
  if (before === undefined) fields[name] = value
  else fields[name] = [before, value].flat() as string[]
}

/** What the gateway reads of a connection beside its bytes. */
function asSocket(end: Duplex, remoteAddress: string, localPort: number): Socket {
  return Object.assign(end, {
    remoteAddress,
    remotePort: 0,
    localAddress: '127.0.0.1',
    localPort,
    bytesRead: 0,
    bytesWritten: 0
  }) as unknown as Socket
}

function ignore(): void {}
