/** Milliseconds of one unit of `grpc-timeout` (PROTOCOL-HTTP2.md, "Timeout"). */
const units: Readonly<Record<string, number>> = {
  H: 3_600_000,
  M: 60_000,
  S: 1000,
  m: 1,
  u: 1e-3,
  n: 1e-6
}

/** The finest first: the one that still fits. */
const fittingUnits = ['u', 'm', 'S', 'M', 'H'] as const
const maxValue = 99_999_999

/** The longest that Node's timers can wait: 24 days. */
const maxTimer = 2 ** 31 - 1

/** Milliseconds of a `grpc-timeout`: one to eight digits and a unit; null where it is something else. */
export function parseTimeout(value: string): number | null {
  const digits = value.length - 1
  if (digits < 1 || digits > 8) return null
  let amount = 0
  for (let i = 0; i < digits; i++) {
    const digit = value.charCodeAt(i) - 0x30
    if (!(digit >= 0 && digit <= 9)) return null
    amount = amount * 10 + digit
  }
  const unit = units[value.charAt(digits)]
  return unit === undefined ? null : amount * unit
}

/** `grpc-timeout` for so many milliseconds, never more than they are; they are over 0. */
export function formatTimeout(milliseconds: number): string {
  for (const unit of fittingUnits) {
    const amount = Math.floor(milliseconds / (units[unit] as number))
    if (amount <= maxValue) return `${Math.max(amount, 1)}${unit}`
  }
  return `${maxValue}H`
}

/** Whether a timer can wait for so long. What lies further away is left to the client. */
export function isTimed(milliseconds: number): boolean {
  return milliseconds <= maxTimer
}
