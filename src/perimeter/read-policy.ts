import { blockSet, type Cidr, parseCidr } from './addresses.ts'
import type { Cursor } from './cursor.ts'
import { isSubset } from './intervals.ts'
import type { Direction, Peer, Policy, Rule } from './objects.ts'
import { type PortEntry, type Protocol, protocols } from './ports.ts'
import { readAnnotations, readLabels, readSelector } from './read-labels.ts'

/**
 * A networking.k8s.io/v1 NetworkPolicy as the API server would store it: defaults applied (S4, S8), and everything it would
 * refuse (S28) reported at its place, unknown fields included, because a misspelt selector that is dropped selects everything.
 */
export function readPolicy(at: Cursor, namespace: string, name: string): Policy {
  const spec = at.get('spec')
  spec.fields(['podSelector', 'policyTypes', 'ingress', 'egress'])
  const types = readPolicyTypes(spec)
  return {
    namespace,
    name,
    labels: readLabels(at.get('metadata').get('labels')),
    annotations: readAnnotations(at.get('metadata').get('annotations')),
    podSelector: readSelector(spec.get('podSelector')),
    ingress: rulesOf(spec, 'ingress', types),
    egress: rulesOf(spec, 'egress', types),
    at: at.at
  }
}

function readPolicyTypes(spec: Cursor): Direction[] {
  const given = spec.get('policyTypes').strings()
  if (given.length === 0) return spec.get('egress').items().length > 0 ? ['ingress', 'egress'] : ['ingress']
  if (given.length > 2) spec.get('policyTypes').fail('may not list more than two policyTypes')
  for (const item of spec.get('policyTypes').items()) {
    if (item.value !== 'Ingress' && item.value !== 'Egress') item.fail('must be Ingress or Egress')
  }
  return given.map(type => (type === 'Egress' ? 'egress' : 'ingress'))
}

/** Rules of a direction that is not listed are read, since mistakes in them are refused too, and have no effect (S5). */
function rulesOf(spec: Cursor, direction: Direction, types: Direction[]): Rule[] | undefined {
  const rules = spec
    .get(direction)
    .items()
    .map((item, index) => readRule(item, index, direction === 'ingress' ? 'from' : 'to'))
  return types.includes(direction) ? rules : undefined
}

function readRule(at: Cursor, index: number, peersKey: 'from' | 'to'): Rule {
  at.fields([peersKey, 'ports'])
  const peers = at.get(peersKey).items().flatMap(readPeer)
  const ports = at.get('ports').items().map(readPort)
  return {
    index,
    peers: at.get(peersKey).items().length === 0 ? undefined : peers,
    ports: ports.length === 0 ? undefined : ports,
    at: at.at
  }
}

function readPeer(at: Cursor): Peer[] {
  at.fields(['podSelector', 'namespaceSelector', 'ipBlock'])
  const pods = at.get('podSelector')
  const namespaces = at.get('namespaceSelector')
  const block = at.get('ipBlock')
  if (block.isPresent) {
    if (pods.isPresent || namespaces.isPresent) at.fail('ipBlock excludes podSelector and namespaceSelector')
    return readBlock(block)
  }
  if (!pods.isPresent && !namespaces.isPresent) {
    at.fail('must specify a peer')
    return []
  }
  return [
    {
      kind: 'pods',
      namespaces: namespaces.isPresent ? readSelector(namespaces) : undefined,
      pods: pods.isPresent ? readSelector(pods) : undefined,
      at: at.at
    }
  ]
}

function readBlock(at: Cursor): Peer[] {
  at.fields(['cidr', 'except'])
  const cidr = readCidr(at.get('cidr'))
  if (cidr === undefined) return []
  const except = at
    .get('except')
    .items()
    .flatMap(item => {
      const inner = readCidr(item)
      if (inner === undefined) return []
      if (inner.bits <= cidr.bits || !isSubset(inner.set, cidr.set)) {
        item.fail(`must be a strict subset of ${cidr.text}`)
      }
      return inner
    })
  const text = except.length === 0 ? cidr.text : `${cidr.text} except ${except.map(e => e.text).join(', ')}`
  return [{ kind: 'block', text, set: blockSet(cidr, except), at: at.at }]
}

function readCidr(at: Cursor): Cidr | undefined {
  const text = at.string()
  if (text === undefined) {
    if (!at.isPresent) at.fail('must be a CIDR')
    return undefined
  }
  const cidr = parseCidr(text)
  if (cidr === undefined) at.fail(`${JSON.stringify(text)} is not a CIDR`)
  return cidr
}

/** `IsValidPortName` of the API: at most 15 of a-z, 0-9 and inner single dashes, with a letter among them. */
const portName = /^(?=.{1,15}$)(?=.*[a-z])[a-z0-9]+(?:-[a-z0-9]+)*$/

function isPortNumber(value: number): boolean {
  return Number.isInteger(value) && value >= 1 && value <= 65535
}

export function readProtocol(at: Cursor): Protocol {
  if (!at.isPresent) return 'TCP'
  const protocol = protocols.find(each => each === at.value)
  if (protocol === undefined) at.fail('must be TCP, UDP or SCTP')
  return protocol ?? 'TCP'
}

function readPort(at: Cursor): PortEntry {
  at.fields(['protocol', 'port', 'endPort'])
  const protocol = readProtocol(at.get('protocol'))
  const given = at.get('port')
  const end = at.get('endPort')
  const endPort = end.integer()
  let port: number | string | undefined
  if (typeof given.value === 'string') {
    port = given.value
    if (!portName.test(port))
      given.fail('is not the name of a port (a name needs a letter; a number no quotes)')
  } else if (given.isPresent) {
    port = given.integer()
    if (port !== undefined && !isPortNumber(port)) given.fail('must be between 1 and 65535')
  }
  if (endPort !== undefined) {
    if (!isPortNumber(endPort)) end.fail('must be between 1 and 65535')
    if (typeof port !== 'number') end.fail('needs a numeric port beside it')
    else if (endPort < port) end.fail('must not be smaller than port')
  }
  return { protocol, port, endPort, at: at.at }
}
