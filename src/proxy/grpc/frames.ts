/** One byte of flags, four of length (PROTOCOL-HTTP2.md, "Length-Prefixed-Message"). */
const prefixLength = 5

/**
 * Follows the prefixes of the messages in a body, however it is cut into chunks. It reads the lengths and keeps nothing of the
 * messages.
 */
export class MessageCounter {
  readonly #max: number
  /** Bytes that are still to come of the message that has begun. */
  #left = 0
  /** Bytes of a prefix that was cut in two, and the length as far as they say it. */
  #partial = 0
  #length = 0

  /** @param max bytes of the largest message */
  constructor(max: number) {
    this.#max = max
  }

  /** The next chunk; false: a message begins in it that is too large. */
  take(chunk: Uint8Array): boolean {
    const end = chunk.length
    let at = 0
    while (at < end) {
      if (this.#left > 0) {
        const taken = Math.min(this.#left, end - at)
        this.#left -= taken
        at += taken
        continue
      }
      if (this.#partial > 0) this.#length = this.#length * 256 + (chunk[at] as number)
      at++
      if (++this.#partial < prefixLength) continue
      if (this.#length > this.#max) return false
      this.#left = this.#length
      this.#partial = 0
      this.#length = 0
    }
    return true
  }
}
