import { BlockList, isIP } from 'node:net'
import { EvaluationError } from '@marcbachmann/cel-js'
import { LruMap } from 'toad-cache'

/** Nearly always constants of the expression; bounded, as an expression may take one from a claim. */
const networks = new LruMap<BlockList>(1000)

export function inCidr(address: string, cidr: string): boolean {
  const network = networkOf(cidr)
  if (network === null) throw new EvaluationError(`${JSON.stringify(cidr)} is not a network`)
  const version = isIP(address)
  return version !== 0 && network.check(address, version === 6 ? 'ipv6' : 'ipv4')
}

/** Null where the text is no network. */
export function networkOf(cidr: string): BlockList | null {
  const known = networks.get(cidr)
  if (known !== undefined) return known
  const [address = '', prefix = ''] = cidr.split('/')
  const version = isIP(address)
  const bits = Number(prefix)
  if (version === 0 || !/^\d{1,3}$/.test(prefix) || bits > (version === 6 ? 128 : 32)) return null
  const network = new BlockList()
  network.addSubnet(address, bits, version === 6 ? 'ipv6' : 'ipv4')
  networks.set(cidr, network)
  return network
}
