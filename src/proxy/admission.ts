import { Refusal } from '../errors.ts'
import type { RetryableFailure } from './retry.ts'
import type { Upstream } from './upstream.ts'

/** In place of a ticket of the breaker: for a call that it refuses, and for one whose result it has heard. */
export const noTicket = -1

/** The ticket with which a call reports its result to the breaker, or `noTicket`. */
export function enter({ breaker }: Upstream): number {
  return breaker === null ? 0 : breaker.enter()
}

/**
 * The ticket of a second try, when the first with `ticket` has failed (docs/adr/0011-upstream-resilience.md).
 * @param failure what the upstream's retries have to cover, and to have left in their budget; null: the first try went to a
 * connection that was about to go, which is nobody's fault
 * @param now on the clock of `performance.now()`
 * @returns null: there is no second try, and the first one's ticket still counts; `noTicket`: the breaker, which has now heard of
 * the first one, lets no second through
 */
export function enterAgain(
  upstream: Upstream,
  ticket: number,
  failure: RetryableFailure | null,
  now: number
): number | null {
  const { breaker, retries } = upstream
  if (failure === null) breaker?.released(ticket)
  else {
    if (retries === null || !retries.covers(failure) || !retries.take(now)) return null
    breaker?.failed(ticket)
  }
  return enter(upstream)
}

/** What a request gets whose call the breaker refuses. */
export function resting({ breaker }: Upstream): Refusal {
  const seconds = Math.max(1, Math.ceil((breaker?.retryAfter ?? 0) / 1000))
  return new Refusal('upstream.breaker', { headers: { 'retry-after': String(seconds) } })
}
