import { createHash } from 'node:crypto'
import { type FSWatcher, watch } from 'node:fs'
import { readdir, readFile, realpath, stat } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'

export interface WatchOptions {
  /** Files or folders whose content matters. They may be missing: that is a content too. */
  paths: readonly string[]
  /** Called when the content has changed; never twice in a row for the same content. */
  onChange: () => void
  /** Milliseconds of quiet before a change is looked at: an editor or a kubelet does several things at once. Default 100. */
  debounce?: number
  /** Longest wait in ms while changes go on and on. Default 1,000. */
  maxWait?: number
  /** Milliseconds between two looks without any event: some file systems report none. Default 30,000. */
  poll?: number
  /** The system refuses to report events (no inotify watches left, say): from then on only the poll sees changes. */
  onError?: (error: unknown) => void
}

interface Watched {
  readonly watcher: FSWatcher
  /**
   * Device, inode and time of birth: a directory that was deleted and made again has the same name and is another one,
   * even where the file system gives it the inode of the one before.
   */
  readonly id: string
}

/**
 * Watches configuration. A ConfigMap is mounted as a folder whose `..data` link is swapped; `fs.watch` on a file hears
 * the first swap and is then deaf, so it is the directories that are watched (also those that links lead to), and the
 * content, not the event, that decides.
 */
export class ConfigWatcher {
  readonly #options: WatchOptions
  readonly #watched = new Map<string, Watched>()
  readonly #poll: NodeJS.Timeout
  #debounce: NodeJS.Timeout | null = null
  #firstEvent = 0
  #hash = ''
  #look: Promise<void> | null = null
  #again = false
  #closed = false
  #failed = false

  private constructor(options: WatchOptions) {
    this.#options = options
    this.#poll = setInterval(() => void this.look(), options.poll ?? 30_000).unref()
  }

  /**
   * Resolves when the content of this moment is known: whoever reads the configuration *afterwards* cannot miss a change.
   */
  static async start(options: WatchOptions): Promise<ConfigWatcher> {
    const watcher = new ConfigWatcher(options)
    await watcher.#watchDirectories()
    watcher.#hash = await contentHash(options.paths)
    return watcher
  }

  close(): void {
    this.#closed = true
    clearInterval(this.#poll)
    if (this.#debounce !== null) clearTimeout(this.#debounce)
    for (const { watcher } of this.#watched.values()) watcher.close()
    this.#watched.clear()
  }

  /** Compares the content now, without waiting for an event. Looks never overlap: one during another leads to one more. */
  look(): Promise<void> {
    if (this.#look !== null) {
      this.#again = true
      return this.#look
    }
    this.#look = this.#lookUntilSettled()
    return this.#look
  }

  async #lookUntilSettled(): Promise<void> {
    do {
      this.#again = false
      // First the directories: what changes after the hash was taken must be heard.
      await this.#watchDirectories()
      const hash = await contentHash(this.#options.paths)
      if (this.#closed) break
      if (hash !== this.#hash) {
        this.#hash = hash
        this.#options.onChange()
      }
    } while (this.#again)
    // Here, not when the promise has settled: a look that is asked for in between would be lost.
    this.#look = null
  }

  #soon(): void {
    if (this.#closed) return
    const { debounce = 100, maxWait = 1000 } = this.#options
    const now = performance.now()
    if (this.#debounce === null) this.#firstEvent = now
    else clearTimeout(this.#debounce)
    const wait = Math.min(debounce, Math.max(0, this.#firstEvent + maxWait - now))
    this.#debounce = setTimeout(() => {
      this.#debounce = null
      void this.look()
    }, wait).unref()
  }

  /** Follows the directories where they go: new ones, other ones of the same name, and no more those that are gone. */
  async #watchDirectories(): Promise<void> {
    const wanted = await directoriesOf(this.#options.paths)
    if (this.#closed) return
    for (const [directory, { watcher, id }] of this.#watched) {
      if (wanted.get(directory) === id) continue
      watcher.close()
      this.#watched.delete(directory)
    }
    for (const [directory, id] of wanted) {
      if (!this.#watched.has(directory)) this.#watch(directory, id)
    }
  }

  #watch(directory: string, id: string): void {
    try {
      const watcher = watch(directory, { persistent: false }, () => this.#soon())
      watcher.on('error', error => this.#fail(error))
      this.#watched.set(directory, { watcher, id })
      this.#failed = false
    } catch (error) {
      this.#fail(error)
    }
  }

  /** Said once, not at every look. */
  #fail(error: unknown): void {
    if (this.#failed || this.#closed) return
    this.#failed = true
    this.#options.onError?.(error)
  }
}

/**
 * The directories whose events matter, with their identity: of each file the one that it stands in and the one that its
 * link leads to, and above each folder the one that it would be made in again.
 */
async function directoriesOf(paths: readonly string[]): Promise<Map<string, string>> {
  const directories = new Map<string, string>()
  async function add(directory: string): Promise<void> {
    const found = await stat(directory).catch(() => null)
    if (found?.isDirectory()) {
      directories.set(directory, `${found.dev}:${found.ino}:${found.birthtimeMs}`)
    }
  }
  for (const path of paths) {
    const absolute = resolve(path)
    await add(dirname(absolute))
    await add(absolute)
    for (const file of await filesOf(absolute)) {
      const real = await realpath(file).catch(() => null)
      if (real !== null) await add(dirname(real))
    }
  }
  return directories
}

/** What a configuration or a plugin is read from; an editor's backup is not. */
const relevant = /\.(ya?ml|m?js|ts|json)$/

/** Hash of everything that a configuration is read from: names and bytes, or why there are none. Never rejects. */
export async function contentHash(paths: readonly string[]): Promise<string> {
  const hash = createHash('sha256')
  for (const path of paths) {
    for (const file of await filesOf(path)) {
      hash.update(file).update('\0')
      const content = await readFile(file).catch(codeOf)
      // The length tells `a` + `bc` from `ab` + `c`, and the type a missing file from one that says so.
      hash.update(`${typeof content}${content.length}\0`).update(content)
    }
  }
  return hash.digest('hex')
}

/** The file itself, or the files of a folder in name order; dot files are how a ConfigMap keeps its data. */
async function filesOf(path: string): Promise<string[]> {
  const names = await readdir(path).catch(() => null)
  if (names === null) return [path]
  return names
    .filter(name => !name.startsWith('.') && relevant.test(name))
    .sort()
    .map(name => join(path, name))
}

function codeOf(error: NodeJS.ErrnoException): string {
  return error.code ?? 'unknown'
}
