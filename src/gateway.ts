import type { FastifyInstance } from 'fastify'
import { builtins } from '../plugins/index.ts'
import { buildAdmin } from './admin.ts'
import { ConfigWatcher } from './config/watch.ts'
import { PublicListener } from './listener.ts'
import { createLog, type Logger } from './log.ts'
import { OverloadGuard } from './overload.ts'
import { Registry } from './registry.ts'
import { Reloader } from './reload.ts'
import { Services } from './services.ts'
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
}

/** Addresses that the gateway answers on. */
export interface GatewayAddresses {
  readonly http: string | null
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
  #watcher: ConfigWatcher | null = null
  #addresses: GatewayAddresses | null = null
  #isDraining = false

  constructor(options: GatewayOptions) {
    this.#options = options
    this.log = options.log ?? createLog('info')
    this.registry = new Registry()
    this.registry.number('build_info').child(version, process.version).value = 1
    this.#services = new Services(this.log, this.registry)
    this.#overload = new OverloadGuard(this.registry)
    this.#reloader = new Reloader({
      configPath: options.config,
      pluginsPath: options.plugins,
      builtins,
      env: options.env ?? process.env,
      services: this.#services,
      overload: this.#overload
    })
  }

  get addresses(): GatewayAddresses {
    if (this.#addresses === null) throw new Error('the gateway has not started')
    return this.#addresses
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

  reload(): Promise<void> {
    return this.#reloader.reload()
  }

  /**
   * Ends without a failed request: readiness goes off while everything is still served (`drainDelay`), answers tell their
   * clients to go elsewhere, the sockets close, and what is still under way has until `drainTimeout`.
   * @returns whether every request could end
   */
  async drain(): Promise<boolean> {
    if (this.#isDraining) return true
    this.#isDraining = true
    this.#watcher?.close()
    const { drainDelay, drainTimeout } = this.#reloader.current.config.limits
    this.log.info({ drainDelay, drainTimeout }, 'draining: not ready, still serving')
    this.#listener?.startDraining()
    await after(drainDelay)
    const deadline = after(drainTimeout)
    const closed = (this.#listener?.close() ?? Promise.resolve()).then(() => true)
    const inTime = await Promise.race([closed, deadline.then(() => false)])
    if (!inTime) {
      this.log.warn('the drain deadline has passed: ending what is under way')
      this.#listener?.destroy()
    }
    await this.close()
    return inTime
  }

  /** Ends at once. */
  async close(): Promise<void> {
    this.#isDraining = true
    this.#watcher?.close()
    this.#listener?.destroy()
    await this.#listener?.close()
    if (this.#reloader.hasGeneration) await this.#reloader.close()
    await this.#admin?.close()
    await this.#services.close()
    this.#overload.close()
  }

  async #start(): Promise<GatewayAddresses> {
    const { config } = await this.#reloader.start()
    this.#admin = await buildAdmin({
      registry: this.registry,
      current: () => this.#reloader.current,
      status: () => this.#reloader.status,
      isReady: () => this.#reloader.hasGeneration && !this.#isDraining
    })
    const { admin, http } = config.listeners
    const adminAddress = await this.#admin.listen({ host: admin.host, port: admin.port })
    this.log.info(`admin listening on ${adminAddress}`)
    let httpAddress: string | null = null
    if (http !== undefined) {
      this.#listener = new PublicListener({
        limits: config.limits,
        current: () => this.#reloader.current,
        overload: this.#overload,
        registry: this.registry,
        log: this.log
      })
      const port = await this.#listener.listen(http)
      httpAddress = `http://${http.host.includes(':') ? `[${http.host}]` : http.host}:${port}`
      this.log.info(`http listening on ${httpAddress}`)
    }
    if (this.#options.watch !== false) await this.#watch()
    this.#addresses = { http: httpAddress, admin: adminAddress }
    return this.#addresses
  }

  async #watch(): Promise<void> {
    const { config, plugins, poll } = this.#options
    this.#watcher = await ConfigWatcher.start({
      paths: plugins === undefined ? [config] : [config, plugins],
      poll,
      onChange: () => void this.#reloader.reload(),
      onError: err => this.log.warn({ err }, 'the configuration cannot be watched at the moment')
    })
  }
}

function after(ms: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, ms).unref())
}
