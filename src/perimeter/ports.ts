import type { Intervals } from './intervals.ts'

export type Protocol = 'TCP' | 'UDP' | 'SCTP'
export const protocols: readonly Protocol[] = ['TCP', 'UDP', 'SCTP']

/** Ports of all protocols on one line, 65536 points for each: an SCTP rule can never open TCP (S17). */
export type PortSet = Intervals<number>

const SPAN = 65536
export const everyPort: PortSet = protocols.map((_, i) => [i * SPAN + 1, (i + 1) * SPAN] as const)

export function portSet(protocol: Protocol, low = 1, high = 65535): PortSet {
  const base = protocols.indexOf(protocol) * SPAN
  return [[base + low, base + high + 1]]
}

export function portPoint(protocol: Protocol, port: number): number {
  return protocols.indexOf(protocol) * SPAN + port
}

export function portAt(point: number): { port: number; protocol: Protocol } {
  return { port: point % SPAN, protocol: protocols[Math.floor(point / SPAN)]! }
}

export function formatPorts(set: PortSet): string {
  if (set.length === 0) return 'no port'
  return set
    .map(([low, high]) => {
      const first = portAt(low)
      const last = portAt(high - 1)
      if (first.port === 1 && last.port === 65535) return `all ${first.protocol}`
      return `${first.protocol} ${first.port}${last.port > first.port ? `-${last.port}` : ''}`
    })
    .join(', ')
}

/** A port that a container names. */
export interface ContainerPort {
  name: string | undefined
  port: number
  protocol: Protocol
}

/** One entry of `ports`, defaults applied (S8): without a protocol TCP, without a port all ports of it. */
export interface PortEntry {
  protocol: Protocol
  port: number | string | undefined
  endPort: number | undefined
  at: string
}

/** The ports of the entry, or nothing if it is a name, which only a pod can resolve (S15). */
export function numericPorts(entry: PortEntry): PortSet | undefined {
  if (entry.port === undefined) return portSet(entry.protocol)
  if (typeof entry.port === 'string') return undefined
  return portSet(entry.protocol, entry.port, entry.endPort ?? entry.port)
}

/** A name is resolved by each pod for itself, by name and protocol (S15). */
export function namedPorts(entry: PortEntry, declared: readonly ContainerPort[]): PortSet {
  return declared
    .filter(each => each.name === entry.port && each.protocol === entry.protocol)
    .slice(0, 1)
    .flatMap(each => portSet(each.protocol, each.port, each.port))
}
