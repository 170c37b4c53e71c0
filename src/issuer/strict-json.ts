const quote = 0x22
const backslash = 0x5c
const colon = 0x3a

/** Deeper JSON than this is no token. It also bounds the recursion below. */
const maxDepth = 32

export type JsonObject = Record<string, unknown>

/**
 * A JSON object from text, or undefined when the text is not one, is nested more than 32 deep, or names a member
 * twice in any object of it. RFC 7515 section 4 and RFC 7519 section 4 leave doubled names to the recipient, and two
 * recipients that choose differently are how a token is judged on one value and used with the other.
 *
 * Doubled names are found by counting: the text has one colon outside strings for each member, so a value with fewer
 * members than the text has lost one. Names need no comparison, whatever escapes they are spelled with.
 */
export function parseStrictObject(text: string): JsonObject | undefined {
  const members = countMembersOfText(text)
  if (members < 0) return undefined
  const value = parse(text)
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
  return countMembersOfValue(value) === members ? (value as JsonObject) : undefined
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** Colons outside strings; -1 when a string does not end or the nesting is too deep. */
function countMembersOfText(text: string): number {
  let members = 0
  let depth = 0
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (code === quote) {
      at = endOfString(text, at)
      if (at < 0) return -1
    } else if (code === colon) members++
    // `[` and `{` differ in one bit, and so do `]` and `}`.
    else if ((code | 0x20) === 0x7b && ++depth > maxDepth) return -1
    else if ((code | 0x20) === 0x7d) depth--
  }
  return members
}

/** The index of the quote that closes the string opened at `start`; -1 when there is none. */
function endOfString(text: string, start: number): number {
  let end = text.indexOf('"', start + 1)
  while (end > 0) {
    let slashes = 0
    while (text.charCodeAt(end - 1 - slashes) === backslash) slashes++
    if (slashes % 2 === 0) return end
    end = text.indexOf('"', end + 1)
  }
  return -1
}

function countMembersOfValue(value: object): number {
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
