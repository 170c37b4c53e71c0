import type { FastifyReply, FastifyRequest } from 'fastify'
import type { ProxyHook } from './target.ts'

interface Share {
  readonly weight: number
  readonly proxyRequest: ProxyHook
}

/**
 * Spreads the requests of a route over its upstreams by weight, evenly: of 9 to 1, every tenth request and not ten in a row ("smooth
 * weighted round-robin", as nginx has it). An upstream that fails keeps its share: a canary that is down should be seen,
 * and a retry stays where the request was.
 */
export function splitRequests(shares: readonly Share[]): ProxyHook {
  const weighted = shares.filter(({ weight }) => weight > 0)
  if (weighted.length === 1) return (weighted[0] as Share).proxyRequest
  const next = smoothTurns(weighted.map(({ weight }) => weight))
  return function proxyToShare(request: FastifyRequest, reply: FastifyReply): void {
    ;(weighted[next()] as Share).proxyRequest(request, reply)
  }
}

/** Whose turn it is, as an index into the weights. In as many turns as their sum, each has as many as its weight. */
export function smoothTurns(weights: readonly number[]): () => number {
  const total = weights.reduce((sum, weight) => sum + weight, 0)
  const credit = weights.map(() => 0)
  return function next(): number {
    let best = 0
    for (let i = 0; i < weights.length; i++) {
      credit[i] = (credit[i] as number) + (weights[i] as number)
      if ((credit[i] as number) > (credit[best] as number)) best = i
    }
    credit[best] = (credit[best] as number) - total
    return best
  }
}
