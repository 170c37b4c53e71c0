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

function isLowerHex(text: string, from: number, to: number): boolean {
  let nonZero = false
  for (let i = from; i < to; i++) {
    const code = text.charCodeAt(i)
    const digit = code >= 48 && code <= 57
    if (!digit && !(code >= 97 && code <= 102)) return false
    if (code !== 48) nonZero = true
  }
  return nonZero
}

/** Continues the trace of a well formed `traceparent` (version 00), or begins one; anything else is not believed. */
export function continueTrace(traceparent: string | undefined): TraceContext {
  if (traceparent !== undefined && isTraceparent(traceparent)) {
    return {
      traceId: traceparent.slice(3, 35),
      spanId: randomHex(16),
      parentId: traceparent.slice(36, 52),
      flags: traceparent.slice(53, 55)
    }
  }
  return { traceId: randomHex(32), spanId: randomHex(16), parentId: null, flags: '00' }
}

export function isTraceparent(value: string): boolean {
  return (
    value.length === 55 &&
    value.startsWith('00-') &&
    value[35] === '-' &&
    value[52] === '-' &&
    isLowerHex(value, 3, 35) &&
    isLowerHex(value, 36, 52) &&
    (isLowerHex(value, 53, 55) || value.endsWith('-00'))
  )
}

export function formatTraceparent(trace: TraceContext): string {
  return `00-${trace.traceId}-${trace.spanId}-${trace.flags}`
}
