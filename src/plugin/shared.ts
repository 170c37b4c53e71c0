interface Entry {
  readonly value: unknown
  readonly close: () => unknown
  users: number
}

/**
 * What plugins of several routes and generations use together: made for the first, closed with the last of them. A reload
 * builds the new generation before the old one ends, so what both use is never made anew.
 */
export class SharedThings {
  readonly #entries = new Map<string, Entry>()

  /** The thing of that key. Whoever has it calls `release` once, when it needs it no more. */
  acquire<Value>(
    key: string,
    make: () => Value,
    close: (value: Value) => unknown
  ): { value: Value; release: () => unknown } {
    let entry = this.#entries.get(key)
    if (entry === undefined) {
      const value = make()
      entry = { value, close: () => close(value), users: 0 }
      this.#entries.set(key, entry)
    }
    entry.users++
    return { value: entry.value as Value, release: this.#releaseOnce(key, entry) }
  }

  /** Closes everything, used or not. */
  async close(): Promise<void> {
    const entries = [...this.#entries.values()]
    this.#entries.clear()
    await Promise.all(entries.map(entry => entry.close()))
  }

  #releaseOnce(key: string, entry: Entry): () => unknown {
    let isReleased = false
    return () => {
      if (isReleased) return undefined
      isReleased = true
      if (--entry.users > 0 || this.#entries.get(key) !== entry) return undefined
      this.#entries.delete(key)
      return entry.close()
    }
  }
}
