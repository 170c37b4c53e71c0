import { isExactNumber } from './exact-number.ts'
import { endOfString } from './strict-json.ts'

/**
 * What of a text that `parseStrict` has taken another reader may take for something else; null: nothing. The text is the one that
 * `value` came from. RFC 7493 (I-JSON) names most of these; the others are what readers in use are known to do.
 */
export function ambiguityOf(text: string, value: unknown): string | null {
  if (hasInexactNumber(text)) return 'a number that a double does not hold'
  return suspicious.test(text) ? ambiguityOfValue(value) : null
}

/** Without any of these a text holds nothing that is looked for below: most are not walked through. */
const suspicious = /\\u|__proto__|[A-Z\u0080-\uffff]/

/** Fewer characters than this, and no exponent: every such number is exact. */
const surelyExact = 16

function hasInexactNumber(text: string): boolean {
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (code === quote) at = endOfString(text, at)
    else if (code === minus || (code >= zero && code <= nine)) {
      const start = at
      let hasExponent = false
      for (; at < text.length && isOfNumber(text.charCodeAt(at)); at++)
        if ((text.charCodeAt(at) | 0x20) === letterE) hasExponent = true
      if ((hasExponent || at - start >= surelyExact) && !isExactNumber(text.slice(start, at))) return true
      at--
    }
  }
  return false
}

function isOfNumber(code: number): boolean {
  return (
    (code >= zero && code <= nine) ||
    code === point ||
    code === minus ||
    code === plus ||
    (code | 0x20) === letterE
  )
}

function ambiguityOfValue(value: unknown): string | null {
  if (typeof value === 'string') return ambiguityOfString(value)
  if (typeof value !== 'object' || value === null) return null
  if (Array.isArray(value)) {
    for (const item of value) {
      const found = ambiguityOfValue(item)
      if (found !== null) return found
    }
    return null
  }
  return ambiguityOfObject(value)
}

function ambiguityOfObject(value: object): string | null {
  const names = Object.keys(value)
  for (const name of names) {
    // Readers that copy members one by one make it the prototype of what they read.
    if (name === '__proto__') return 'a member named __proto__'
    const found = ambiguityOfString(name) ?? ambiguityOfValue((value as Record<string, unknown>)[name])
    if (found !== null) return found
  }
  return names.length > 1 && names.some(hasCase) && new Set(names.map(fold)).size < names.length
    ? 'names that differ in nothing but case'
    : null
}

/**
 * Half of a surrogate pair is replaced by some readers, dropped by others; a NUL ends the text for those written in C. Either way
 * two texts become one.
 */
function ambiguityOfString(text: string): string | null {
  if (!text.isWellFormed()) return 'half of a surrogate pair'
  return text.includes('\0') ? 'a NUL character' : null
}

function hasCase(name: string): boolean {
  for (let at = 0; at < name.length; at++) {
    const code = name.charCodeAt(at)
    if (code > 0x7f || (code >= 0x41 && code <= 0x5a)) return true
  }
  return false
}

/** Go's encoding/json takes a member for a field whatever its case, by Unicode: both ways, for K is also U+212A and S is also U+017F. */
function fold(name: string): string {
  return name.toUpperCase().toLowerCase()
}

const quote = 0x22
const plus = 0x2b
const minus = 0x2d
const point = 0x2e
const zero = 0x30
const nine = 0x39
const letterE = 0x65
