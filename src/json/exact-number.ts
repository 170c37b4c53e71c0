/**
 * Whether a JSON number is, digit for digit, what JavaScript would write for what it reads of it. One with more digits or a larger exponent than a double
 * holds is read as another number here than where decimals or 64-bit integers are read (RFC 8259, section 6).
 */
export function isExactNumber(literal: string): boolean {
  const read = Number(literal)
  return Number.isFinite(read) && decimalOf(literal) === decimalOf(String(read))
}

/** One spelling for all that mean the same: digits without zeros around them, and the power of ten. The sign is left out. */
function decimalOf(literal: string): string {
  const start = literal.startsWith('-') ? 1 : 0
  const e = literal.search(/[eE]/)
  const end = e === -1 ? literal.length : e
  const point = literal.indexOf('.')
  const digits =
    point === -1 ? literal.slice(start, end) : literal.slice(start, point) + literal.slice(point + 1, end)
  let first = 0
  while (digits.charCodeAt(first) === zero) first++
  if (first === digits.length) return '0'
  let last = digits.length
  while (digits.charCodeAt(last - 1) === zero) last--
  const written = e === -1 ? 0 : Number(literal.slice(e + 1))
  const power = written - (point === -1 ? 0 : end - point - 1) + digits.length - last
  return `${digits.slice(first, last)}e${power}`
}

const zero = 0x30
