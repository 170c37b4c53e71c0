import { isIPv6 } from 'node:net'

/** RFC 3986 `reg-name` without `%`-escapes and sub-delims: what DNS names and IPv4 addresses are made of, and `_`. */
const hostCharacter = new Uint8Array(256)
for (const character of 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._') {
  hostCharacter[character.charCodeAt(0)] = 1
}

/**
 * Whether a Host header (RFC 9110 7.2) names a host and at most a port: `name`, `name:8080`, `192.0.2.1`, `[2001:db8::1]:443`.
 * User information, escapes, lists, empty names and empty labels are refused: nobody agrees on what they mean. So is the dot
 * at the end: `api.example.com.` is another host to the router and the same one to most upstreams.
 */
export function isHost(value: string): boolean {
  const length = value.length
  if (length === 0 || length > 262) return false
  if (value.charCodeAt(0) === 0x5b) return isBracketedHost(value)
  let i = 0
  let label = 0
  for (; i < length; i++) {
    const code = value.charCodeAt(i)
    if (code === 0x3a) break
    if (hostCharacter[code] !== 1) return false
    if (code === 0x2e) {
      if (i === label) return false
      label = i + 1
    }
  }
  if (i === label) return false
  return i === length || isPort(value, i + 1)
}

function isBracketedHost(value: string): boolean {
  const end = value.indexOf(']')
  if (end === -1) return false
  const address = value.slice(1, end)
  // A zone (`fe80::1%eth0`) means something on this machine only.
  if (!isIPv6(address) || address.includes('%')) return false
  if (end === value.length - 1) return true
  return value.charCodeAt(end + 1) === 0x3a && isPort(value, end + 2)
}

/** One to five digits up to 65535, to the end of the string. */
function isPort(value: string, start: number): boolean {
  const digits = value.length - start
  if (digits < 1 || digits > 5) return false
  let port = 0
  for (let i = start; i < value.length; i++) {
    const digit = value.charCodeAt(i) - 0x30
    if (digit < 0 || digit > 9) return false
    port = port * 10 + digit
  }
  return port <= 65535
}
