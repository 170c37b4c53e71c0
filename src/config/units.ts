/** Durations and sizes as Kubernetes users write them: a whole number and a unit, without spaces, signs or fractions. */

const durationUnits = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const
const sizeUnits = { Ki: 1024, Mi: 1024 ** 2, Gi: 1024 ** 3 } as const

/** Nothing a gateway waits for takes longer, and no timer of ours may overflow into "at once". */
const longest = 366 * durationUnits.d

export const durationExamples = '250ms, 15s, 1m, 1h, 1d'
export const sizeExamples = '64Ki, 1Mi, 1Gi'

/** Milliseconds; undefined when the text is no duration or longer than 366 days. */
export function parseDuration(text: string): number | undefined {
  const match = /^(\d{1,12})(ms|s|m|h|d)$/.exec(text)
  if (!match) return undefined
  const milliseconds = Number(match[1]) * durationUnits[match[2] as keyof typeof durationUnits]
  return milliseconds <= longest ? milliseconds : undefined
}

/** The shortest way to write so many milliseconds. */
export function formatDuration(milliseconds: number): string {
  for (const unit of ['d', 'h', 'm', 's'] as const) {
    if (milliseconds > 0 && milliseconds % durationUnits[unit] === 0) {
      return `${milliseconds / durationUnits[unit]}${unit}`
    }
  }
  return milliseconds === 0 ? '0s' : `${milliseconds}ms`
}

/** Bytes; undefined when the text is no size or is beyond 1 TiB. */
export function parseSize(text: string): number | undefined {
  const match = /^(\d{1,12})(Ki|Mi|Gi)$/.exec(text)
  if (!match) return undefined
  const bytes = Number(match[1]) * sizeUnits[match[2] as keyof typeof sizeUnits]
  return bytes <= 1024 ** 4 ? bytes : undefined
}

/** The shortest way to write so many bytes; plain bytes when they are no whole number of Ki. */
export function formatSize(bytes: number): string {
  for (const unit of ['Gi', 'Mi', 'Ki'] as const) {
    if (bytes > 0 && bytes % sizeUnits[unit] === 0) return `${bytes / sizeUnits[unit]}${unit}`
  }
  return bytes === 0 ? '0Ki' : String(bytes)
}

/** A fraction from 0 to 1; undefined when the text is no percentage. */
export function parsePercentage(text: string): number | undefined {
  const match = /^(\d{1,3})%$/.exec(text)
  if (!match) return undefined
  const percent = Number(match[1])
  return percent <= 100 ? percent / 100 : undefined
}
