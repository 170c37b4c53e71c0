const quote = 0x22
const backslash = 0x5c
const colon = 0x3a

/** Deeper JSON than this is no token, and no body that anybody judges. It also bounds the recursion below. */
const maxDepth = 32

export type JsonObject = Record<string, unknown>

/** The value of a text; or what is wrong with it, in words for a log. */
export type StrictJson = { readonly value: unknown; readonly fault: null } | { readonly fault: string }

const notJson: StrictJson = Object.freeze({ fault: 'no JSON' })
const tooDeep: StrictJson = Object.freeze({ fault: `nested more than ${maxDepth} deep` })
const doubledName: StrictJson = Object.freeze({ fault: 'a name comes twice in one object' })

/**
 * A JSON value from text, unless the text is none, is nested more than 32 deep, or names a member twice in any object of it.
 * RFC 8259 section 4, RFC 7515 section 4 and RFC 7519 section 4 leave doubled names to the recipient, and two recipients that
 * choose differently are how a text is judged on one value and used with the other.
 *
 * Doubled names are found by counting: the text has one colon outside strings for each member, so a value with fewer
 * members than the text has lost one. Names need no comparison, whatever escapes they are spelled with.
 */
export function parseStrict(text: string): StrictJson {
  const members = countMembersOfText(text)
  if (members < 0) return members === unclosed ? notJson : tooDeep
  const value = parse(text)
  if (value === undefined) return notJson
  return countMembersOfValue(value) === members ? { value, fault: null } : doubledName
}

/** The same for a text that must be an object; undefined for all others. */
export function parseStrictObject(text: string): JsonObject | undefined {
  const parsed = parseStrict(text)
  if (parsed.fault !== null) return undefined
  const { value } = parsed
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
  return value as JsonObject
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

const unclosed = -1
const deep = -2

/** Colons outside strings; `unclosed` when a string does not end, `deep` when the nesting is too deep. */
function countMembersOfText(text: string): number {
  let members = 0
  let depth = 0
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (code === quote) {
      at = endOfString(text, at)
      if (at < 0) return unclosed
    } else if (code === colon) members++
    // `[` and `{` differ in one bit, and so do `]` and `}`.
    else if ((code | 0x20) === 0x7b && ++depth > maxDepth) return deep
    else if ((code | 0x20) === 0x7d) depth--
  }
  return members
}

/** The index of the quote that closes the string opened at `start`; -1 when there is none. */
export function endOfString(text: string, start: number): number {
  let end = text.indexOf('"', start + 1)
  while (end > 0) {
    let slashes = 0
    while (text.charCodeAt(end - 1 - slashes) === backslash) slashes++
    if (slashes % 2 === 0) return end
    end = text.indexOf('"', end + 1)
  }
  return -1
}

function countMembersOfValue(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0
  let members = 0
  if (Array.isArray(value)) {
    for (const item of value)
      if (typeof item === 'object' && item !== null) members += countMembersOfValue(item)
    return members
  }
  for (const item of Object.values(value)) {
    members++
    if (typeof item === 'object' && item !== null) members += countMembersOfValue(item)
  }
  return members
}
