import { buildApp } from './app.ts'
import { type LoadedConfig, loadConfig } from './config/load.ts'
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
  readonly at: string
  /** Hash of the configuration in force. */
  readonly hash: string
  /** Why the newest configuration is not the one in force; each line is one error. */
  readonly errors: readonly string[]
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
  #status: ReloadStatus | null = null
  #running: Promise<void> | null = null
  #again = false

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
    await this.#swap(next)
    return next
  }

  /** Reloads; resolves when the newest content has been tried. Never rejects. */
  reload(): Promise<void> {
    if (this.#running !== null) {
      this.#again = true
      return this.#running
    }
    this.#running = this.#reloadUntilSettled().finally(() => {
      this.#running = null
    })
    return this.#running
  }

  /** Waits for requests of every generation, then closes them. */
  async close(): Promise<void> {
    await this.#running
    if (this.#current !== null) await this.#current.retire()
    await Promise.all(this.#retiring.values())
  }

  async #reloadUntilSettled(): Promise<void> {
    do {
      this.#again = false
      await this.#reloadOnce()
    } while (this.#again)
  }

  async #reloadOnce(): Promise<void> {
    const { registry, log } = this.#options.services
    try {
      const next = await this.#build()
      const before = this.#current
      await this.#swap(next)
      registry.number('config_reloads_total').child('success').value++
      log.info({ hash: next.hash, before: before?.hash }, 'configuration reloaded')
    } catch (error) {
      registry.number('config_reloads_total').child('error').value++
      registry.number('config_last_reload_successful').child().value = 0
      const errors = (error as Error).message.split('\n')
      this.#status = {
        result: 'error',
        at: new Date().toISOString(),
        hash: this.#current?.hash ?? '',
        errors
      }
      log.error(
        { errors, hash: this.#current?.hash },
        'the new configuration is refused, the old one stays in force'
      )
      await this.#release()
    }
  }

  async #build(): Promise<Generation> {
    const { configPath, pluginsPath, builtins, env, services } = this.#options
    const plugins = await loadPlugins(builtins, pluginsPath)
    const loaded: LoadedConfig = await loadConfig(configPath, { plugins, env })
    return buildApp(loaded.config, loaded.hash, plugins, services)
  }

  async #swap(next: Generation): Promise<void> {
    const { services, overload } = this.#options
    const { registry } = services
    const before = this.#current
    this.#current = next
    overload.maxLag = next.config.limits.overload.eventLoopLag
    this.#status = { result: 'success', at: new Date().toISOString(), hash: next.hash, errors: [] }
    registry.number('config_last_reload_successful').child().value = 1
    registry.number('config_info').reset()
    registry.number('config_info').child(next.hash).value = 1
    if (before === null) return
    if (JSON.stringify(before.config.listeners) !== JSON.stringify(next.config.listeners)) {
      services.log.warn('`listeners` have changed: they take effect with the next start')
    }
    this.#retiring.set(before, this.#retire(before))
  }

  async #retire(generation: Generation): Promise<void> {
    await generation.retire()
    this.#retiring.delete(generation)
    await this.#release()
  }

  /** Lets go of what no living generation uses: after the last request of an old one, and after one that was never in force. */
  async #release(): Promise<void> {
    const living = [this.current, ...this.#retiring.keys()]
    await this.#options.services.retain(
      this.current.config,
      new Set(living.flatMap(one => [...one.upstreams]))
    )
  }
}
