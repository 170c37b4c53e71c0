/**
 * Judges a request target on the bytes that will be forwarded (RFC 3986). What could be read in two ways is refused,
 * never normalised: policy, router and upstream then see one and the same path.
 */

/** Things only some routes take: the gate leaves a flag, the route decides once it is known. */
export const traits = Object.freeze({
  /** A header name has `_`: for routes with `allowUnderscores`. */
  underscores: 1,
  /** `%2f` in the path: for routes with `encodedSlashes`. */
  encodedSlash: 2,
  /** `%5c` in the path: for routes with `encodedSlashes`. */
  encodedBackslash: 4,
  /** `%25` in the path: for routes with `encodedSlashes`. */
  encodedPercent: 8
})

/** All traits that `encodedSlashes: true` on a route lets through. */
export const encodedSlashTraits = traits.encodedSlash | traits.encodedBackslash | traits.encodedPercent

/** Answers of `judgeTarget`; zero and above are trait flags of a target that is well formed. */
export const malformedTarget = -1
export const longTarget = -2

// Zero is a character that a path never holds.
const plain = 1
const slash = 2
const percent = 3
const question = 4

/** RFC 3986 `pchar` without `;`: path parameters are read by some servers and skipped by others. */
const pathClass = classes(
  "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,=:@",
  plain
)
pathClass[0x2f] = slash
pathClass[0x25] = percent
pathClass[0x3f] = question

/** ALPHA, DIGIT, `-`, `.`, `_`, `~`: RFC 3986 2.3 says that their encoded and plain forms are the same thing. */
const unreserved = classes('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~', 1)

const hexDigit = hexValues()

function classes(characters: string, value: number): Uint8Array {
  const table = new Uint8Array(256)
  for (let i = 0; i < characters.length; i++) table[characters.charCodeAt(i)] = value
  return table
}

function hexValues(): Int8Array {
  const table = new Int8Array(256).fill(-1)
  for (let i = 0; i < 16; i++) {
    const digit = i.toString(16)
    table[digit.charCodeAt(0)] = i
    table[digit.toUpperCase().charCodeAt(0)] = i
  }
  return table
}

/**
 * Judges an origin-form target (`/path?query`).
 * @param maxPathBytes longest path, without its query
 * @returns flags of `traits`, or `malformedTarget`, or `longTarget`
 */
export function judgeTarget(target: string, maxPathBytes: number): number {
  const length = target.length
  if (length === 0 || target.charCodeAt(0) !== 0x2f) return malformedTarget
  let found = 0
  // Where the current segment starts; `%2f` and `%5c` start one as well, because an upstream may decode before it splits.
  let segment = 1
  let i = 1
  for (; i < length; i++) {
    const kind = pathClass[target.charCodeAt(i)]
    if (kind === plain) continue
    if (kind === slash) {
      if (isBadSegment(target, segment, i)) return malformedTarget
      segment = i + 1
      continue
    }
    if (kind === percent) {
      const code = decodeEscape(target, i)
      if (code < 0x20 || code === 0x7f) return malformedTarget
      if (code >= 0x80) {
        i = endOfUtf8(target, i, code)
        if (i === -1) return malformedTarget
        continue
      }
      if (unreserved[code] === 1) return malformedTarget
      if (code === 0x2f || code === 0x5c) {
        if (isBadSegment(target, segment, i)) return malformedTarget
        segment = i + 3
        found |= code === 0x2f ? traits.encodedSlash : traits.encodedBackslash
      } else if (code === 0x25) {
        // `%25` before two hex digits is one escape for whoever decodes once and another for whoever decodes twice.
        if (hexAt(target, i + 3) !== -1 && hexAt(target, i + 4) !== -1) return malformedTarget
        found |= traits.encodedPercent
      }
      i += 2
      continue
    }
    if (kind === question) break
    return i > maxPathBytes ? longTarget : malformedTarget
  }
  if (i > maxPathBytes) return longTarget
  // The last segment may be empty: `/a/` is a path of its own.
  if (segment < i && isDots(target, segment, i)) return malformedTarget
  for (i++; i < length; i++) {
    const code = target.charCodeAt(i)
    if (code <= 0x20 || code >= 0x7f || code === 0x23) return malformedTarget
  }
  return found
}

/** An empty segment (`//`), `.` or `..`. */
function isBadSegment(target: string, start: number, end: number): boolean {
  return end === start || isDots(target, start, end)
}

function isDots(target: string, start: number, end: number): boolean {
  const size = end - start
  if (size > 2 || target.charCodeAt(start) !== 0x2e) return false
  return size === 1 || target.charCodeAt(start + 1) === 0x2e
}

function hexAt(target: string, index: number): number {
  return index < target.length ? (hexDigit[target.charCodeAt(index)] ?? -1) : -1
}

/** The byte that `%XX` at `index` stands for; -1 when it is no escape. */
function decodeEscape(target: string, index: number): number {
  if (index >= target.length || target.charCodeAt(index) !== 0x25) return -1
  const high = hexAt(target, index + 1)
  const low = hexAt(target, index + 2)
  return high === -1 || low === -1 ? -1 : high * 16 + low
}

/**
 * Escaped bytes above 0x7f must be UTF-8 in its shortest form (RFC 3629): `%c0%ae` is `.` to a careless decoder.
 * @returns index of the last character of the sequence, or -1
 */
function endOfUtf8(target: string, index: number, lead: number): number {
  let more = 0
  let lowest = 0x80
  let highest = 0xbf
  if (lead >= 0xc2 && lead <= 0xdf) more = 1
  else if (lead >= 0xe0 && lead <= 0xef) more = 2
  else if (lead >= 0xf0 && lead <= 0xf4) more = 3
  else return -1
  if (lead === 0xe0) lowest = 0xa0
  else if (lead === 0xed) highest = 0x9f
  else if (lead === 0xf0) lowest = 0x90
  else if (lead === 0xf4) highest = 0x8f
  let at = index
  for (; more > 0; more--) {
    at += 3
    const code = decodeEscape(target, at)
    if (code < lowest || code > highest) return -1
    lowest = 0x80
    highest = 0xbf
  }
  return at + 2
}
