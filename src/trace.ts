import { randomBytes } from 'node:crypto'

/** W3C Trace Context, https://www.w3.org/TR/trace-context/: what the gateway continues or begins. */
export interface TraceContext {
  /** 32 lower-case hex digits. */
  readonly traceId: string
  /** 16 lower-case hex digits: the gateway's own span, the parent of the upstream's. */
  readonly spanId: string
  /** Span of the caller; null where the trace begins here. */
  readonly parentId: string | null
  /** Two hex digits; bit 0 is "sampled". */
  readonly flags: string
}

// One call to the random source serves 512 span ids.
const poolBytes = 4096
let pool = ''
let used = poolBytes * 2

function randomHex(digits: number): string {
  if (used + digits > pool.length) {
    pool = randomBytes(poolBytes).toString('hex')
    used = 0
  }
  used += digits
  return pool.slice(used - digits, used)
}

/**
 * Continues the trace of a well formed `traceparent`, or begins one; anything else is not believed. A version above 00 is
 * read as if it were 00, as the standard asks (section 3.2.3), within 128 characters.
 */
export function continueTrace(traceparent: string | undefined): TraceContext {
  if (traceparent === undefined || !isTraceparent(traceparent)) {
    return { traceId: randomHex(32), spanId: randomHex(16), parentId: null, flags: '00' }
  }
  return {
    traceId: traceparent.slice(3, 35),
    spanId: randomHex(16),
    parentId: traceparent.slice(36, 52),
    flags: knownFlags(traceparent)
  }
}

export function formatTraceparent(trace: TraceContext): string {
  return `00-${trace.traceId}-${trace.spanId}-${trace.flags}`
}

const zero = 0x30
const dash = 0x2d

function isTraceparent(value: string): boolean {
  if (value.length < 55 || value.length > 128) return false
  if (!isHexThenDash(value, 0, 2) || !isHexThenDash(value, 3, 35) || !isHexThenDash(value, 36, 52))
    return false
  if (!isLowerHex(value, 53, 55) || value.startsWith('ff')) return false
  if (isZero(value, 3, 35) || isZero(value, 36, 52)) return false
  return value.length === 55 || (!value.startsWith('00') && isExtension(value, 55))
}

function isHexThenDash(value: string, from: number, to: number): boolean {
  return isLowerHex(value, from, to) && value.charCodeAt(to) === dash
}

function isLowerHex(value: string, from: number, to: number): boolean {
  for (let i = from; i < to; i++) {
    const code = value.charCodeAt(i)
    if ((code < zero || code > 0x39) && (code < 0x61 || code > 0x66)) return false
  }
  return true
}

function isZero(value: string, from: number, to: number): boolean {
  for (let i = from; i < to; i++) if (value.charCodeAt(i) !== zero) return false
  return true
}

/** What a later version may append: never looked at, but it came from a stranger. */
function isExtension(value: string, from: number): boolean {
  if (value.charCodeAt(from) !== dash) return false
  for (let i = from; i < value.length; i++) {
    const code = value.charCodeAt(i)
    if (code <= 0x20 || code >= 0x7f) return false
  }
  return true
}

/** Flags that we know, which are those that we may pass on: sampled, random (Trace Context level 2). */
function knownFlags(traceparent: string): string {
  return `0${Number.parseInt(traceparent[54] as string, 16) & 3}`
}
