import type { PendingSignIn } from './contract.ts'

interface UnderWay {
  readonly signIn: PendingSignIn
  readonly from: string
  readonly expires: number
}

/**
 * Sign-ins under way in this process, the oldest first. Anybody may begin one, so there is a most for each client: whoever begins them
 * without end drops those of their own, and nobody else's.
 */
export class SignInsUnderWay {
  readonly #max: number
  readonly #maxOfOne: number
  readonly #all = new Map<string, UnderWay>()
  readonly #keysOf = new Map<string, Set<string>>()

  constructor(max: number, maxOfOne: number) {
    this.#max = max
    this.#maxOfOne = maxOfOne
  }

  keep(key: string, underWay: UnderWay, now: number): void {
    this.#drop(key)
    const { from } = underWay
    const own = this.#keysOf.get(from) ?? new Set<string>()
    if (own.size >= this.#maxOfOne) this.#drop(firstOf(own))
    for (const [old, { expires }] of this.#all) {
      if (now < expires && this.#all.size < this.#max) break
      this.#drop(old)
    }
    this.#all.set(key, underWay)
    // Not before: an empty one is let go of with its last key.
    this.#keysOf.set(from, own.add(key))
  }

  take(key: string, now: number): PendingSignIn | null {
    const found = this.#all.get(key)
    if (found === undefined) return null
    this.#drop(key)
    return now < found.expires ? found.signIn : null
  }

  clear(): void {
    this.#all.clear()
    this.#keysOf.clear()
  }

  #drop(key: string): void {
    const dropped = this.#all.get(key)
    if (dropped === undefined) return
    this.#all.delete(key)
    const own = this.#keysOf.get(dropped.from)
    own?.delete(key)
    if (own?.size === 0) this.#keysOf.delete(dropped.from)
  }
}

function firstOf(keys: ReadonlySet<string>): string {
  return keys.values().next().value as string
}
