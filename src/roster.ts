/** Something that is in one roster at most. */
export interface Listed {
  /** Its place in the roster; -1 while it is in none. Only the roster writes it. */
  place: number
}

/**
 * What is under way, for much coming and going. A `Set` copies itself every so many changes, and each of the copies that are
 * given up keeps what was in it from the collector of the young until the whole heap is collected.
 */
export class Roster<T extends Listed> implements Iterable<T> {
  readonly #list: T[] = []

  get size(): number {
    return this.#list.length
  }

  add(one: T): void {
    if (one.place !== -1) return
    one.place = this.#list.length
    this.#list.push(one)
  }

  /** Does nothing for what is not in it. */
  delete(one: T): void {
    const { place } = one
    if (place === -1) return
    const last = this.#list.pop() as T
    one.place = -1
    if (last === one) return
    this.#list[place] = last
    last.place = place
  }

  /** Those that are in it now, whatever comes or goes meanwhile. */
  [Symbol.iterator](): Iterator<T> {
    return this.#list.slice()[Symbol.iterator]()
  }
}
