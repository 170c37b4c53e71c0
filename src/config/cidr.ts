import { isIP } from 'node:net'

/** Whether the text is an address block: `10.0.0.0/8`, `2001:db8::/32`. */
export function isCidr(text: string): boolean {
  const [address, bits, ...rest] = text.split('/')
  if (address === undefined || bits === undefined || rest.length > 0) return false
  if (!/^\d{1,3}$/.test(bits)) return false
  const version = isIP(address)
  if (version === 0 || address.includes('%')) return false
  return Number(bits) <= (version === 4 ? 32 : 128)
}
