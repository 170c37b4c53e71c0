import type { FastifyInstance } from 'fastify'
import { builtins } from '../plugins/index.ts'
import { buildAdmin } from './admin.ts'
import type { Config, HttpsListenerConfig, ListenerConfig } from './config/schema.ts'
import { ConfigWatcher } from './config/watch.ts'
import type { WatchTime } from './credential-watch.ts'
import { LiveExplainer } from './explain/live.ts'
import { PublicListener } from './listener.ts'
import { createLog, type Logger } from './log.ts'
import { OverloadGuard } from './overload.ts'
import { Registry } from './registry.ts'
import { Reloader } from './reload.ts'
import { Services } from './services.ts'
import { LiveCredentials } from './tls/live-credentials.ts'
import { version } from './version.ts'

export interface GatewayOptions {
  /** YAML file, or folder of them. */
  config: string
  /** Folder of custom plugins. */
  plugins?: string | undefined
  env?: Readonly<Record<string, string | undefined>>
  log?: Logger
  /** False: the configuration is read once. */
  watch?: boolean
  /** Milliseconds between two looks at the files without any event. */
  poll?: number
  /** False: no request is refused for the lag of the event loop, e.g. where a test shares its machine. */
  shed?: boolean
  /** By what time the credentials of what is open are looked at. Default: the process's. */
  time?: WatchTime
}

/** Addresses that the gateway answers on. */
export interface GatewayAddresses {
  readonly http: string | null
  readonly h2c: string | null
  readonly https: string | null
  readonly admin: string
}

/**
 * The whole process: services that last, the generation in force, the sockets in front of it. The order of a life: start,
 * serve and reload, drain, close.
 */
export class Gateway {
  readonly log: Logger
  readonly registry: Registry
  readonly #services: Services
  readonly #overload: OverloadGuard
  readonly #reloader: Reloader
  readonly #options: GatewayOptions
  #admin: FastifyInstance | null = null
  #listener: PublicListener | null = null
  readonly #explainer: LiveExplainer
  #watcher: ConfigWatcher | null = null
  #credentials: LiveCredentials | null = null
  #addresses: GatewayAddresses | null = null
  #changedDuringStart = false
  #draining: Promise<boolean> | null = null
  #closing: Promise<void> | null = null

