import { processTimers, type Timers } from '../../timers.ts'

/** Timers and the clock that they go by, in milliseconds that never go back. Tests bring their own. */
export interface Time {
  readonly timers: Timers
  readonly clock: () => number
}

export const processTime: Time = { timers: processTimers, clock: () => performance.now() }
