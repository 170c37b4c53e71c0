import type { UpstreamConfig } from '../config/schema.ts'
import { RetryBudget } from './retry-budget.ts'

/** How a call failed, in the words of the configuration. */
export type RetryableFailure = 'connect-failure' | 'reset' | 502 | 503 | 504

type RetryConfig = NonNullable<UpstreamConfig['retries']>

/** RFC 9110, 9.2.2. TRACE is never forwarded. */
const idempotent = new Set(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE'])

/**
 * Whether sending a request once more cannot do anything twice. When the connection was never made nothing was sent, so
 * that any request may be; otherwise only an idempotent one, and without a body, for a body that has begun to flow is gone.
 */
export function isRepeatable(failure: RetryableFailure, method: string, hasBody: boolean): boolean {
  return failure === 'connect-failure' || (!hasBody && idempotent.has(method))
}

/** Which failures of one upstream lead to a second try, and how many second tries there may be. */
export class RetryPolicy {
  readonly #on: ReadonlySet<RetryableFailure>
  readonly #budget: RetryBudget

  constructor(config: RetryConfig) {
    this.#on = new Set(config.on)
    this.#budget = new RetryBudget(config.budget)
  }

  /** A request begins; `now` in milliseconds. */
  count(now: number): void {
    this.#budget.count(now)
  }

  covers(failure: RetryableFailure): boolean {
    return this.#on.has(failure)
  }

  /** Takes one second try from the budget; false: it is used up. */
  take(now: number): boolean {
    return this.#budget.take(now)
  }
}

/** Null where the configuration asks for none: then a request costs nothing for it. */
export function createRetryPolicy(config: RetryConfig | undefined): RetryPolicy | null {
  return config === undefined || config.attempts === 0 ? null : new RetryPolicy(config)
}
