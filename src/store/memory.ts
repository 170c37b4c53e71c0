import { LruMap } from 'toad-cache'
import type { Limit, LimitResult, LimitStore } from './contract.ts'

export interface MemoryStoreOptions {
  /** Most keys that are remembered; beyond it the least recently used one is forgotten. Default 100,000. */
  max?: number
  /** A monotonic clock in milliseconds. Default `performance.now()`. */
  now?: () => number
}

/** Rounding of the weighted and the refilled amounts must not turn a request away that is exactly on the limit. */
const epsilon = 1e-9

/**
 * What is remembered of one key. `start` and `count` are the current window and what passed in it, `previous` what passed
 * in the one before (sliding window). A token bucket keeps when it was last filled in `start` and its tokens in `count`.
 */
interface Entry {
  algorithm: Limit['algorithm']
  start: number
  count: number
  previous: number
  /** From then on the entry says no more than a missing one would. */
  expires: number
}

/**
 * Limits counted in this process: every call is O(1), answers at once and needs no timer. Each new key looks at two old
 * ones and drops those that have run out, so that memory follows the traffic and never passes `max` keys.
 */
export class MemoryLimitStore implements LimitStore {
  readonly name = 'memory'
  readonly #entries: LruMap<Entry>
  readonly #now: () => number
  #sweep: Iterator<string>

  constructor(options: MemoryStoreOptions = {}) {
    this.#entries = new LruMap(options.max ?? 100_000)
    this.#now = options.now ?? monotonic
    this.#sweep = this.#entries.keys()
  }

  /** Keys that are remembered right now. */
  get size(): number {
    return this.#entries.size
  }

  take(key: string, limit: Limit, cost = 1): LimitResult {
    const now = this.#now()
    let entry = this.#entries.get(key)
    if (entry === undefined) {
      entry = fresh(limit, now)
      this.#dropExpired(now)
      this.#entries.set(key, entry)
    }
    return decide(entry, limit, now, cost, true)
  }

  peek(key: string, limit: Limit): LimitResult {
    const now = this.#now()
    return decide(this.#entries.get(key) ?? fresh(limit, now), limit, now, 1, false)
  }

  async close(): Promise<void> {
    this.#entries.clear()
  }

  /** A live iterator goes round the keys for ever: two steps for one insertion are enough to stay ahead. */
  #dropExpired(now: number): void {
    for (let step = 0; step < 2; step++) {
      const { done, value } = this.#sweep.next()
      if (done) {
        this.#sweep = this.#entries.keys()
        return
      }
      if (this.#expiry(value) <= now) this.#entries.delete(value)
    }
  }

  #expiry(key: string): number {
    // Not `get`: looking for rubbish must not make it recently used.
    return this.#entries.items.get(key)?.value.expires ?? Number.POSITIVE_INFINITY
  }
}

function monotonic(): number {
  return performance.now()
}

function fresh(limit: Limit, now: number): Entry {
  const count = limit.algorithm === 'token-bucket' ? limit.burst : 0
  return { algorithm: limit.algorithm, start: now, count, previous: 0, expires: now }
}

function decide(entry: Entry, limit: Limit, now: number, cost: number, charge: boolean): LimitResult {
  // A reload may give a key to another algorithm, whose numbers mean something else.
  if (entry.algorithm !== limit.algorithm) Object.assign(entry, fresh(limit, now))
  switch (limit.algorithm) {
    case 'fixed-window':
      return fixedWindow(entry, limit, now, cost, charge)
    case 'sliding-window':
      return slidingWindow(entry, limit, now, cost, charge)
    case 'token-bucket':
      return tokenBucket(entry, limit, now, cost, charge)
  }
}

/** The window of a key starts with its first request, so that not all clients come back in the same second. */
function fixedWindow(entry: Entry, limit: Limit, now: number, cost: number, charge: boolean): LimitResult {
  if (entry.count === 0 || now - entry.start >= limit.window) {
    entry.start = now
    entry.count = 0
  }
  const allowed = entry.count + cost <= limit.limit
  if (allowed && charge) entry.count += cost
  entry.expires = entry.start + limit.window
  // Not `expires - now`: rounded up to seconds, the noise of a sum of fractions would make 60 s 61.
  const left = limit.window - (now - entry.start)
  return {
    allowed,
    remaining: Math.max(0, limit.limit - entry.count),
    resetAfter: entry.count === 0 ? 0 : left,
    retryAfter: allowed ? 0 : left
  }
}

/**
 * Two counters stand for a log of every request: what passed in the window before counts by the part of it that the sliding
 * window still covers. Exact when requests were spread evenly over that window; never more than `limit` in a window
 * of the key, and less than twice `limit` in any stretch as long as one.
 */
function slidingWindow(entry: Entry, limit: Limit, now: number, cost: number, charge: boolean): LimitResult {
  const { window } = limit
  const passed = now - entry.start
  if (passed >= window) {
    entry.previous = passed < 2 * window ? entry.count : 0
    entry.count = 0
    entry.start += window
  }
  if (entry.count === 0 && entry.previous === 0) entry.start = now
  const elapsed = Math.max(0, now - entry.start)
  const carried = entry.previous * (1 - elapsed / window)
  const allowed = carried + entry.count + cost <= limit.limit + epsilon
  if (allowed && charge) entry.count += cost
  entry.expires = entry.start + 2 * window
  return {
    allowed,
    remaining: Math.max(0, Math.floor(limit.limit - carried - entry.count + epsilon)),
    resetAfter: entry.count > 0 ? 2 * window - elapsed : entry.previous > 0 ? window - elapsed : 0,
    retryAfter: allowed ? 0 : slidingRetry(entry, limit, elapsed, cost)
  }
}

function slidingRetry(entry: Entry, limit: Limit, elapsed: number, cost: number): number {
  const { window } = limit
  const room = limit.limit - entry.count - cost
  if (room >= 0) return window * (1 - room / entry.previous) - elapsed
  // Not in this window any more: what passed in it has to fade in the next one.
  return window - elapsed + window * Math.max(0, 1 - (limit.limit - cost) / entry.count)
}

function tokenBucket(entry: Entry, limit: Limit, now: number, cost: number, charge: boolean): LimitResult {
  const rate = limit.limit / limit.window
  entry.count = Math.min(limit.burst, entry.count + Math.max(0, now - entry.start) * rate)
  entry.start = now
  const allowed = entry.count + epsilon >= cost
  const missing = cost - entry.count
  if (allowed && charge) entry.count = Math.max(0, entry.count - cost)
  const resetAfter = (limit.burst - entry.count) / rate
  entry.expires = now + resetAfter
  return {
    allowed,
    remaining: Math.floor(entry.count + epsilon),
    resetAfter,
    retryAfter: allowed ? 0 : missing / rate
  }
}
