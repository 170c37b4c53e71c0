import type { Refusal } from '../errors.ts'
import type { Exchange } from '../exchange.ts'
import type { UpstreamCall } from '../exchange-parties.ts'
import type { ProxyTarget } from './target.ts'

/** What every proxy writes down of a call: on the exchange, with the breaker, and in the numbers of the upstream. */

/** A call begins, with its first try. */
export function recordStart(exchange: Exchange, { upstream }: ProxyTarget, call: UpstreamCall): void {
  exchange.call = call
  exchange.upstream = upstream.name
  exchange.upstreamStart = performance.now()
  upstream.retries?.count(exchange.upstreamStart)
}

/** The upstream has said what it has to say, or will not. */
export function recordEnd(exchange: Exchange, { upstreamDuration }: ProxyTarget): void {
  exchange.upstreamEnd = performance.now()
  upstreamDuration.observe((exchange.upstreamEnd - exchange.upstreamStart) / 1000)
}

/** A call fails: whose fault it is decides what the breaker hears of it. */
export function recordFailure(
  exchange: Exchange,
  { route, upstream, upstreamErrors }: ProxyTarget,
  { reason, cause }: Refusal,
  ticket: number
): void {
  if (reason.startsWith('upstream.')) {
    upstream.breaker?.failed(ticket)
    upstreamErrors(reason).value++
    return
  }
  upstream.breaker?.released(ticket)
  if (reason !== 'plugin.failed') return
  exchange.observer.log.error({ err: cause, route }, 'a plugin has set a header that cannot be sent')
}
