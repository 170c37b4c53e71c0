import { type buildConnector, Client, type Dispatcher } from 'undici'
import type { UpstreamConfig } from '../config/schema.ts'
import type { Timers } from '../timers.ts'
import type { HealthCheckConfig } from './health-check.ts'
import { Http2Client } from './http2/client.ts'
import { Http2Dispatcher } from './http2/dispatcher.ts'

export interface Probe {
  /** Whether the endpoint answers as it should, and in time. Never rejects. */
  ask(): Promise<boolean>
  close(): Promise<void>
}

export interface ProbeOptions {
  readonly origin: string
  readonly servername: string | null
  readonly connector: buildConnector.connector
  readonly config: UpstreamConfig
  readonly healthCheck: HealthCheckConfig
  readonly timers: Timers
}

const maxBody = 65_536

const grpcHealth = '/grpc.health.v1.Health/Check'

/** Where one check is sent, and what it is. */
interface Question {
  request: Dispatcher.RequestOptions
  isGood(answer: Dispatcher.ResponseData, signal: AbortSignal): Promise<boolean>
}

/**
 * A question on a connection of its own, made for each check: a service that no longer accepts connections is not well,
 * however well the old ones still do; and a check neither waits for requests nor counts as one. Over HTTP/2 the path of gRPC's
 * health service is asked in its protocol.
 */
export function createProbe(options: ProbeOptions): Probe {
  const { servername, healthCheck, config } = options
  const isGrpc = config.protocol !== 'http1' && healthCheck.path === grpcHealth
  const { request, isGood } = isGrpc ? grpcQuestion : httpQuestion(healthCheck.path, servername)
  const asking = new Set<Dispatcher>()
  return {
    async ask() {
      const signal = AbortSignal.timeout(healthCheck.timeout)
      const client = createClient(options)
      asking.add(client)
      // The signal ends a request, but not the wait for a connection.
      signal.addEventListener('abort', () => void client.destroy(), { once: true })
      try {
        return await isGood(await client.request({ ...request, signal }), signal)
      } catch {
        return false
      } finally {
        asking.delete(client)
        void client.destroy()
      }
    },
    async close() {
      await Promise.all([...asking].map(client => client.destroy()))
    }
  }
}

function createClient({ origin, connector, config, timers }: ProbeOptions): Dispatcher {
  const limits = { headersTimeout: 0, bodyTimeout: 0 }
  if (config.protocol === 'http1') return new Client(origin, { connect: connector, ...limits })
  const client = new Http2Client({
    origin,
    connector,
    connectTimeout: config.timeouts.connect,
    maxSessions: 1,
    timers,
    onUnproven: () => {}
  })
  return new Http2Dispatcher({ origin, client, ...limits })
}

function httpQuestion(path: string, servername: string | null): Question {
  const headers = ['user-agent', 'sallyport-health-check']
  const request = { path, method: 'GET' as const, headers, reset: true, servername }
  return {
    request: request as Dispatcher.RequestOptions,
    async isGood({ statusCode, body }, signal) {
      await body.dump({ limit: maxBody, signal })
      return statusCode >= 200 && statusCode < 300
    }
  }
}

/** grpc.health.v1: an empty HealthCheckRequest asks for the whole server. Field 1 of the answer is the status, 1 is SERVING. */
const grpcQuestion: Question = {
  request: {
    path: grpcHealth,
    method: 'POST',
    headers: ['content-type', 'application/grpc', 'te', 'trailers', 'user-agent', 'sallyport-health-check'],
    body: Buffer.alloc(5)
  },
  async isGood({ statusCode, body, trailers }) {
    const message = await collect(body)
    return statusCode === 200 && trailers['grpc-status'] === '0' && message.equals(serving)
  }
}

/** Not compressed, two bytes long: field 1 (varint) = 1. */
const serving = Buffer.from([0, 0, 0, 0, 2, 0x08, 0x01])

async function collect(body: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of body) {
    size += chunk.length
    if (size > maxBody) throw new Error('the answer is too large')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}
