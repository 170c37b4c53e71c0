const alphabet = /^[A-Za-z0-9+/=]*$/

/**
 * Decodes base64 that comes in pieces, cut anywhere. It may have padding in the middle: PROTOCOL-WEB.md lets each part be
 * encoded by itself. Node's own decoder reads on over padding as if it were not there.
 */
export class Base64Decoder {
  #rest = ''

  /** The bytes of the next piece as far as they are complete; null: it is no base64. */
  take(piece: Buffer): Buffer | null {
    const text = this.#rest + piece.toString('latin1')
    if (!alphabet.test(text)) return null
    const whole = text.length - (text.length % 4)
    this.#rest = text.slice(whole)
    const parts: Buffer[] = []
    for (let start = 0; start < whole; ) {
      const padding = text.indexOf('=', start)
      const end = padding === -1 || padding >= whole ? whole : padding - (padding % 4) + 4
      if (padding !== -1 && padding < end && !isPadded(text, padding, end)) return null
      parts.push(Buffer.from(text.slice(start, end), 'base64'))
      start = end
    }
    return parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts)
  }

  /** Whether nothing is left over. */
  get isComplete(): boolean {
    return this.#rest === ''
  }
}

/** One or two of the last characters of a group, and nothing else behind the first. */
function isPadded(text: string, padding: number, end: number): boolean {
  const count = end - padding
  return count === 1 || (count === 2 && text[padding + 1] === '=')
}
