import type { Cell } from '../registry.ts'
import type { Limit, LimitResult, LimitStore } from './contract.ts'

/** What becomes of a limit that the shared store cannot count. */
export type OnStoreError = 'local' | 'allow' | 'deny'

export interface SharedLimitOptions {
  /** Counts for all replicas; may fail. */
  readonly shared: LimitStore
  /** Whether asking the shared store makes sense now. While it is false nobody waits. */
  readonly isUp: () => boolean
  /** Counts for this replica: `local`. */
  readonly local: LimitStore
  readonly onError: OnStoreError
  /** `rate_limit_store_errors_total` of the shared store. */
  readonly errors: Cell
}

/**
 * Limits that replicas share, and what holds while they cannot: each replica counts for itself (`local`), everything passes
 * (`allow`) or nothing does (`deny`: the store fails, and the request is refused with 503).
 */
export class SharedLimitStore implements LimitStore {
  readonly name: string
  readonly #options: SharedLimitOptions

  constructor(options: SharedLimitOptions) {
    this.name = options.shared.name
    this.#options = options
  }

  take(key: string, limit: Limit, cost?: number): LimitResult | Promise<LimitResult> {
    if (!this.#options.isUp()) return this.#takeWithout(key, limit, cost)
    return this.#takeShared(key, limit, cost)
  }

  peek(key: string, limit: Limit): LimitResult | Promise<LimitResult> {
    if (!this.#options.isUp()) return this.#peekWithout(key, limit)
    return this.#peekShared(key, limit)
  }

  /** Both stores are their owner's to close. */
  async close(): Promise<void> {}

  async #takeShared(key: string, limit: Limit, cost?: number): Promise<LimitResult> {
    try {
      return await this.#options.shared.take(key, limit, cost)
    } catch {
      return this.#takeWithout(key, limit, cost)
    }
  }

  async #peekShared(key: string, limit: Limit): Promise<LimitResult> {
    try {
      return await this.#options.shared.peek(key, limit)
    } catch {
      return this.#peekWithout(key, limit)
    }
  }

  #takeWithout(key: string, limit: Limit, cost?: number): LimitResult | Promise<LimitResult> {
    return this.#withoutStore(limit) ?? this.#options.local.take(key, limit, cost)
  }

  #peekWithout(key: string, limit: Limit): LimitResult | Promise<LimitResult> {
    return this.#withoutStore(limit) ?? this.#options.local.peek(key, limit)
  }

  /** Null where this replica has to count. */
  #withoutStore(limit: Limit): LimitResult | null {
    const { onError, errors } = this.#options
    errors.value++
    if (onError === 'local') return null
    if (onError === 'allow') return { allowed: true, remaining: limit.burst, resetAfter: 0, retryAfter: 0 }
    throw new Error('the shared store of limits is down')
  }
}
