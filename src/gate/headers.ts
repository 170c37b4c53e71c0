/**
 * Judges header fields in one pass over `rawHeaders`, the only list that holds what the client sent: Node's `headers`
 * drops the second of two Authorization headers without a word.
 */

/** Findings of `judgeHeaders`; zero means nothing wrong. */
export const finding = Object.freeze({
  none: 0,
  /** A field that may come once came twice. */
  duplicate: 1,
  /** `Transfer-Encoding` other than `chunked`, or in HTTP/1.0, where RFC 9112 6.1 calls the framing faulty. */
  transferEncoding: 2,
  /** A `Content-Length` of more than 15 digits, or with leading zeros. */
  contentLength: 3,
  /** `Connection` names a field that must reach us. */
  connection: 4,
  /** An underscore spelling of a field that is protected: some servers read `_` and `-` alike. */
  disguise: 5,
  /** `Expect` other than `100-continue`. */
  expectation: 6
})
export type Finding = (typeof finding)[keyof typeof finding]

/** What one pass over the headers has found. One instance is used again for every request: nothing here is kept. */
export interface HeaderReport {
  finding: Finding
  /** Whether a name holds `_`. */
  underscores: boolean
  /** Whether `Connection` names fields, which then end here. */
  nominates: boolean
  /** The Host header; null when there is none. */
  host: string | null
}

/** Fields that may come at most once, by their bit. The identity headers are ours: two of them are an attempt at something. */
const single = new Map<string, number>([
  ['host', 1],
  ['content-length', 2],
  ['transfer-encoding', 4],
  ['authorization', 8],
  ['proxy-authorization', 16],
  ['content-type', 32],
  ['expect', 64],
  ['origin', 128],
  ['x-forwarded-user', 256],
  ['x-forwarded-email', 512],
  ['x-forwarded-groups', 1024],
  ['x-sallyport-identity', 2048]
])

/** By length, so that most names of a request are told apart without being looked at. */
const singleByLength: string[][] = []
for (const name of single.keys()) {
  const names = singleByLength[name.length] ?? []
  names.push(name)
  singleByLength[name.length] = names
}

/** Fields that `Connection` may not take away, beside `x-forwarded-*` and `x-sallyport-*`. */
const protectedNames = new Set([
  ...single.keys(),
  'cookie',
  'forwarded',
  'traceparent',
  'tracestate',
  'x-original-url',
  'x-real-ip',
  'x-request-id',
  'x-rewrite-url'
])

const none = 0

/**
 * Judges the header fields of one request and writes what it found into `report`.
 * @param rawHeaders names and values in turn, as `IncomingMessage.rawHeaders` has them
 * @param isOld whether the request is HTTP/1.0
 */
export function judgeHeaders(rawHeaders: readonly string[], isOld: boolean, report: HeaderReport): void {
  let seen = 0
  report.finding = finding.none
  report.underscores = false
  report.nominates = false
  report.host = null
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!
    if (name.includes('_')) {
      report.underscores = true
      if (isProtected(name)) {
        report.finding = finding.disguise
        return
      }
      continue
    }
    if (name.length === 10 && isSame(name, 'connection')) {
      if (isPlain(rawHeaders[i + 1]!)) continue
      if (!isHarmless(rawHeaders[i + 1]!)) {
        report.finding = finding.connection
        return
      }
      report.nominates = true
      continue
    }
    const bit = singleBit(name)
    if (bit === none) continue
    if ((seen & bit) !== 0) {
      report.finding = finding.duplicate
      return
    }
    seen |= bit
    if (bit === 1) report.host = rawHeaders[i + 1]!
    else if (bit === 2) {
      if (!isLength(rawHeaders[i + 1]!)) report.finding = finding.contentLength
    } else if (bit === 4) {
      if (isOld || rawHeaders[i + 1] !== 'chunked') report.finding = finding.transferEncoding
    } else if (bit === 64 && !isSame(rawHeaders[i + 1]!, '100-continue')) {
      report.finding = finding.expectation
    }
  }
}

function singleBit(name: string): number {
  const candidates = singleByLength[name.length]
  if (candidates === undefined) return none
  for (let i = 0; i < candidates.length; i++) {
    const candidate = candidates[i]!
    if (isSame(name, candidate)) return single.get(candidate)!
  }
  return none
}

/** Whether `value` is `lower` but for the case of its letters. `lower` holds letters, digits and `-` only. */
function isSame(value: string, lower: string): boolean {
  if (value === lower) return true
  if (value.length !== lower.length) return false
  for (let i = 0; i < lower.length; i++) {
    const code = value.charCodeAt(i)
    const expected = lower.charCodeAt(i)
    if (code !== expected && (code < 0x41 || code > 0x5a || code + 0x20 !== expected)) return false
  }
  return true
}

/** A plain decimal number that any reader holds exactly: up to 15 digits, no leading zero. */
function isLength(value: string): boolean {
  return value.length <= 15 && (value.length === 1 || value.charCodeAt(0) !== 0x30)
}

/** What nearly every Connection header says. */
function isPlain(value: string): boolean {
  return value === 'keep-alive' || value === 'close' || value === 'Upgrade' || value === 'upgrade'
}

/** Whether a Connection header takes away nothing that we need. */
function isHarmless(value: string): boolean {
  for (const option of value.split(',')) if (isProtected(option.trim())) return false
  return true
}

/** Whether a name is protected in any spelling: case, `_` or `.` for `-`. */
function isProtected(name: string): boolean {
  const folded = name.toLowerCase().replaceAll('_', '-').replaceAll('.', '-')
  return protectedNames.has(folded) || folded.startsWith('x-forwarded-') || folded.startsWith('x-sallyport-')
}
