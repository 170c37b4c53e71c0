import type { IncomingMessage } from 'node:http'
import type { Protocol } from '../outcome.ts'
import { hostname, type Matchable, RouteTable } from '../route/match.ts'

/** One condition of a route's match, and what the request has there. */
export interface Condition {
  readonly on: 'protocol' | 'host' | 'path' | 'headers' | 'methods'
  readonly wants: string
  readonly got: string
  readonly met: boolean
}

/** What is matched of a request. */
export interface Asked {
  readonly request: IncomingMessage
  readonly target: string
  readonly protocol: Protocol
}

/** A route that takes everything: each condition is asked alone, of the same table that chooses the routes. */
const open = {
  hosts: [],
  path: '/*',
  methods: [],
  headers: {},
  answersPreflight: false,
  sparesInfrastructure: false
}

/** Every condition of a route, in the order in which routes are compared. */
export function conditionsOf(route: Matchable, asked: Asked): Condition[] {
  const { request, target, protocol } = asked
  const { name, answersPreflight, sparesInfrastructure } = route
  const base = { ...open, name, protocol }

  function meets(part: Partial<Matchable>): boolean {
    return new RouteTable([{ ...base, ...part }]).find(request, target, protocol) !== null
  }

  const names = Object.keys(route.headers)
  return [
    {
      on: 'protocol',
      wants: route.protocol,
      got: protocol,
      met: meets({ protocol: route.protocol, answersPreflight })
    },
    {
      on: 'host',
      wants: route.hosts.join(', ') || 'any',
      got: hostname(request.headers.host),
      met: meets({ hosts: route.hosts })
    },
    {
      on: 'path',
      wants: route.path,
      got: target.split('?')[0] as string,
      met: meets({ path: route.path, sparesInfrastructure })
    },
    {
      on: 'headers',
      wants: names.map(one => `${one}: ${route.headers[one]}`).join(', ') || 'any',
      // Values may be credentials: which are there is all that is told.
      got: names.filter(one => request.headers[one.toLowerCase()] !== undefined).join(', ') || 'none of them',
      met: meets({ headers: route.headers, answersPreflight })
    },
    {
      on: 'methods',
      wants: route.methods.join(', ') || 'any',
      got: request.method ?? '',
      met: meets({ methods: route.methods, answersPreflight })
    }
  ]
}

/** How much a condition says of what a client has meant: most of all its path. */
const weight: Readonly<Record<Condition['on'], number>> = {
  path: 16,
  host: 8,
  protocol: 4,
  methods: 2,
  headers: 1
}

/** The route that came nearest to taking a request that none took; null where there are no routes. */
export function nearestRoute(
  routes: readonly Matchable[],
  asked: Asked
): { readonly name: string; readonly why: readonly Condition[] } | null {
  let best: { name: string; why: Condition[] } | null = null
  let most = -1
  for (const route of routes) {
    const why = conditionsOf(route, asked)
    const score = why.reduce((sum, { on, met }) => sum + (met ? weight[on] : 0), 0)
    if (score <= most) continue
    most = score
    best = { name: route.name, why }
  }
  return best
}
