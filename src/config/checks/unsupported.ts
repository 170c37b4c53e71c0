import type { Path } from '../config-problem.ts'
import type { Config } from '../schema.ts'
import type { Check } from './context.ts'

interface Unsupported {
  /** What it is, for the message. */
  what: string
  remedy: string
  /** Where it is used. */
  find(config: Config): Path[]
}

/** Keys of the language that this version does not act on. They are refused, never ignored. This list only shrinks. */
const unsupported: readonly Unsupported[] = [
  {
    what: 'weighted upstreams',
    remedy: 'write upstream: and one name',
    find: config =>
      Object.entries(config.routes)
        .filter(([, route]) => route.upstreams)
        .map(([name]) => ['routes', name, 'upstreams'])
  }
]

export const checkUnsupported: Check = ({ config, report }) => {
  for (const { what, remedy, find } of unsupported) {
    for (const path of find(config)) report(path, `this version does not support ${what}`, remedy)
  }
}
