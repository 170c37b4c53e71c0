import type { IncomingHttpHeaders } from 'node:http'

/** RFC 9110, 9.2.1: they change nothing, and links of other sites lead to them. */
const safeMethods: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS'])

export function isSafeMethod(method: string): boolean {
  return safeMethods.has(method)
}

/**
 * Whether a page of the host that it asks has made a browser send this request, or no page at all. Browsers send cookies whatever
 * page it is, and SameSite calls all hosts of a domain one site. `Sec-Fetch-Site` cannot be written by a page and has the first
 * word: an `Origin` is `null` where a page sends no referrer. Who sends neither is no browser.
 * @param scheme what browsers reach the gateway by: `https://`
 */
export function isOfOwnPage(headers: IncomingHttpHeaders, scheme: string): boolean {
  const site = headers['sec-fetch-site']
  // `none`: the person, not a page.
  if (site !== undefined) return site === 'same-origin' || site === 'none'
  return headers.origin === undefined || isOwnOrigin(headers.origin, headers.host, scheme)
}

/** Port and scheme too: what listens on another port of the host, or speaks in its name without TLS, may be somebody else. */
export function isOwnOrigin(origin: string, host: string | undefined, scheme: string): boolean {
  if (host === undefined) return false
  const own = scheme + host
  // A browser writes both alike; other clients may name the port of the scheme.
  return origin === own || origin === URL.parse(own)?.origin
}
