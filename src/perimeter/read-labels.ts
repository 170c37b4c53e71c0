import type { Cursor } from './cursor.ts'
import { type Labels, missing, noneOf, oneOf, present, type Selector, type Term } from './selector.ts'

const valueShape = /^(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/
const nameShape = valueShape
const prefixShape = /^(?=.{1,253}$)[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*$/

export function isLabelValue(value: string): boolean {
  return valueShape.test(value)
}

export function isLabelKey(key: string): boolean {
  const slash = key.indexOf('/')
  const name = key.slice(slash + 1)
  return name !== '' && nameShape.test(name) && (slash === -1 || prefixShape.test(key.slice(0, slash)))
}

function checkKey(key: string, at: Cursor): void {
  if (!isLabelKey(key)) at.fail(`${JSON.stringify(key)} is not a label key`)
}

function checkValue(value: string, at: Cursor): void {
  if (!isLabelValue(value)) at.fail(`${JSON.stringify(value)} is not a label value`)
}

export function readLabels(at: Cursor): Labels {
  const labels: Record<string, string> = Object.create(null)
  for (const [key, value] of at.entries()) {
    checkKey(key, value)
    if (!value.isPresent) value.fail('must be a string')
    const text = value.string()
    if (text === undefined) continue
    checkValue(text, value)
    labels[key] = text
  }
  return labels
}

/** Free text: nothing but strings is asked for. Numbers and the like are left out. */
export function readAnnotations(at: Cursor): Labels {
  const annotations: Record<string, string> = Object.create(null)
  for (const [key, value] of at.entries()) {
    if (typeof value.value === 'string') annotations[key] = value.value
  }
  return annotations
}

/** A LabelSelector (S12); empty or absent selects everything. */
export function readSelector(at: Cursor): Selector {
  at.fields(['matchLabels', 'matchExpressions'])
  const terms: Term[] = Object.entries(readLabels(at.get('matchLabels'))).map(([key, value]) => ({
    key,
    domain: oneOf([value])
  }))
  for (const item of at.get('matchExpressions').items()) {
    const term = readExpression(item)
    if (term !== undefined) terms.push(term)
  }
  return terms
}

function readExpression(at: Cursor): Term | undefined {
  at.fields(['key', 'operator', 'values'])
  const key = at.get('key').string()
  const operator = at.get('operator').string()
  const values = at.get('values').strings()
  if (key === undefined) {
    at.fail('needs a key')
    return undefined
  }
  checkKey(key, at.get('key'))
  for (const value of at.get('values').items()) {
    if (typeof value.value === 'string') checkValue(value.value, value)
  }
  switch (operator) {
    case 'In':
    case 'NotIn':
      if (values.length === 0) at.fail(`${operator} needs values`)
      return { key, domain: operator === 'In' ? oneOf(values) : noneOf(values) }
    case 'Exists':
    case 'DoesNotExist':
      if (values.length > 0) at.fail(`${operator} must not have values`)
      return { key, domain: operator === 'Exists' ? present : missing }
    default:
      at.get('operator').fail('must be In, NotIn, Exists or DoesNotExist')
      return undefined
  }
}
