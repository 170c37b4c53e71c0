import type { Path } from '../config-problem.ts'
import { nearest } from '../nearest.ts'
import type { UpstreamWeight } from '../upstream-shares.ts'
import { show, suggest } from '../words.ts'
import type { Check } from './context.ts'

/** Every route goes somewhere, to upstreams that exist. */
export const checkRouteUpstreams: Check = ({ config, names, isSound, report }) => {
  for (const [name, route] of Object.entries(config.routes)) {
    const path: Path = ['routes', name]
    if (route.upstream !== undefined) judge(route.upstream, [...path, 'upstream'])
    for (const [index, share] of (route.upstreams ?? []).entries()) {
      judge(share.name, [...path, 'upstreams', index, 'name'])
    }
    if (!isSound([...path, 'upstream']) || !isSound([...path, 'upstreams'])) continue
    if (route.upstream !== undefined && route.upstreams) {
      report([...path, 'upstreams'], 'stands beside upstream', 'keep either upstream or upstreams')
    }
    if (route.upstream === undefined && !route.upstreams) {
      report(path, 'has no upstream', 'add upstream: and the name of one')
    }
    if (route.upstreams) judgeShares(route.upstreams, [...path, 'upstreams'])
  }

  function judgeShares(shares: readonly UpstreamWeight[], path: Path): void {
    const seen = new Set<string>()
    for (const [index, { name }] of shares.entries()) {
      if (seen.has(name)) report([...path, index, 'name'], `names ${show(name)} again`, 'add up its weights')
      seen.add(name)
    }
    if (shares.every(({ weight }) => weight === 0))
      report(path, 'gives every upstream the weight 0', 'give one of them a weight')
  }

  function judge(upstream: string, path: Path): void {
    if (names.upstreams.has(upstream)) return
    const known = [...names.upstreams]
    const remedy = known.length > 0 ? suggest(nearest(upstream, known), known) : 'add it below upstreams:'
    report(path, `no upstream is named ${show(upstream)}`, remedy)
  }
}