  constructor(options: GatewayOptions) {
    this.#options = options
    this.log = options.log ?? createLog('info')
    this.registry = new Registry()
    this.registry.number('build_info').child(version, process.version).value = 1
    const env = options.env ?? process.env
    this.#services = new Services(this.log, this.registry, env, {
      watch: options.watch !== false,
      poll: options.poll
    })
    this.#overload = new OverloadGuard(this.registry, options.shed)
    this.#reloader = new Reloader({
      configPath: options.config,
      pluginsPath: options.plugins,
      builtins,
      env,
      services: this.#services,
      overload: this.#overload
    })
    this.#explainer = new LiveExplainer(() => this.#reloader.current, this.#services)
  }

  get addresses(): GatewayAddresses {
    if (this.#addresses === null) throw new Error('the gateway has not started')
    return this.#addresses
  }

  /** Whether new requests should be sent here: everything listens, a configuration is in force, and no drain has begun. */
  get isReady(): boolean {
    return this.#addresses !== null && !this.#isStopping
  }

  get #isStopping(): boolean {
    return this.#draining !== null || this.#closing !== null
  }

  /** Rejects, with everything closed again, when the configuration or a plugin is bad or a port is taken. */
  async start(): Promise<GatewayAddresses> {
    try {
      return await this.#start()
    } catch (error) {
      await this.close()
      throw error
    }
  }

  /** Resolves when the newest content has been tried; never rejects. Does nothing before the start and after its end. */
  async reload(): Promise<void> {
    if (this.isReady) await this.#reloader.reload()
    else this.#changedDuringStart = true
  }

  /**
   * Ends without a failed request: readiness goes off while everything is still served (`drainDelay`), answers tell their
   * clients to go elsewhere, the sockets close, and what is still under way has until `drainTimeout`.
   * @returns whether every request could end
   */
  drain(): Promise<boolean> {
    this.#draining ??= this.#drain()
    return this.#draining
  }

  /** Ends at once. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #start(): Promise<GatewayAddresses> {
    // Before the first reading, so that no change falls between the two.
    if (this.#options.watch !== false) await this.#watch()
    const { config } = await this.#reloader.start()
    this.#goOn()
    const { admin } = config.listeners
    this.#admin = await buildAdmin({
      registry: this.registry,
      current: () => this.#reloader.current,
      status: () => this.#reloader.status,
      isReady: () => this.isReady,
      explain: question => this.#explainer.explain(question)
    })
    const adminAddress = await this.#admin.listen({ host: admin.host, port: admin.port }).catch(error => {
      throw listenError('admin', admin, error)
    })
    this.#goOn()
    this.log.info(`admin listening on ${adminAddress}`)
    this.#addresses = { ...(await this.#listen(config)), admin: adminAddress }
    this.log.flush()
    this.#overload.reset()
    if (this.#changedDuringStart) void this.reload()
    return this.#addresses
  }

  async #listen({ listeners, limits }: Config): Promise<Omit<GatewayAddresses, 'admin'>> {
    const { http, h2c, https } = listeners
    // Before any port is open: what TLS lacks ends the start.
    const credentials = https === undefined ? null : await this.#loadCredentials(https)
    this.#goOn()
    const listener = new PublicListener({
      limits,
      current: () => this.#reloader.current,
      overload: this.#overload,
      registry: this.registry,
      log: this.log,
      time: this.#options.time
    })
    this.#listener = listener
    return {
      http: await this.#open('http', http, address => listener.listenHttp(address)),
      h2c: await this.#open('h2c', h2c, address => listener.listenH2c(address)),
      https: await this.#open('https', https, address =>
        listener.listenHttps(address, credentials as LiveCredentials)
      )
    }
  }

  async #loadCredentials({ tls }: HttpsListenerConfig): Promise<LiveCredentials> {
    const { env, watch, poll } = this.#options
    const options = { tls, env: env ?? process.env, log: this.log, watch: watch !== false, poll }
    this.#credentials = await LiveCredentials.start(options)
    return this.#credentials
  }

  async #open(
    name: 'http' | 'h2c' | 'https',
    address: ListenerConfig | undefined,
    listen: (address: ListenerConfig) => Promise<number>
  ): Promise<string | null> {
    if (address === undefined) return null
    const { host } = address
    const port = await listen(address).catch(error => {
      throw listenError(name, address, error)
    })
    this.#goOn()
    const scheme = name === 'https' ? 'https' : 'http'
    const origin = `${scheme}://${host.includes(':') ? `[${host}]` : host}:${port}`
    this.log.info(`${name} listening on ${origin}`)
    return origin
  }

  /** A stop that was asked for during the start ends the start. */
  #goOn(): void {
    if (this.#isStopping) throw new Error('stopped while it was starting')
  }

  async #watch(): Promise<void> {
    const { config, plugins, poll } = this.#options
    this.#watcher = await ConfigWatcher.start({
      paths: plugins === undefined ? [config] : [config, plugins],
      poll,
      onChange: () => void this.reload(),
      onError: err =>
        this.log.warn({ err }, 'no events for the configuration: it is only looked at now and then')
    })
    if (this.#isStopping) this.#watcher.close()
  }

  async #drain(): Promise<boolean> {
    if (this.#addresses === null || this.#closing !== null) {
      await this.close()
      return true
    }
    this.#watcher?.close()
    const { drainDelay, drainTimeout } = this.#reloader.current.config.limits
    this.log.info({ drainDelay, drainTimeout }, 'draining: not ready, still serving')
    this.#listener?.startDraining()
    await after(drainDelay)
    const closed = (this.#listener?.close() ?? Promise.resolve()).then(() => true)
    const inTime = await Promise.race([closed, after(drainTimeout).then(() => false)])
    if (!inTime) {
      const underWay = this.#listener?.underWay ?? 0
      this.log.warn({ underWay }, 'the drain deadline has passed: ending what is under way')
      await this.#listener?.cut()
    }
    await this.close()
    return inTime
  }

  async #close(): Promise<void> {
    this.#watcher?.close()
    this.#listener?.destroy()
    await this.#listener?.close()
    this.#credentials?.close()
    await this.#reloader.close()
    await this.#admin?.close()
    await this.#explainer.close()
    await this.#services.close()
    this.#overload.close()
  }
}

function after(ms: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, ms).unref())
}

const listenFaults: Readonly<Record<string, string>> = {
  EADDRINUSE: 'is taken. End what listens there, or',
  EACCES: 'is not for this user. Start as another, or',
  EADDRNOTAVAIL: 'is on no interface of this machine. Add the address, or'
}

function listenError(name: string, { host, port }: { host: string; port: number }, cause: Error): Error {
  const code = (cause as NodeJS.ErrnoException).code ?? cause.message
  const why = listenFaults[code] ?? `cannot be listened on (${code}). Look at the system, or`
  const message = `listeners.${name}: port ${port} of ${host} ${why} change \`listeners\` in the configuration.`
  return new Error(message, { cause })
}
