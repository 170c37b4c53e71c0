import { isIP } from 'node:net'

/**
 * What is wrong with an origin, or null. The text is judged beside the parsed URL: the WHATWG parser accepts `http:host`,
 * backslashes and blanks, which other readers of the same configuration would take for something else.
 */
export function originFault(text: string): string | null {
  if (!/^https?:\/\//.test(text)) return 'does not begin with http:// or https://'
  if (!URL.canParse(text) || /[\s\\]/.test(text)) return 'is not a URL'
  const url = new URL(text)
  if (url.username !== '' || url.password !== '') return 'holds a user name or password'
  if (url.search !== '' || url.hash !== '' || /[?#]/.test(text)) return 'has a query or fragment'
  if (url.pathname !== '/') return 'has a path'
  return /^https?:\/\/[^/]+\/?$/.test(text) ? null : 'is not an origin'
}

/** What is wrong with a URL that must be private and authentic on its way, or null. Plain http only on loopback. */
export function secureUrlFault(text: string): string | null {
  if (!/^https?:\/\//.test(text) || !URL.canParse(text) || /[\s\\]/.test(text)) return 'is not an https URL'
  const url = new URL(text)
  if (url.username !== '' || url.password !== '') return 'holds a user name or password'
  if (url.hash !== '') return 'has a fragment'
  return url.protocol === 'https:' || isLoopback(url.hostname) ? null : 'is not https'
}

export function isLoopback(hostname: string): boolean {
  if (hostname === 'localhost' || hostname === '[::1]') return true
  return isIP(hostname) === 4 && hostname.startsWith('127.')
}
