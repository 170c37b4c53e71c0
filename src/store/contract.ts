/** One limit, as a store sees it. All times in milliseconds. */
export interface Limit {
  algorithm: 'fixed-window' | 'sliding-window' | 'token-bucket'
  /** Requests per window (or tokens added per window). */
  limit: number
  window: number
  /** Largest size of a token bucket; equals `limit` for the windows. */
  burst: number
}

export interface LimitResult {
  allowed: boolean
  /** How many more requests would pass right now. */
  remaining: number
  /** Until the limit is whole again (fixed window: until it ends). */
  resetAfter: number
  /** Until one more request passes; 0 when allowed. */
  retryAfter: number
}

/**
 * Where limits are counted. One contract for every store, one suite (`test/contract/limit-store.ts`) that each must pass.
 * `take` decides and counts in one atomic step. Every key ends by itself: a store never grows without bound.
 */
export interface LimitStore {
  readonly name: string
  /** Shared stores answer later; the memory store answers at once and never allocates a promise. */
  take(key: string, limit: Limit, cost?: number): LimitResult | Promise<LimitResult>
  /** Looks without counting. */
  peek(key: string, limit: Limit): LimitResult | Promise<LimitResult>
  close(): Promise<void>
}
