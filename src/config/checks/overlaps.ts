import { pathForm } from '../../route/path-form.ts'
import type { MatchConfig } from '../schema.ts'
import type { Check } from './context.ts'
import { readMatchPath } from './match-path.ts'

/**
 * Two routes are a mistake when some request matches both and neither is more specific (the order is in `route/match.ts`).
 * They are when all of this holds:
 * - the same protocol;
 * - a host pattern in common, or none in both;
 * - the same path when the names of parameters are ignored (for gRPC: the same service);
 * - a method in common, where GET stands for HEAD too, or no methods in both: a list is more specific than none;
 * - the same number of headers, none of which must have two values at once.
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
  const headers = Object.entries(a.headers)
  if (headers.length !== Object.keys(b.headers).length) return false
  if (headers.some(([name, value]) => (b.headers[name] ?? value) !== value)) return false
  if (a.methods.length === 0 || b.methods.length === 0) return a.methods.length === b.methods.length
  const taken = withHead(b.methods)
  return withHead(a.methods).some(method => taken.includes(method))
}

function withHead(methods: readonly string[]): readonly string[] {
  return methods.includes('GET') ? [...methods, 'HEAD'] : methods
}
