import { createHash } from 'node:crypto'
import { type FSWatcher, watch } from 'node:fs'
import { readdir, readFile, realpath, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'

export interface WatchOptions {
  /** Files or folders whose content matters. */
  paths: readonly string[]
  /** Called when the content has changed; never twice for the same content. */
  onChange: () => void
  /** Milliseconds of quiet before a change is looked at: an editor or a kubelet does several things at once. Default 100. */
  debounce?: number
  /** Milliseconds between two looks without any event: some file systems report none. Default 30,000. */
  poll?: number
  onError?: (error: unknown) => void
}

/**
 * Watches configuration. A ConfigMap is mounted as a folder whose `..data` link is swapped; `fs.watch` on a file hears
 * the first swap and is then deaf, so it is the directory that is watched, and the content, not the event, that decides.
 */
export class ConfigWatcher {
  readonly #options: WatchOptions
  readonly #watchers: FSWatcher[] = []
  #debounce: NodeJS.Timeout | null = null
  readonly #poll: NodeJS.Timeout
  #hash: string | null = null
  #looking = false
  #again = false
  #closed = false

  private constructor(options: WatchOptions) {
    this.#options = options
    this.#poll = setInterval(() => this.#soon(), options.poll ?? 30_000).unref()
  }

  static async start(options: WatchOptions): Promise<ConfigWatcher> {
    const watcher = new ConfigWatcher(options)
    for (const directory of new Set(await Promise.all(options.paths.map(directoryOf))))
      watcher.#watch(directory)
    watcher.#hash = await contentHash(options.paths)
    return watcher
  }

  close(): void {
    this.#closed = true
    clearInterval(this.#poll)
    if (this.#debounce !== null) clearTimeout(this.#debounce)
    for (const watcher of this.#watchers) watcher.close()
  }

  #watch(directory: string): void {
    try {
      const watcher = watch(directory, { persistent: false }, () => this.#soon())
      // A directory that goes away is noticed by the poll, and by whoever reads it.
      watcher.on('error', error => this.#options.onError?.(error))
      this.#watchers.push(watcher)
    } catch (error) {
      this.#options.onError?.(error)
    }
  }

  #soon(): void {
    if (this.#closed) return
    if (this.#debounce !== null) clearTimeout(this.#debounce)
    this.#debounce = setTimeout(() => void this.#look(), this.#options.debounce ?? 100).unref()
  }

  async #look(): Promise<void> {
    if (this.#looking) {
      this.#again = true
      return
    }
    this.#looking = true
    try {
      const hash = await contentHash(this.#options.paths)
      if (!this.#closed && hash !== this.#hash) {
        this.#hash = hash
        this.#options.onChange()
      }
    } catch (error) {
      // Half-way through a swap the files may be missing; the next event or the poll looks again.
      this.#options.onError?.(error)
      this.#soon()
    } finally {
      this.#looking = false
      if (this.#again) {
        this.#again = false
        this.#soon()
      }
    }
  }
}

async function directoryOf(path: string): Promise<string> {
  return (await stat(path)).isDirectory() ? path : dirname(path)
}

/** Hash of everything below the paths that a configuration is read from: names and bytes. */
export async function contentHash(paths: readonly string[]): Promise<string> {
  const hash = createHash('sha256')
  for (const path of paths) {
    for (const file of await filesOf(path))
      hash
        .update(file)
        .update('\0')
        .update(await readFile(file))
        .update('\0')
  }
  return hash.digest('hex')
}

async function filesOf(path: string): Promise<string[]> {
  const real = await realpath(path)
  if (!(await stat(real)).isDirectory()) return [path]
  const names = (await readdir(path)).filter(name => !name.startsWith('.')).sort()
  const files = await Promise.all(
    names.map(async name => ((await stat(join(path, name))).isFile() ? [join(path, name)] : []))
  )
  return files.flat()
}
