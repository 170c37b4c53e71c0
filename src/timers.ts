/** How whoever works in the background is woken; tests bring timers that fire when they are told to. */
export interface Timers {
  setTimeout(callback: () => void, milliseconds: number): unknown
  clearTimeout(timer: unknown): void
}

/** The process's own. They never keep it alive. */
export const processTimers: Timers = {
  setTimeout: (callback, milliseconds) => setTimeout(callback, milliseconds).unref(),
  clearTimeout: timer => clearTimeout(timer as NodeJS.Timeout | undefined)
}
