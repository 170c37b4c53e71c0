import { BlockList, isIP } from 'node:net'
import type { GatewayPlugin } from '../src/plugin/define.ts'

export interface IpFilterOptions {
  allow?: string[]
  deny?: string[]
}

/**
 * Lets requests pass by the address of their client. `deny` wins over `allow`; where `allow` is given, whoever is not in it is
 * refused. An IPv4 address is the same whether it arrives plain or wrapped as `::ffff:192.0.2.1`.
 */
export default {
  name: 'ip-filter',
  phase: 'guard',
  schema: {
    type: 'object',
    description: 'Lets requests pass by the address of their client.',
    properties: {
      allow: {
        type: 'array',
        items: { type: 'string', format: 'cidr', description: 'A network, e.g. `203.0.113.0/24`.' },
        minItems: 1,
        description: 'Networks whose clients pass. Absent: all that `deny` does not name.'
      },
      deny: {
        type: 'array',
        items: { type: 'string', format: 'cidr', description: 'A network, e.g. `2001:db8::/32`.' },
        minItems: 1,
        description: 'Networks whose clients are refused, even if `allow` names them.'
      }
    },
    minProperties: 1,
    additionalProperties: false
  },
  register(route, options) {
    const { gateway } = route
    const allowed = options.allow === undefined ? null : networksOf(options.allow)
    const denied = options.deny === undefined ? null : networksOf(options.deny)

    route.addHook('onRequest', function filterAddress(request, _reply, done) {
      const address = withoutZone(request.gateway.clientIp)
      const version = isIP(address)
      // A client without an address (a Unix socket) is in no network: it must not slip past a list of refused ones.
      if (version === 0) gateway.deny('policy.denied', { detail: 'the client has no address' })
      const family = version === 6 ? 'ipv6' : 'ipv4'
      if (denied?.check(address, family)) gateway.deny('policy.denied', { detail: 'the address is denied' })
      if (allowed !== null && !allowed.check(address, family)) {
        gateway.deny('policy.denied', { detail: 'the address is not allowed' })
      }
      done()
    })
  }
} satisfies GatewayPlugin<IpFilterOptions>

/** A link-local address may carry the name of its interface (`fe80::1%eth0`), which no `BlockList` ever matches. */
function withoutZone(address: string): string {
  const zone = address.indexOf('%')
  return zone === -1 ? address : address.slice(0, zone)
}

function networksOf(list: string[]): BlockList {
  const networks = new BlockList()
  for (const text of list) {
    const [address = '', prefix] = text.split('/')
    const version = isIP(address)
    networks.addSubnet(address, Number(prefix ?? (version === 6 ? 128 : 32)), version === 6 ? 'ipv6' : 'ipv4')
  }
  return networks
}
