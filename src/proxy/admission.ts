import { Refusal } from '../errors.ts'
import type { Upstream } from './upstream.ts'

/** In place of a ticket of the breaker: for a call that it refuses, and for one whose result it has heard. */
export const noTicket = -1

/** The ticket with which a call reports its result to the breaker, or `noTicket`. */
export function enter({ breaker }: Upstream): number {
  return breaker === null ? 0 : breaker.enter()
}

/** What a request gets whose call the breaker refuses. */
export function resting({ breaker }: Upstream): Refusal {
  const seconds = Math.max(1, Math.ceil((breaker?.retryAfter ?? 0) / 1000))
  return new Refusal('upstream.breaker', { headers: { 'retry-after': String(seconds) } })
}
