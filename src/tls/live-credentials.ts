import type { SecretRef } from '../config/schema.ts'
import { ConfigWatcher } from '../config/watch.ts'
import type { Logger } from '../log.ts'
import { processTimers, type Timers } from '../timers.ts'
import { type Credentials, loadCredentials, secretsOf } from './credentials.ts'
import type { TlsConfig } from './examine.ts'

/**
 * How long what does not fit together may stay so before it is an error. Certificate and key are two files: whoever renews
 * them without the swap of a Secret volume writes one after the other.
 */
const settleTime = 5000

export interface LiveCredentialsOptions {
  tls: TlsConfig
  env?: Readonly<Record<string, string | undefined>>
  log: Logger
  /** False: the files are read once. */
  watch?: boolean
  /** As of `ConfigWatcher`, in milliseconds. */
  debounce?: number
  poll?: number | undefined
  timers?: Timers
}

/** The certificates in force, and what replaces them when a file changes. What is bad replaces nothing. */
export class LiveCredentials {
  readonly #options: LiveCredentialsOptions
  readonly #timers: Timers
  readonly #listeners = new Set<(credentials: Credentials) => void>()
  #watcher: ConfigWatcher | null = null
  #current: Credentials
  #loading: Promise<void> | null = null
  #again = false
  #settling: unknown = null
  #closed = false

  private constructor(options: LiveCredentialsOptions, current: Credentials) {
    this.#options = options
    this.#timers = options.timers ?? processTimers
    this.#current = current
  }

  /** Rejects when the certificates are bad, with the causes and remedies. */
  static async start(options: LiveCredentialsOptions): Promise<LiveCredentials> {
    let live: LiveCredentials | null = null
    let changedDuringStart = false
    // Before the first reading, so that no change falls between the two.
    const watcher = await watchFiles(options, () => {
      if (live === null) changedDuringStart = true
      else void live.reload()
    })
    try {
      live = new LiveCredentials(options, await loadCredentials(options.tls, options.env))
    } catch (error) {
      watcher?.close()
      throw error
    }
    live.#watcher = watcher
    live.#say('TLS certificates loaded')
    if (changedDuringStart) void live.reload()
    return live
  }

  get current(): Credentials {
    return this.#current
  }

  /** Calls back with what replaces the current ones, from then on. */
  onChange(listener: (credentials: Credentials) => void): void {
    this.#listeners.add(listener)
  }

  /** Reads all files now; resolves when the newest content is in force or was found bad. Never rejects. */
  reload(): Promise<void> {
    this.#stopSettling()
    return this.#load(true)
  }

  close(): void {
    this.#closed = true
    this.#watcher?.close()
    this.#stopSettling()
    this.#listeners.clear()
  }

  #load(mayChange: boolean): Promise<void> {
    if (this.#loading !== null) {
      this.#again = true
      return this.#loading
    }
    this.#loading = this.#loadUntilSettled(mayChange)
    return this.#loading
  }

  async #loadUntilSettled(mayChange: boolean): Promise<void> {
    let patient = mayChange
    do {
      this.#again = false
      await this.#loadOnce(patient)
      patient = true
    } while (this.#again && !this.#closed)
    // Here, not when the promise has settled: a load that is asked for in between would be lost.
    this.#loading = null
  }

  async #loadOnce(mayChange: boolean): Promise<void> {
    try {
      const next = await loadCredentials(this.#options.tls, this.#options.env)
      if (this.#closed) return
      this.#stopSettling()
      this.#current = next
      for (const listener of this.#listeners) listener(next)
      this.#say('TLS certificates reloaded')
    } catch (error) {
      if (this.#closed) return
      if (mayChange) this.#settle()
      else this.#refuse(error)
    }
  }

  /** The second half of a change is perhaps on its way: its event comes before this timer, and starts anew. */
  #settle(): void {
    this.#settling ??= this.#timers.setTimeout(() => {
      this.#settling = null
      void this.#load(false)
    }, settleTime)
  }

  #stopSettling(): void {
    if (this.#settling !== null) this.#timers.clearTimeout(this.#settling)
    this.#settling = null
  }

  #refuse(error: unknown): void {
    const errors = (error as Error).message.split('\n')
    this.#options.log.error({ errors }, 'the new TLS certificates are refused, the old ones stay in force')
  }

  #say(what: string): void {
    const { served, warnings } = this.#current
    const { log } = this.#options
    log.info({ certificates: served }, what)
    for (const warning of warnings) log.warn(warning)
  }
}

async function watchFiles(
  options: LiveCredentialsOptions,
  onChange: () => void
): Promise<ConfigWatcher | null> {
  const paths = secretsOf(options.tls).flatMap(pathOf)
  if (paths.length === 0 || options.watch === false) return null
  return ConfigWatcher.start({
    paths,
    onChange,
    debounce: options.debounce,
    poll: options.poll,
    onError: err =>
      options.log.warn({ err }, 'no events for the TLS certificates: they are only looked at now and then')
  })
}

function pathOf(ref: SecretRef): string[] {
  return 'file' in ref ? [ref.file] : []
}
