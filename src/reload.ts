import { buildApp } from './app.ts'
import { loadConfig } from './config/load.ts'
import type { Config } from './config/schema.ts'
import type { Generation } from './generation.ts'
import type { OverloadGuard } from './overload.ts'
import type { GatewayPlugin } from './plugin/define.ts'
import { loadPlugins } from './plugin/load.ts'
import type { Services } from './services.ts'

export interface ReloadOptions {
  configPath: string
  pluginsPath: string | undefined
  builtins: readonly GatewayPlugin[]
  env: Readonly<Record<string, string | undefined>>
  services: Services
  overload: OverloadGuard
}

/** How the last attempt to load a configuration went; shown by `/config`. */
export interface ReloadStatus {
  readonly result: 'success' | 'error'
  /** When it ended, ISO 8601. */
  readonly at: string
  /** Hash of the configuration in force. */
  readonly hash: string
  /** Why the newest configuration is not the one in force; each line is one error. */
  readonly errors: readonly string[]
  /** Keys of the configuration in force that belong to the sockets, and differ from those that the process was started with. */
  readonly needsRestart: readonly string[]
}

/**
 * Holds the generation in force and replaces it: load, build, swap. The new one is built whole before the swap; when it
 * cannot be, the old one stays and the reason is said. Attempts never overlap: changes during one lead to one more.
 */
export class Reloader {
  readonly #options: ReloadOptions
  /** Replaced generations with requests still under way, and the promise of their end. */
  readonly #retiring = new Map<Generation, Promise<void>>()
  #current: Generation | null = null
  #startedWith: Config | null = null
  #status: ReloadStatus | null = null
  #running: Promise<void> | null = null
  #again = false
  #building = false
  #closed = false

  constructor(options: ReloadOptions) {
    this.#options = options
  }

  get current(): Generation {
    if (this.#current === null) throw new Error('no configuration is in force')
    return this.#current
  }

  get hasGeneration(): boolean {
    return this.#current !== null
  }

  get status(): ReloadStatus | null {
    return this.#status
  }

  /** The first configuration: nothing stays when it fails, so the error is the caller's. */
  async start(): Promise<Generation> {
    const next = await this.#build()
    if (this.#closed) {
      await next.retire()
      throw new Error('stopped before the configuration was in force')
    }
    this.#startedWith = next.config
    this.#swap(next)
    return next
  }

  /** Reloads; resolves when the newest content has been tried. Never rejects. */
  reload(): Promise<void> {
    if (this.#closed || this.#current === null) return Promise.resolve()
    if (this.#running !== null) {
      this.#again = true
      return this.#running
    }
    this.#running = this.#reloadUntilSettled()
    return this.#running
  }

  /** Waits for requests of every generation, then closes them. No reload is taken up from here on. */
  async close(): Promise<void> {
    this.#closed = true
    await this.#running
    if (this.#current !== null) await this.#retire(this.#current)
    await Promise.all(this.#retiring.values())
  }

  async #reloadUntilSettled(): Promise<void> {
    do {
      this.#again = false
      await this.#reloadOnce()
    } while (this.#again && !this.#closed)
    // Here, not when the promise has settled: a reload that is asked for in between would be lost.
    this.#running = null
  }

  async #reloadOnce(): Promise<void> {
    const { registry, log } = this.#options.services
    try {
      const next = await this.#build()
      const before = this.current
      this.#swap(next)
      this.#retiring.set(before, this.#retire(before))
      registry.number('config_reloads_total').child('success').value++
      log.info({ hash: next.hash, before: before.hash, routes: next.routes.length }, 'configuration reloaded')
    } catch (error) {
      registry.number('config_reloads_total').child('error').value++
      this.#refuse(error)
    }
    await this.#release()
  }

  async #build(): Promise<Generation> {
    const { configPath, pluginsPath, builtins, env, services } = this.#options
    this.#building = true
    try {
      const plugins = await loadPlugins(builtins, pluginsPath)
      const { config, hash } = await loadConfig(configPath, { plugins, env })
      return await buildApp(config, hash, plugins, services)
    } finally {
      this.#building = false
    }
  }

  #swap(next: Generation): void {
    const { services, overload } = this.#options
    const { registry } = services
    this.#current = next
    overload.maxLag = next.config.limits.overload.eventLoopLag
    registry.number('config_last_reload_successful').child().value = 1
    registry.number('config_info').reset()
    registry.number('config_info').child(next.hash).value = 1
    const needsRestart = socketKeys(this.#startedWith as Config, next.config)
    if (needsRestart.length > 0 && this.#status?.needsRestart.join() !== needsRestart.join()) {
      services.log.warn({ keys: needsRestart }, 'changes that take effect with the next start')
    }
    this.#report('success', [], needsRestart)
  }

  #refuse(error: unknown): void {
    const { registry, log } = this.#options.services
    const errors = (error as Error).message.split('\n')
    registry.number('config_last_reload_successful').child().value = 0
    this.#report('error', errors, this.#status?.needsRestart ?? [])
    log.error(
      { errors, hash: this.current.hash },
      'the new configuration is refused, the old one stays in force'
    )
  }

  #report(result: ReloadStatus['result'], errors: readonly string[], needsRestart: readonly string[]): void {
    const { hash } = this.current
    this.#status = { result, at: new Date().toISOString(), hash, errors, needsRestart }
  }

  /** Never rejects: a plugin that cannot close is its own matter, and everything else still closes. */
  async #retire(generation: Generation): Promise<void> {
    try {
      await generation.retire()
    } catch (err) {
      this.#options.services.log.error({ err, hash: generation.hash }, 'a plugin failed to close')
    }
    if (this.#retiring.delete(generation)) await this.#release()
  }

  /**
   * Lets go of what no living generation uses: after the last request of an old one, and after one that was never in
   * force. Not while one is being built, which already has upstreams and series that it alone uses: its end releases.
   */
  async #release(): Promise<void> {
    if (this.#building) return
    const living = [this.current, ...this.#retiring.keys()]
    await this.#options.services.retain(
      living.map(({ config }) => config),
      new Set(living.flatMap(({ upstreams }) => [...upstreams]))
    )
  }
}

const limitsOfSockets = [
  'headerTimeout',
  'requestTimeout',
  'keepAliveTimeout',
  'maxHeaderBytes',
  'maxHeaderCount',
  'maxConnections',
  'maxStreamsPerConnection'
] as const

/** What a reload cannot change, because the sockets outlive generations. */
function socketKeys(started: Config, next: Config): string[] {
  const limits = limitsOfSockets.filter(key => started.limits[key] !== next.limits[key])
  const sameListeners = JSON.stringify(started.listeners) === JSON.stringify(next.listeners)
  return [...(sameListeners ? [] : ['listeners']), ...limits.map(key => `limits.${key}`)]
}
