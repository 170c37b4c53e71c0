/** Label selectors (S12): every term must hold; `NotIn` and `DoesNotExist` hold for objects without the key too. */
export type Labels = Readonly<Record<string, string>>

export interface Term {
  readonly key: string
  /** The values that satisfy the term. */
  readonly domain: LabelDomain
}
export type Selector = readonly Term[]

/** What one label may be: some values (or, when `all` is true, any value but these), and possibly no label at all. */
export interface LabelDomain {
  readonly absent: boolean
  readonly all: boolean
  readonly values: ReadonlySet<string>
}

export const namespaceName = 'kubernetes.io/metadata.name'

const none: ReadonlySet<string> = new Set()
export const anyLabel: LabelDomain = { absent: true, all: true, values: none }
export const present: LabelDomain = { absent: false, all: true, values: none }
export const missing: LabelDomain = { absent: true, all: false, values: none }

export function oneOf(values: Iterable<string>): LabelDomain {
  return { absent: false, all: false, values: new Set(values) }
}

export function noneOf(values: Iterable<string>): LabelDomain {
  return { absent: true, all: true, values: new Set(values) }
}

export function complement(domain: LabelDomain): LabelDomain {
  return { absent: !domain.absent, all: !domain.all, values: domain.values }
}

export function meet(a: LabelDomain, b: LabelDomain): LabelDomain {
  const absent = a.absent && b.absent
  if (a.all && b.all) return { absent, all: true, values: new Set([...a.values, ...b.values]) }
  if (a.all) return { absent, all: false, values: keep(b.values, value => !a.values.has(value)) }
  if (b.all) return { absent, all: false, values: keep(a.values, value => !b.values.has(value)) }
  return { absent, all: false, values: keep(a.values, value => b.values.has(value)) }
}

function keep(values: ReadonlySet<string>, wanted: (value: string) => boolean): ReadonlySet<string> {
  return new Set([...values].filter(wanted))
}

/** Label values are unbounded in number, so "all but these" is never empty. */
export function isEmpty(domain: LabelDomain): boolean {
  return !domain.absent && !domain.all && domain.values.size === 0
}

export function isWithin(inner: LabelDomain, outer: LabelDomain): boolean {
  return isEmpty(meet(inner, complement(outer)))
}

export function admits(domain: LabelDomain, value: string | undefined): boolean {
  return value === undefined ? domain.absent : domain.all !== domain.values.has(value)
}

export function matches(selector: Selector, labels: Labels): boolean {
  return selector.every(term =>
    admits(term.domain, Object.hasOwn(labels, term.key) ? labels[term.key] : undefined)
  )
}

export function selectorOf(labels: Labels): Selector {
  return Object.entries(labels).map(([key, value]) => ({ key, domain: oneOf([value]) }))
}

/** Can one object match both? */
export function areCompatible(a: Selector, b: Selector): boolean {
  const seen = new Map<string, LabelDomain>()
  for (const { key, domain } of [...a, ...b]) {
    const both = meet(seen.get(key) ?? anyLabel, domain)
    if (isEmpty(both)) return false
    seen.set(key, both)
  }
  return true
}

export function formatLabels(labels: Labels): string {
  const text = Object.entries(labels).map(([key, value]) => `${key}=${value}`)
  return text.length === 0 ? 'no labels' : text.join(',')
}

export function formatSelector(selector: Selector): string {
  if (selector.length === 0) return 'every pod'
  return selector.map(formatTerm).join(', ')
}

function formatTerm({ key, domain }: Term): string {
  const values = [...domain.values]
  if (domain.all) {
    if (values.length > 0) return `${key} not in (${values.join(', ')})`
    return domain.absent ? `${key} anything` : `${key} exists`
  }
  if (values.length === 0) return `no ${key}`
  return values.length === 1 ? `${key}=${values[0]}` : `${key} in (${values.join(', ')})`
}
