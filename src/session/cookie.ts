import { fastifyCookie } from '@fastify/cookie'

/** What the gateway's cookies are called and look like; `externalUrl` decides. */
export interface CookieShape {
  /** Of the session. Those of sign-ins under way begin with it. */
  readonly name: string
  readonly secure: boolean
}

/**
 * Browsers take `__Host-` and Secure over https only. Without TLS, which the configuration allows on loopback alone, the cookie
 * loses both; everywhere else it is sent as it is configured, and a browser that got it without TLS would drop it.
 */
export function cookieShape(configured: string, externalUrl: string): CookieShape {
  const secure = !externalUrl.startsWith('http://')
  return { name: secure ? configured : configured.replace(/^__(?:Host|Secure)-/i, ''), secure }
}

/** The values of all cookies of that name, as they are in the header. Two of them are an attempt at something. */
export function cookieValues(header: string | undefined, name: string): string[] {
  if (header === undefined || !header.includes(name)) return []
  const values: string[] = []
  for (const pair of header.split(';')) {
    const equals = pair.indexOf('=')
    if (equals !== -1 && trimmed(pair.slice(0, equals)) === name) values.push(trimmed(pair.slice(equals + 1)))
  }
  return values
}

/** The names of all cookies that begin with `prefix`. Names that no Set-Cookie could hold are left out. */
export function cookieNames(header: string | undefined, prefix: string): string[] {
  if (header === undefined) return []
  const names = header.split(';').map(pair => trimmed(pair.split('=', 1)[0] ?? ''))
  return names.filter(name => name.startsWith(prefix) && cookieName.test(name))
}

/** RFC 6265, 4.1.1. */
export const cookieName: RegExp = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/

/**
 * Spaces and tabs alone, not what `trim` takes for white space: to a browser a no-break space is a part of the name. It lets
 * another host of the domain set such a cookie, as the name does not begin with `__Host-`.
 */
function trimmed(text: string): string {
  let start = 0
  let end = text.length
  while (start < end && isBlank(text.charCodeAt(start))) start++
  while (end > start && isBlank(text.charCodeAt(end - 1))) end--
  return text.slice(start, end)
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09
}

/**
 * The Cookie header for an upstream: everything but ours, in any case of letters; undefined when nothing is left. What stays
 * keeps its bytes.
 */
export function withoutOwnCookies(header: string, name: string): string | undefined {
  const own = name.toLowerCase()
  if (!header.toLowerCase().includes(own)) return header
  const kept = header.split(';').filter(pair => !pair.trim().toLowerCase().startsWith(own))
  const rest = kept.join(';').trim()
  return rest === '' ? undefined : rest
}

/** Whether a Set-Cookie would set a cookie of ours, or one that is sent back as if it were (a cookie without a name). */
export function setsOwnCookie(value: string, name: string): boolean {
  let start = 0
  while (isBlank(value.charCodeAt(start)) || value.charCodeAt(start) === 0x3d) start++
  return value.slice(start, start + name.length).toLowerCase() === name.toLowerCase()
}

/** A Set-Cookie for this host alone, which no script reads. `maxAge` in seconds: 0 takes the cookie away. */
export function setCookie(shape: CookieShape, name: string, value: string, maxAge?: number): string {
  return fastifyCookie.serialize(name, value, {
    path: '/',
    httpOnly: true,
    sameSite: 'lax',
    secure: shape.secure,
    ...(maxAge !== undefined && { maxAge })
  })
}
