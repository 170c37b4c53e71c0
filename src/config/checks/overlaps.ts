import { pathForm } from '../../route/path-form.ts'
import type { MatchConfig } from '../schema.ts'
import type { Check } from './context.ts'
import { readMatchPath } from './match-path.ts'

/**
 * Two routes are a mistake when some request matches both and neither is more specific. They are when all of this holds:
 * - the same protocol;
 * - a host pattern in common, or none in both;
 * - the same path when the names of parameters are ignored (for gRPC: the same service);
 * - a method in common, where no methods means every method and GET does not stand for HEAD;
 * - the same number of headers, none of which asks for two values.
 * Otherwise the route with the more specific host, path or larger number of headers gets the request.
 */
export const checkOverlaps: Check = ({ config, isSound, place, report }) => {
  const seen = new Map<string, { name: string; match: MatchConfig }[]>()
  for (const [name, { match }] of Object.entries(config.routes)) {
    if (!isSound(['routes', name, 'match'])) continue
    const shape = pathShape(match)
    if (shape === undefined) continue
    const clashes = new Set<string>()
    for (const host of match.hosts.length > 0 ? match.hosts : ['']) {
      const key = JSON.stringify([match.protocol, host, shape])
      const rivals = seen.get(key) ?? []
      for (const rival of rivals) {
        if (rival.name !== name && sharesRequests(match, rival.match)) clashes.add(rival.name)
      }
      seen.set(key, [...rivals, { name, match }])
    }
    for (const rival of clashes) {
      report(
        ['routes', name, 'match'],
        `takes the same requests as route ${rival}, ${place(['routes', rival, 'match'])}`,
        'tell them apart by host, path, methods or headers, or remove one'
      )
    }
  }
}

function pathShape(match: MatchConfig): string | undefined {
  if (match.protocol === 'grpc' && match.service !== undefined) return match.service
  const path = readMatchPath(match.path ?? '/*')
  if ('fault' in path) return undefined
  const segments = path.segments.map(segment => (typeof segment === 'string' ? pathForm(segment) : ':'))
  return `/${[...segments, ...(path.rest ? ['*'] : [])].join('/')}`
}

function sharesRequests(a: MatchConfig, b: MatchConfig): boolean {
  const methods =
    a.methods.length === 0 || b.methods.length === 0 || a.methods.some(method => b.methods.includes(method))
  if (!methods) return false
  const headers = Object.entries(a.headers)
  if (headers.length !== Object.keys(b.headers).length) return false
  return headers.every(([name, value]) => b.headers[name] === undefined || b.headers[name] === value)
}
