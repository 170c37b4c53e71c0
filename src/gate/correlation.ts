/** Request ids and trace contexts come from strangers and end in logs and headers: only these shapes are taken over. */

const idCharacter = new Uint8Array(256)
for (const character of 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.:') {
  idCharacter[character.charCodeAt(0)] = 1
}

/** Whether a value may be used as a request id: 1 to 128 letters, digits, `-`, `_`, `.` or `:`. */
export function isRequestId(value: unknown): value is string {
  if (typeof value !== 'string' || value.length === 0 || value.length > 128) return false
  for (let i = 0; i < value.length; i++) if (idCharacter[value.charCodeAt(i)] !== 1) return false
  return true
}

export interface Traceparent {
  /** 32 lower-case hex digits, not all zero. */
  traceId: string
  /** 16 lower-case hex digits, not all zero. */
  parentId: string
  /** The 8 trace flags; bit 0 is `sampled`. */
  flags: number
}

/**
 * Reads a `traceparent` (W3C Trace Context, 3.2). A version above 00 is read as if it were 00, as the standard asks;
 * at most 128 characters.
 * @returns null when the value is not one, and a new trace is to be started
 */
export function parseTraceparent(value: unknown): Traceparent | null {
  if (typeof value !== 'string' || value.length < 55 || value.length > 128) return null
  if (!isHexDash(value, 0, 2) || !isHexDash(value, 3, 35) || !isHexDash(value, 36, 52)) return null
  if (!isHex(value, 53, 55)) return null
  if (value.charCodeAt(0) === 0x66 && value.charCodeAt(1) === 0x66) return null
  if (value.length > 55) {
    const isVersionZero = value.charCodeAt(0) === 0x30 && value.charCodeAt(1) === 0x30
    if (isVersionZero || value.charCodeAt(55) !== 0x2d || !isRequestId(value)) return null
  }
  if (isZero(value, 3, 35) || isZero(value, 36, 52)) return null
  return {
    traceId: value.slice(3, 35),
    parentId: value.slice(36, 52),
    flags: Number.parseInt(value.slice(53, 55), 16)
  }
}

function isHexDash(value: string, start: number, end: number): boolean {
  return isHex(value, start, end) && value.charCodeAt(end) === 0x2d
}

function isHex(value: string, start: number, end: number): boolean {
  for (let i = start; i < end; i++) {
    const code = value.charCodeAt(i)
    if ((code < 0x30 || code > 0x39) && (code < 0x61 || code > 0x66)) return false
  }
  return true
}

function isZero(value: string, start: number, end: number): boolean {
  for (let i = start; i < end; i++) if (value.charCodeAt(i) !== 0x30) return false
  return true
}
