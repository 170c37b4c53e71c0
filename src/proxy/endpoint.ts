import type { Socket } from 'node:net'
import { type buildConnector, type Dispatcher, Pool } from 'undici'
import type { UpstreamConfig } from '../config/schema.ts'
import { processTimers, type Timers } from '../timers.ts'
import { createConnector, type UpstreamTls } from './connector.ts'
import { HealthCheck } from './health-check.ts'
import { Http2Client, type Http2ClientOptions } from './http2/client.ts'
import { Http2Dispatcher } from './http2/dispatcher.ts'
import { createProbe, type Probe } from './probe.ts'
import { pacedRead } from './websocket/paced-read.ts'

/** What undici takes and its types leave out. */
export interface UpstreamRequest extends Dispatcher.DispatchOptions {
  servername: string
}

export interface EndpointOptions {
  /** As configured: scheme, host and port. */
  readonly origin: string
  /** Where connections go; null: where the host of `origin` resolves to. */
  readonly address: string | null
  readonly config: UpstreamConfig
  readonly tls: UpstreamTls
  /** It went into or out of rotation. */
  readonly onChange: (endpoint: Endpoint) => void
  readonly timers?: Timers
  readonly random?: () => number
}

/** Milliseconds that an endpoint which refuses connections is spared while there are others. */
const rest = 5000

/** One address of an upstream, with its own connections. */
export class Endpoint {
  readonly origin: string
  readonly address: string | null
  /** `host:port`, for the `endpoint` label and the log. */
  readonly label: string
  /** For `UpstreamRequest`: constant, so that undici keeps its connections whatever Host is sent. */
  readonly servername: string
  readonly pool: Pool | Http2Dispatcher
  /** Where the upstream's protocol is h2c or h2; otherwise null. */
  readonly http2: Http2Client | null
  inFlight = 0
  /**
   * Connections ever begun, and calls that went out on one over which nothing had been answered yet. A call that adds none
   * takes a connection that has served others before.
   */
  connects = 0
  readonly #onChange: (endpoint: Endpoint) => void
  readonly #timers: Timers
  readonly #socketConnector: () => buildConnector.connector
  readonly #probe: Probe | null = null
  readonly #healthCheck: HealthCheck | null = null
  #isResting = false
  #restTimer: unknown

  constructor(options: EndpointOptions) {
    const { origin, address, config, tls, onChange, timers = processTimers, random = Math.random } = options
    const url = new URL(origin)
    const host = unbracketed(url.hostname)
    this.origin = origin
    this.address = address
    this.label = labelOf(url, address)
    this.servername = config.tls?.serverName ?? host
    this.#onChange = onChange
    this.#timers = timers
    const connector = createConnector(address, this.servername, config, tls)
    this.#socketConnector = once(() =>
      createConnector(address, this.servername, config, tls, { onread: pacedRead })
    )
    const onConnect = () => void this.connects++
    this.http2 =
      config.protocol === 'http1'
        ? null
        : createHttp2({ origin, config, connector, timers, onUnproven: onConnect })
    this.pool =
      this.http2 === null
        ? createPool(origin, config, connector, onConnect)
        : new Http2Dispatcher({
            origin,
            client: this.http2,
            headersTimeout: config.timeouts.response,
            bodyTimeout: config.timeouts.idle
          })
    if (config.healthCheck === undefined) return
    const probe = createProbe({
      origin,
      servername: this.servername,
      connector,
      config,
      healthCheck: config.healthCheck,
      timers
    })
    this.#probe = probe
    this.#healthCheck = new HealthCheck({
      config: config.healthCheck,
      probe: probe.ask,
      onChange: () => onChange(this),
      timers,
      random
    })
  }

  /** Whether it should get requests. */
  get isWell(): boolean {
    return !this.#isResting && this.#healthCheck?.isHealthy !== false
  }

  /** A connection outside of the pool, for what is no request and answer: made as the pool makes its own. */
  connect(callback: (error: Error | null, socket: Socket | null) => void): void {
    const { protocol, hostname, host, port } = new URL(this.origin)
    const options = { protocol, hostname: unbracketed(hostname), host, port, servername: this.servername }
    this.#socketConnector()(options, (...[error, socket]) =>
      callback(error, (socket ?? null) as Socket | null)
    )
  }

  /** It could not be connected to: spares it for a while. */
  rest(): void {
    if (this.#isResting) return
    this.#isResting = true
    this.#restTimer = this.#timers.setTimeout(() => this.#wake(), rest)
    this.#onChange(this)
  }

  /** Takes no more calls; those under way may end. */
  async drain(): Promise<void> {
    await Promise.all([this.#stop(), this.pool.close()])
  }

  async close(): Promise<void> {
    await Promise.all([this.#stop(), this.pool.destroy()])
  }

  #wake(): void {
    this.#isResting = false
    this.#onChange(this)
  }

  async #stop(): Promise<void> {
    this.#timers.clearTimeout(this.#restTimer)
    this.#healthCheck?.close()
    await this.#probe?.close()
  }
}

/**
 * Connections by undici. TLS certificates are verified: that is Node's default, which holds because we bring our own
 * dispatcher (@fastify/reply-from would turn it off). No queue of ours or undici's: a call either has a connection or opens
 * one, and `maxInFlight` bounds them.
 */
function createPool(
  origin: string,
  config: UpstreamConfig,
  connector: buildConnector.connector,
  onConnect: () => void
): Pool {
  return new Pool(origin, {
    connections: null,
    pipelining: 1,
    allowH2: false,
    keepAliveTimeout: 30_000,
    keepAliveMaxTimeout: 600_000,
    headersTimeout: config.timeouts.response,
    bodyTimeout: config.timeouts.idle,
    maxHeaderSize: 65_536,
    connect: (options, callback) => {
      onConnect()
      connector(options, callback)
    }
  })
}

function createHttp2({
  config,
  ...options
}: Pick<Http2ClientOptions, 'origin' | 'connector' | 'timers' | 'onUnproven'> & {
  config: UpstreamConfig
}): Http2Client {
  return new Http2Client({
    ...options,
    connectTimeout: config.timeouts.connect,
    maxSessions: config.maxInFlight
  })
}

function once<Value>(make: () => Value): () => Value {
  let made: Value | undefined
  return () => (made ??= make())
}

function labelOf(url: URL, address: string | null): string {
  const port = url.port || (url.protocol === 'https:' ? '443' : '80')
  const host = address?.includes(':') ? `[${address}]` : (address ?? url.hostname)
  return `${host}:${port}`
}

function unbracketed(hostname: string): string {
  return hostname.startsWith('[') ? hostname.slice(1, -1) : hostname
}
