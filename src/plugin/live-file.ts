import { readFile, stat } from 'node:fs/promises'
import { ConfigWatcher } from '../config/watch.ts'
import type { Logger } from '../log.ts'
import type { ParseFile, WatchedFile } from './define.ts'

/** As a file of secrets: nothing that a plugin goes by is larger. */
const largest = 1024 * 1024

export interface LiveFileOptions {
  readonly log: Logger
  /** False: it is read at a start and at a reload only. */
  readonly watch: boolean
  /** As of `ConfigWatcher`, in milliseconds. */
  readonly poll?: number | undefined
}

/** A file that a plugin goes by. What is bad replaces nothing, and is said once. */
export class LiveFile<Value> implements WatchedFile<Value> {
  readonly #path: string
  readonly #parse: ParseFile<Value>
  readonly #options: LiveFileOptions
  #watching: Promise<ConfigWatcher> | null = null
  #reading: Promise<unknown> = Promise.resolve()
  #read: { text: string; value: Value } | null = null

  constructor(path: string, parse: ParseFile<Value>, options: LiveFileOptions) {
    this.#path = path
    this.#parse = parse
    this.#options = options
  }

  get current(): Value {
    if (this.#read === null) throw new Error(`${this.#path} has not been read`)
    return this.#read.value
  }

  /** Reads it now. Rejects when it cannot be read or understood, and then keeps what it had. */
  async load(): Promise<void> {
    // Before the first reading, so that no change falls between the two.
    if (this.#options.watch) {
      this.#watching ??= this.#watch()
      await this.#watching
    }
    await this.#readInTurn()
  }

  async close(): Promise<void> {
    const watcher = await this.#watching?.catch(() => null)
    watcher?.close()
  }

  #watch(): Promise<ConfigWatcher> {
    const { log, poll } = this.#options
    return ConfigWatcher.start({
      paths: [this.#path],
      poll,
      onChange: () => void this.#follow(),
      onError: err =>
        log.warn({ err, file: this.#path }, 'no events for the file: it is only looked at now and then')
    })
  }

  async #follow(): Promise<void> {
    const { log } = this.#options
    const file = this.#path
    try {
      if (await this.#readInTurn()) log.info({ file }, 'the file has changed and is in force')
    } catch (error) {
      const errors = (error as Error).message.split('\n')
      log.error({ file, errors }, 'the new content of the file is refused, the old one stays in force')
    }
  }

  /** One after the other: an older content must not replace a newer one. */
  #readInTurn(): Promise<boolean> {
    const turn = this.#reading.then(() => this.#readNow())
    this.#reading = turn.catch(() => undefined)
    return turn
  }

  /** @returns whether it has changed */
  async #readNow(): Promise<boolean> {
    const text = await this.#text()
    if (this.#read?.text === text) return false
    this.#read = { text, value: this.#parse(text, this.#path) }
    return true
  }

  async #text(): Promise<string> {
    try {
      const { size } = await stat(this.#path)
      if (size <= largest) return await readFile(this.#path, 'utf8')
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      throw new Error(`${this.#path} cannot be read (${code ?? 'unknown error'})`, { cause: error })
    }
    throw new Error(`${this.#path} is larger than 1 MiB`)
  }
}
