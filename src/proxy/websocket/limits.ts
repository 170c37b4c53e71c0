import type { MessageLimits } from '../../plugin/define.ts'

/** Bytes of one message where no rule says otherwise. */
export const defaultMaxMessage = 1_048_576

/** Frames a second: a second's worth may come at once. Times in milliseconds. */
export class FrameRate {
  readonly #perSecond: number
  #left: number
  #at: number

  constructor(perSecond: number, now: number) {
    this.#perSecond = perSecond
    this.#left = Math.max(1, perSecond)
    this.#at = now
  }

  /** False: one too many. */
  take(now: number): boolean {
    const most = Math.max(1, this.#perSecond)
    this.#left = Math.min(most, this.#left + ((now - this.#at) / 1000) * this.#perSecond)
    this.#at = now
    if (this.#left < 1) return false
    this.#left--
    return true
  }
}

export function maxMessageOf(limits: MessageLimits | null): number {
  return limits?.maxMessage ?? defaultMaxMessage
}
