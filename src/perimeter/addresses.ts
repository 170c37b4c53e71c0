import { isIP, isIPv4 } from 'node:net'
import ipaddr from 'ipaddr.js'
import { type Intervals, intersect, subtract, unite } from './intervals.ts'

/**
 * Addresses on one line: IPv6 is [0, 2^128), IPv4 the 2^32 points above it. The two never overlap, so a v4 block says nothing
 * about v6 (S14).
 */
export type AddressSet = Intervals<bigint>

const V4_BASE = 1n << 128n
export const everyAddress: AddressSet = [[0n, V4_BASE + (1n << 32n)]]

function numberOf(address: string): bigint {
  let value = 0n
  for (const byte of ipaddr.parse(address).toByteArray()) value = (value << 8n) | BigInt(byte)
  return isIPv4(address) ? V4_BASE + value : value
}

/** The point of an address in text, or nothing if it is not one (leading zeros and zones are not). */
export function parseAddress(text: string): bigint | undefined {
  return isIP(text) === 0 || text.includes('%') ? undefined : numberOf(text)
}

export function formatAddress(point: bigint): string {
  const v4 = point >= V4_BASE
  const value = v4 ? point - V4_BASE : point
  const bytes: number[] = []
  for (let shift = (v4 ? 4 : 16) - 1; shift >= 0; shift--) {
    bytes.push(Number((value >> BigInt(8 * shift)) & 255n))
  }
  return ipaddr.fromByteArray(bytes).toString()
}

export interface Cidr {
  text: string
  bits: number
  set: AddressSet
}

/** Host bits may be set, as the API accepts them; they are masked off. */
export function parseCidr(text: string): Cidr | undefined {
  const [address, length, ...rest] = text.split('/')
  if (address === undefined || length === undefined || rest.length > 0) return undefined
  const point = parseAddress(address)
  if (point === undefined || !/^(0|[1-9]\d{0,2})$/.test(length)) return undefined
  const v4 = point >= V4_BASE
  const bits = Number(length)
  if (bits > (v4 ? 32 : 128)) return undefined
  const size = 1n << BigInt((v4 ? 32 : 128) - bits)
  const base = v4 ? V4_BASE : 0n
  const low = base + ((point - base) / size) * size
  return { text, bits, set: [[low, low + size]] }
}

/** `cidr` without `except`; the caller has checked that each exception is a strict subset (S14). */
export function blockSet(cidr: Cidr, except: readonly Cidr[]): AddressSet {
  return subtract(cidr.set, unite(except.flatMap(each => each.set)))
}

/**
 * Where pods and nodes live in practice. A match of an address outside of them is a match of something outside the cluster, which
 * every CNI decides alike; inside of them the CNIs differ (S13).
 */
const inside: AddressSet = unite(
  [
    '10.0.0.0/8',
    '172.16.0.0/12',
    '192.168.0.0/16',
    '100.64.0.0/10',
    '169.254.0.0/16',
    '127.0.0.0/8',
    '0.0.0.0/8',
    '198.18.0.0/15',
    '224.0.0.0/3',
    'fc00::/7',
    'fe80::/10',
    'ff00::/8',
    '::/96',
    '::ffff:0.0.0.0/96'
  ].flatMap(text => parseCidr(text)?.set ?? [])
)

export function outsideOnly(set: AddressSet): AddressSet {
  return subtract(set, inside)
}

export function insideOnly(set: AddressSet): AddressSet {
  return intersect(set, inside)
}
