import type { RouteConfig } from './schema.ts'

/** Names of the upstreams of a route with the weight of each: `upstream` is one that takes everything. */
export function upstreamShares({ upstream, upstreams }: RouteConfig): readonly UpstreamWeight[] {
  if (upstreams !== undefined) return upstreams
  return upstream === undefined ? [] : [{ name: upstream, weight: 1 }]
}

export interface UpstreamWeight {
  readonly name: string
  readonly weight: number
}
