import type { AddressSet } from './addresses.ts'
import { type Intervals, intersect, isSubset, subtract } from './intervals.ts'
import type { PortSet } from './ports.ts'
import { anyLabel, complement, isEmpty, isWithin, type LabelDomain, type Labels, meet } from './selector.ts'

/**
 * Every question of the proof is: is there a connection that does this and none of those? A connection is a point in a space with one
 * axis for each label of each end, one for the port and one for a source or destination address. A `Cube` is a box in that space; a
 * `Literal` restricts one axis; an exclusion is a conjunction of literals, and the answer must break at least one of each. Since each
 * axis has exact complements, trying the ways to break an exclusion one after the other is complete: no sampling.
 */
export interface Cube {
  readonly labels: ReadonlyMap<string, LabelDomain>
  readonly ports: PortSet
  readonly addresses: AddressSet
}

export type Literal =
  | { readonly kind: 'label'; readonly axis: string; readonly domain: LabelDomain }
  | { readonly kind: 'ports'; readonly set: PortSet }
  | { readonly kind: 'addresses'; readonly set: AddressSet }

export type Conjunction = readonly Literal[]

/** The part of the cube where the literal holds, if there is any. */
function assume(cube: Cube, literal: Literal): Cube | undefined {
  if (literal.kind === 'label') {
    const domain = meet(cube.labels.get(literal.axis) ?? anyLabel, literal.domain)
    return isEmpty(domain) ? undefined : { ...cube, labels: new Map(cube.labels).set(literal.axis, domain) }
  }
  if (literal.kind === 'ports') return nonEmpty(cube, 'ports', intersect(cube.ports, literal.set))
  return nonEmpty(cube, 'addresses', intersect(cube.addresses, literal.set))
}

/** The part of the cube where the literal does not hold, if there is any. */
function deny(cube: Cube, literal: Literal): Cube | undefined {
  if (literal.kind === 'label') return assume(cube, { ...literal, domain: complement(literal.domain) })
  if (literal.kind === 'ports') return nonEmpty(cube, 'ports', subtract(cube.ports, literal.set))
  return nonEmpty(cube, 'addresses', subtract(cube.addresses, literal.set))
}

function nonEmpty<K extends 'ports' | 'addresses'>(cube: Cube, axis: K, set: Cube[K]): Cube | undefined {
  return set.length === 0 ? undefined : { ...cube, [axis]: set }
}

export function assumeAll(cube: Cube, literals: Conjunction): Cube | undefined {
  let result: Cube | undefined = cube
  for (const literal of literals) {
    if (result === undefined) return undefined
    result = assume(result, literal)
  }
  return result
}

function canHold(cube: Cube, literal: Literal): boolean {
  if (literal.kind === 'label') {
    return !isEmpty(meet(cube.labels.get(literal.axis) ?? anyLabel, literal.domain))
  }
  if (literal.kind === 'ports') return intersect(cube.ports, literal.set).length > 0
  return intersect(cube.addresses, literal.set).length > 0
}

function mustHold(cube: Cube, literal: Literal): boolean {
  if (literal.kind === 'label') return isWithin(cube.labels.get(literal.axis) ?? anyLabel, literal.domain)
  return literal.kind === 'ports' ? within(cube.ports, literal.set) : within(cube.addresses, literal.set)
}

function within<T extends number | bigint>(inner: Intervals<T>, outer: Intervals<T>): boolean {
  return isSubset(inner, outer)
}

/** A part of the cube all of whose points break every exclusion; undefined when there is no such point. */
export function solve(start: Cube, exclusions: readonly Conjunction[]): Cube | undefined {
  let cube = start
  let open = exclusions
  for (;;) {
    const left: Literal[][] = []
    let forced: Literal | undefined
    for (const exclusion of open) {
      if (exclusion.some(literal => !canHold(cube, literal))) continue
      const breakable = exclusion.filter(literal => !mustHold(cube, literal))
      if (breakable.length === 0) return undefined
      if (breakable.length === 1) forced = breakable[0]
      left.push(breakable)
    }
    if (left.length === 0) return cube
    if (forced === undefined) return branch(cube, left)
    const next = deny(cube, forced)
    if (next === undefined) return undefined
    cube = next
    open = left
  }
}

function branch(cube: Cube, exclusions: Literal[][]): Cube | undefined {
  const smallest = exclusions.reduce((a, b) => (b.length < a.length ? b : a))
  const rest = exclusions.filter(exclusion => exclusion !== smallest)
  let remaining = cube
  for (const literal of smallest) {
    const broken = deny(remaining, literal)
    const found = broken && solve(broken, rest)
    if (found !== undefined) return found
    // The other ways need not look again where this one has looked.
    const kept = assume(remaining, literal)
    if (kept === undefined) return undefined
    remaining = kept
  }
  return undefined
}

/** Labels of one end that lie in the cube: those that may be missing are left out. */
export function exampleLabels(cube: Cube, end: string): Labels {
  const labels: Record<string, string> = {}
  for (const [axis, domain] of cube.labels) {
    if (!axis.startsWith(end) || domain.absent) continue
    labels[axis.slice(end.length)] = exampleValue(domain)
  }
  return labels
}

function exampleValue(domain: LabelDomain): string {
  if (!domain.all) return [...domain.values].sort()[0]!
  let value = 'other'
  for (let n = 2; domain.values.has(value); n++) value = `other-${n}`
  return value
}
