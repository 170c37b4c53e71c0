import type { Exchange } from '../exchange.ts'

/** The target that the upstream sees: path and query. */
export type Rewrite = (exchange: Exchange) => string

const unchanged: Rewrite = exchange => exchange.target

/**
 * The rewrite of a route, made once. `/v1/orders/*` replaces what the match's path has before its `/*`; `:name` stands
 * for a parameter of the match. The query is carried over byte for byte.
 */
export function compileRewrite(matchPath: string, rewritePath: string | undefined): Rewrite {
  if (rewritePath === undefined) return unchanged
  const parts = rewritePath.endsWith('/*') ? rewritePath.slice(0, -2).split('/') : rewritePath.split('/')
  const keepsRest = rewritePath.endsWith('/*')
  const depth = keepsRest ? matchPath.slice(0, -2).split('/').length : 0
  const parameters = matchPath
    .split('/')
    .flatMap((segment, at) => (segment.startsWith(':') ? [[segment.slice(1), at] as const] : []))
  const places = new Map(parameters)
  const isLiteral = !parts.some(part => part.startsWith(':'))
  const literal = parts.join('/')
  return exchange => {
    const { target } = exchange
    const queryAt = target.indexOf('?')
    const path = queryAt === -1 ? target : target.slice(0, queryAt)
    const query = queryAt === -1 ? '' : target.slice(queryAt)
    // Parameters are taken from the path as it was sent, still encoded: decoding and encoding again could change it.
    const base = isLiteral ? literal : parts.map(part => fill(part, path, places)).join('/')
    const rest = keepsRest ? restOf(path, depth) : ''
    return `${base}${rest}` === '' ? `/${query}` : `${base}${rest}${query}`
  }
}

function fill(part: string, path: string, places: ReadonlyMap<string, number>): string {
  if (!part.startsWith(':')) return part
  const at = places.get(part.slice(1))
  return at === undefined ? part : (path.split('/')[at] ?? '')
}

/** What follows the first `depth` segments, with its slash; the empty one before the first slash counts. */
function restOf(path: string, depth: number): string {
  let slash = -1
  for (let i = 0; i < depth; i++) {
    slash = path.indexOf('/', slash + 1)
    if (slash === -1) return ''
  }
  return path.slice(slash)
}

/** A Location of the upstream as the client should see it; `host` is the Host that the client asked for. */
export type RewriteLocation = (value: string, host: string | undefined) => string

/**
 * Turns a Location of the upstream into one that works through the gateway: its own origin goes, and a prefix that the
 * rewrite put in front is taken off again. Others (another site, a relative reference) stay as they are.
 */
export function compileLocation(
  endpoints: readonly string[],
  matchPath: string,
  rewritePath: string | undefined
): RewriteLocation {
  const origins = new Set(endpoints.map(endpoint => new URL(endpoint).origin))
  const isPrefix = rewritePath?.endsWith('/*') === true && !`${rewritePath}${matchPath}`.includes(':')
  const from = isPrefix ? (rewritePath as string).slice(0, -2) : null
  const to = isPrefix ? matchPath.slice(0, -2) : ''
  return (value, host) => {
    const path = ownPath(value, origins, host)
    if (from === null || !path.startsWith('/') || path.startsWith('//')) return path
    const after = path[from.length]
    if (!path.startsWith(from) || !(after === undefined || after === '/' || after === '?' || after === '#'))
      return path
    const back = `${to}${path.slice(from.length)}`
    return back.startsWith('/') ? back : `/${back}`
  }
}

const absolute = /^(https?:\/\/([^/?#\\]+))(.*)$/is

/** A Location without its origin, where that is the upstream's, or the client's own (an upstream that was told the Host). */
function ownPath(value: string, origins: ReadonlySet<string>, host: string | undefined): string {
  const parts = absolute.exec(value)
  if (parts === null) return value
  const [, origin, authority, rest] = parts as unknown as [string, string, string, string]
  if (authority.toLowerCase() !== host?.toLowerCase()) {
    const url = URL.parse(origin)
    if (url === null || url.username !== '' || !origins.has(url.origin)) return value
  }
  return rest.startsWith('/') ? rest : `/${rest}`
}
