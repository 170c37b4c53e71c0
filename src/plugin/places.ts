/** How many are under way at once, for each key. */
export interface Places {
  count(key: string): number
  enter(key: string): void
  leave(key: string): void
}

/** Keys are there only while somebody is under way, so that those bound it. */
export class CountedPlaces implements Places {
  readonly #underWay = new Map<string, number>()

  count(key: string): number {
    return this.#underWay.get(key) ?? 0
  }

  enter(key: string): void {
    this.#underWay.set(key, this.count(key) + 1)
  }

  leave(key: string): void {
    const left = this.count(key) - 1
    if (left <= 0) this.#underWay.delete(key)
    else this.#underWay.set(key, left)
  }
}
