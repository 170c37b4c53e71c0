import { LineCounter, parseDocument } from 'yaml'
import { type AddressSet, blockSet, parseCidr } from './addresses.ts'
import { type Cursor, rootOf, type Source } from './cursor.ts'
import { unite } from './intervals.ts'
import { type At, BadInput, type Direction } from './objects.ts'
import { type PortSet, portSet } from './ports.ts'
import { readLabels } from './read-labels.ts'
import { readProtocol } from './read-policy.ts'
import { type Selector, selectorOf } from './selector.ts'

/**
 * What the owner of the gateway has declared to be open. It is read from the annotation `sallyport.io/perimeter` of the gateway's
 * Deployment, which holds the chart's `perimeter` values as JSON. It is on the gateway, not on the policies, so that a policy in a
 * protected namespace cannot declare itself to be meant.
 */
export const perimeterAnnotation = 'sallyport.io/perimeter'

/** Label of a policy that the chart made: what it is for. */
export const roleLabel = 'sallyport.io/role'

export type EndSpec =
  | { kind: 'pods'; namespace: string | undefined; selector: Selector }
  | { kind: 'block'; text: string; set: AddressSet }
  | { kind: 'anything' }

/** A connection that is meant to be possible. */
export interface Edge {
  name: string
  from: EndSpec
  to: EndSpec
  ports: PortSet
  at: At
}

export interface Declared {
  /** Who may call whom in the protected namespaces, besides the gateway. */
  edges: readonly Edge[]
  /** Where the gateway may connect to, besides its upstreams. `from` is filled in when the gateway is known. */
  gatewayEdges: readonly Omit<Edge, 'from'>[]
  /** Who may call the gateway's public ports; none: anybody. */
  gatewayFrom: readonly EndSpec[]
  /** Who may call its admin port, besides the kubelet. */
  metricsFrom: readonly EndSpec[]
  /** The directions that are shut by default, by namespace. */
  defaultDeny(namespace: string): readonly Direction[]
  /** `upstreams`: other pods of the protected namespaces are meant to stay open. */
  scope: 'namespace' | 'upstreams'
  /** True when the declaration was given, and not assumed. */
  isGiven: boolean
}

const dnsPorts: PortSet = unite(
  [53, 5353].flatMap(port => [...portSet('UDP', port, port), ...portSet('TCP', port, port)])
)

/** Nobody has declared anything: DNS is all that the gateway needs beside its upstreams. */
export const nothingDeclared: Declared = {
  edges: [],
  gatewayEdges: [{ name: 'DNS', to: { kind: 'anything' }, ports: dnsPorts, at: '' }],
  gatewayFrom: [],
  metricsFrom: [],
  defaultDeny: () => ['ingress'],
  scope: 'namespace',
  isGiven: false
}

/** `text` is JSON or YAML in the shape of the chart's `perimeter` values. */
export function readDeclared(text: string, at: At): Declared {
  const problems: string[] = []
  const document = parseDocument(text, { lineCounter: new LineCounter() })
  if (document.errors.length > 0) {
    throw new BadInput([`${at}  ${perimeterAnnotation}  ${document.errors[0]?.message.split('\n')[0]}`])
  }
  const source: Source = { file: at, document, lines: new LineCounter(), problems: [] }
  const root = rootOf(source)
  const declared = read(root, at)
  problems.push(
    ...source.problems.map(each => `${at}  ${perimeterAnnotation}  ${each.replace(/^.*? {2}/, '')}`)
  )
  if (problems.length > 0) throw new BadInput(problems)
  return declared
}

function read(root: Cursor, at: At): Declared {
  const gateway = root.get('gateway')
  const extras = gateway.get('allow').items()
  const edges = root
    .get('protect')
    .get('namespaces')
    .entries()
    .flatMap(([namespace, settings]) =>
      settings
        .get('allow')
        .items()
        .map((item, index) => readEdge(item, namespace, `${namespace}[${index}]`, at))
    )
  return {
    edges,
    gatewayEdges: [
      ...readDns(gateway.get('dns'), at),
      ...extras.map((item, index) => ({
        name: item.get('name').string() ?? `gateway.allow[${index}]`,
        to: readEnd(item, undefined),
        ports: readPorts(item),
        at
      }))
    ],
    gatewayFrom: gateway
      .get('from')
      .items()
      .map(item => readEnd(item, undefined)),
    metricsFrom: root
      .get('metrics')
      .get('from')
      .items()
      .map(item => readEnd(item, undefined)),
    defaultDeny: readDefaultDeny(root.get('protect')),
    scope: root.get('protect').get('scope').value === 'upstreams' ? 'upstreams' : 'namespace',
    isGiven: true
  }
}

function readDefaultDeny(protect: Cursor): Declared['defaultDeny'] {
  const read = (at: Cursor): Direction[] | undefined =>
    at.isPresent ? at.strings().map(each => (each === 'Egress' ? 'egress' : 'ingress')) : undefined
  const general = read(protect.get('defaultDeny')) ?? ['ingress']
  const own = new Map(
    protect
      .get('namespaces')
      .entries()
      .map(([name, settings]) => [name, read(settings.get('defaultDeny'))])
  )
  return namespace => own.get(namespace) ?? general
}

function readDns(dns: Cursor, at: At): Omit<Edge, 'from'>[] {
  const numbers = dns
    .get('ports')
    .items()
    .flatMap(item => item.integer() ?? [])
  const ports = unite(numbers.flatMap(port => [...portSet('UDP', port, port), ...portSet('TCP', port, port)]))
  const namespaces = dns.get('namespaces').strings()
  const blocks = dns
    .get('cidrs')
    .items()
    .map(item => readBlock(item, item, []))
  return [
    ...namespaces.map(namespace => ({
      name: `DNS in ${namespace}`,
      to: { kind: 'pods' as const, namespace, selector: [] },
      ports,
      at
    })),
    ...blocks.map(to => ({ name: 'DNS', to, ports, at }))
  ]
}

function readEdge(item: Cursor, namespace: string, fallback: string, at: At): Edge {
  return {
    name: item.get('name').string() ?? fallback,
    from: readEnd(item.get('from'), undefined),
    to: readEnd(item.get('to'), namespace),
    ports: readPorts(item),
    at
  }
}

function readEnd(at: Cursor, namespace: string | undefined): EndSpec {
  if (at.get('cidr').isPresent) return readBlock(at, at.get('cidr'), at.get('except').items())
  return {
    kind: 'pods',
    namespace: at.get('namespace').string() ?? namespace,
    selector: selectorOf(readLabels(at.get('podLabels')))
  }
}

function readBlock(at: Cursor, cidr: Cursor, except: Cursor[]): EndSpec {
  const text = cidr.string() ?? ''
  const parsed = parseCidr(text)
  const cuts = except.map(item => parseCidr(item.string() ?? ''))
  if (parsed === undefined || cuts.includes(undefined)) {
    at.fail('is not a CIDR')
    return { kind: 'block', text, set: [] }
  }
  return {
    kind: 'block',
    text,
    set: blockSet(
      parsed,
      cuts.filter(each => each !== undefined)
    )
  }
}

function readPorts(item: Cursor): PortSet {
  const port = item.get('port').integer()
  const protocol = readProtocol(item.get('protocol'))
  return port === undefined ? portSet(protocol) : portSet(protocol, port, port)
}
