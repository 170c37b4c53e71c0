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
    what: 'WebSocket',
    remedy: 'remove the route',
    find: config => routesWhere(config, 'websocket')
  },
  {
    what: 'weighted upstreams',
    remedy: 'write upstream: and one name',
    find: config =>
      Object.entries(config.routes)
        .filter(([, route]) => route.upstreams)
        .map(([name]) => ['routes', name, 'upstreams'])
  },
  {
    what: 'Redis',
    remedy: 'remove redis: limits then count per replica',
    find: config => (config.redis ? [['redis']] : [])
  }
]

export const checkUnsupported: Check = ({ config, report }) => {
  for (const { what, remedy, find } of unsupported) {
    for (const path of find(config)) report(path, `this version does not support ${what}`, remedy)
  }
}

function routesWhere(config: Config, protocol: string): Path[] {
  return Object.entries(config.routes)
    .filter(([, route]) => route.match.protocol === protocol)
    .map(([name]) => ['routes', name, 'match', 'protocol'])
}
