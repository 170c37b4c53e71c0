import type { Check } from './context.ts'
import { readMatchPath } from './match-path.ts'

/** A rewrite uses only what its match binds, and its result is as canonical as the path that policy judged. */
export const checkRewrites: Check = ({ config, isSound, report }) => {
  for (const [name, { match, rewrite }] of Object.entries(config.routes)) {
    if (rewrite?.path === undefined) continue
    const path = ['routes', name, 'rewrite', 'path']
    const target = readMatchPath(rewrite.path)
    if ('fault' in target) {
      report(path, target.fault, target.remedy)
      continue
    }
    if (!isSound(['routes', name, 'match'])) continue
    const source = readMatchPath(match.path ?? '/*')
    if ('fault' in source) continue
    if (target.rest && !source.rest) {
      report(path, 'ends in /*, but match.path does not', 'end match.path in /*, or write the whole path')
    }
    for (const segment of target.segments) {
      if (typeof segment === 'string') continue
      const bound = source.segments.some(
        one => typeof one !== 'string' && one.parameter === segment.parameter
      )
      if (!bound)
        report(
          path,
          `uses :${segment.parameter}, which match.path does not have`,
          `add :${segment.parameter} to match.path`
        )
    }
  }
}
