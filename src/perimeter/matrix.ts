import { parseAddress } from './addresses.ts'
import { type Case, gatewayEnds, upstreamEnds } from './claim.ts'
import type { Edge, EndSpec } from './declared.ts'
import { contains } from './intervals.ts'
import type { Namespace } from './objects.ts'
import { type Answer, type End, evaluate, type PodEnd, podEnd } from './policy.ts'
import { type Protocol, portPoint } from './ports.ts'
import { formatLabels, type Labels, matches, namespaceName } from './selector.ts'
import { podName, type World } from './world.ts'

export interface Cell {
  from: string
  to: string
  port: number
  protocol: Protocol
  answer: Answer
}

/** Every declared workload against every port that a container of another one declares. */
export function matrixOfWorkloads(world: World): Cell[] {
  const ends = world.workloads.map(pod => podEnd(world, pod))
  return ends.flatMap(from =>
    ends.flatMap(to => {
      if (from === to) return []
      return (to.pod?.ports ?? []).map(({ port, protocol }) => ({
        from: nameOf(from),
        to: nameOf(to),
        port,
        protocol,
        answer: evaluate(world, from, to, port, protocol)
      }))
    })
  )
}

/** Who reaches the upstreams: the gateway, every declared workload, and those who could still come. */
export interface Picture {
  rows: { name: string; detail: string; kind: 'gateway' | 'declared' | 'possible' }[]
  columns: { name: string; detail: string }[]
  cells: (Answer & { isDeclared: boolean })[][]
}

type Row = Picture['rows'][number] & { end: End }

export function drawPicture(situation: Case): Picture {
  const { world, upstreams, declared } = situation
  const gateways = gatewayEnds(situation)
  const rows: Row[] = [
    ...gateways.map(end => ({ ...describe(end), kind: 'gateway' as const, end })),
    ...world.workloads
      .filter(pod => !gateways.some(end => end.pod === pod))
      .map(pod => podEnd(world, pod))
      .map(end => ({ ...describe(end), kind: 'declared' as const, end })),
    ...possible(situation)
  ]
  const columns = upstreams.map(upstream => ({
    name: upstream.name,
    detail: `${upstream.namespace}, ${formatLabels(upstream.labels)}, TCP ${upstream.port}`,
    end: upstreamEnds(situation, upstream)[0]!,
    port: upstream.port
  }))
  return {
    rows: rows.map(({ name, detail, kind }) => ({ name, detail, kind })),
    columns: columns.map(({ name, detail }) => ({ name, detail })),
    cells: rows.map(row =>
      columns.map(column => ({
        ...evaluate(world, row.end, column.end, column.port, 'TCP'),
        isDeclared: row.kind === 'gateway' || isDeclared(declared.edges, row.end, column.end, column.port)
      }))
    )
  }
}

function isDeclared(edges: readonly Edge[], from: End, to: End, port: number): boolean {
  const point = portPoint('TCP', port)
  return edges.some(edge => contains(edge.ports, point) && isEnd(edge.from, from) && isEnd(edge.to, to))
}

function isEnd(spec: EndSpec, end: End): boolean {
  if (spec.kind === 'anything') return true
  if (spec.kind === 'block') return end.kind === 'address' && contains(spec.set, end.point)
  if (end.kind === 'address' || (spec.namespace !== undefined && spec.namespace !== end.namespace.name))
    return false
  return matches(spec.selector, end.labels)
}

/** Those who could still come: a pod beside the gateway or the upstreams, one elsewhere, an impostor, a client outside. */
function possible({ world, gateway, upstreams }: Case): Row[] {
  const elsewhere: Namespace = {
    name: 'any-other-namespace',
    labels: { [namespaceName]: 'any-other-namespace' },
    at: undefined
  }
  const row = (name: string, detail: string, end: End): Row => ({ name, detail, kind: 'possible', end })
  const pod = (namespace: Namespace, labels: Labels): PodEnd => ({
    kind: 'pod',
    namespace,
    labels,
    name: 'a new pod',
    pod: undefined
  })
  const namespaces = new Set([gateway.namespace, ...upstreams.map(each => each.namespace)])
  const address = '203.0.113.1'
  return [
    ...[...namespaces].map(name => row('a new pod', `${name}, no labels`, pod(world.namespace(name), {}))),
    row('a stranger', 'another namespace, no labels', pod(elsewhere, {})),
    row('an impostor', "another namespace, the gateway's labels", pod(elsewhere, gateway.labels)),
    row('the outside', address, { kind: 'address', address, point: parseAddress(address) ?? 0n })
  ]
}

function describe(end: PodEnd): { name: string; detail: string } {
  return { name: nameOf(end), detail: formatLabels(end.labels) }
}

function nameOf(end: PodEnd): string {
  return end.pod ? podName(end.pod) : `${end.namespace.name}/${end.name}`
}
