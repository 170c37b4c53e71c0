import type { ErrorObject } from 'ajv/dist/2020.js'
import { branchErrors, dereference, readPointer, type SchemaObject } from './ajv.ts'
import type { Path } from './config-problem.ts'
import { nearest } from './nearest.ts'
import { durationExamples, sizeExamples } from './units.ts'
import { list, looksSecret, show, suggest } from './words.ts'

export interface Finding {
  path: Path
  message: string
  remedy: string
}

/**
 * Turns what Ajv reports into one finding for each thing that a person has to change. `root` is the schema that the
 * errors come from, `value` what was judged. Pure.
 */
export function explainErrors(errors: readonly ErrorObject[], root: object, value: unknown): Finding[] {
  const findings = new Map<string, Finding & { rank: number }>()
  for (const error of withoutBranchNoise(errors)) {
    for (const finding of explainOne(error, root, value)) {
      const key = JSON.stringify(finding.path)
      const rank = ranks.indexOf(error.keyword)
      const earlier = findings.get(key)
      if (!earlier || rank < earlier.rank) findings.set(key, { ...finding, rank })
    }
  }
  return [...findings.values()].map(({ path, message, remedy }) => ({ path, message, remedy }))
}

/** Of several errors about one value the first of these is told; those not named here come before all. */
const ranks = ['type', 'enum', 'const', 'format', 'minLength', 'pattern']

/** The errors of each branch of an `anyOf` come before its own; `explainChoice` looks at the branches again. */
function withoutBranchNoise(errors: readonly ErrorObject[]): ErrorObject[] {
  const choices = errors.filter(error => isChoice(error))
  return errors.filter((error, index) => {
    if (error.propertyName !== undefined && error.keyword !== 'propertyNames') return false
    if (error.keyword === 'if') return false
    return !choices.some(
      choice =>
        choice !== error &&
        index < errors.indexOf(choice) &&
        error.instancePath.startsWith(choice.instancePath) &&
        (error.schemaPath.startsWith(`${choice.schemaPath}/`) ||
          /^#\/(\$defs|definitions)\//.test(error.schemaPath))
    )
  })
}

function isChoice(error: ErrorObject): boolean {
  return error.keyword === 'anyOf' || error.keyword === 'oneOf'
}

function explainOne(error: ErrorObject, root: object, value: unknown): Finding[] {
  const path = readPath(error.instancePath, value)
  const schema = (error.parentSchema ?? {}) as SchemaObject
  const at = (message: string, remedy: string, ...below: (string | number)[]): Finding[] => [
    { path: [...path, ...below], message, remedy }
  ]
  const shown = path.some(key => looksSecret(String(key))) ? 'the value' : show(error.data)

  // A secret that was written down must not be repeated in a log.
  if (schema['x-secret'] === true)
    return at(secretFault(error), remedyIn(schema) ?? 'write { env: NAME } or { file: PATH }')

  switch (error.keyword) {
    case 'additionalProperties': {
      const key = String(error.params.additionalProperty)
      const known = Object.keys((schema.properties ?? {}) as object)
      return at('is not a known key', suggest(nearest(key, known), known), key)
    }
    case 'required': {
      const key = String(error.params.missingProperty)
      const property = ((schema.properties ?? {}) as Record<string, SchemaObject>)[key]
      const what = property?.description
      return at('is missing', typeof what === 'string' ? `add it: ${firstSentence(what)}` : 'add it', key)
    }
    case 'type':
      if (error.data === null) return at('has no value', typeRemedy(schema, error.data))
      return at(`${shown} is not ${kindOf(schema)}`, typeRemedy(schema, error.data))
    case 'format':
      return at(`${shown} is not ${kindOf(schema)}`, remedyOf(schema))
    case 'pattern':
      return isUnit(schema)
        ? at(`${shown} is not longer than nothing`, remedyOf(schema))
        : at(`${shown} does not have the form ${schema.pattern}`, remedyOf(schema))
    case 'enum': {
      const known: unknown[] = error.params.allowedValues
      const words = known.map(String)
      // A map has no spelling, and one with a key `toString` cannot even be made a string.
      const meant = typeof error.data === 'object' ? undefined : nearest(String(error.data), words)
      return at(`${shown} is not a known value`, remedyIn(schema) ?? suggest(meant, words))
    }
    case 'const':
      return at(
        `${shown} is not ${show(error.params.allowedValue)}`,
        `write ${show(error.params.allowedValue)}`
      )
    case 'propertyNames':
      return at(
        'is not a valid name',
        'use at most 63 lower-case letters, digits and hyphens, beginning and ending with a letter or digit',
        error.params.propertyName
      )
    case 'minimum':
    case 'maximum':
    case 'exclusiveMinimum':
    case 'exclusiveMaximum':
      return at(`${shown} is out of range`, `write a number ${range(schema)}`)
    case 'minLength':
      return at('is empty', remedyOf(schema))
    case 'maxLength':
      return at('is too long', `write at most ${schema.maxLength} characters`)
    case 'minItems':
    case 'minProperties':
      return at(
        error.params.limit === 1 ? 'is empty' : 'has too few entries',
        `write at least ${entries(error.params.limit)}`
      )
    case 'maxItems':
    case 'maxProperties':
      return at('has too many entries', `write at most ${entries(error.params.limit)}`)
    case 'uniqueItems':
      return at('is in the list twice', 'keep one of them', error.params.i)
    case 'anyOf':
    case 'oneOf':
      return explainChoice(error, root, path)
    default:
      return at(error.message ?? `breaks the rule ${error.keyword}`, remedyOf(schema))
  }
}

/** Explains by the branch that the user most likely meant: the one whose kind of value fits and that fails deepest. */
function explainChoice(error: ErrorObject, root: object, path: Path): Finding[] {
  if (error.keyword === 'oneOf' && Array.isArray(error.params.passingSchemas)) {
    return [{ path, message: 'fits more than one of the accepted forms', remedy: 'write only one of them' }]
  }
  const branches = (error.schema as object[]).map(branch => ({
    schema: dereference(branch, root),
    errors: branchErrors(branch, root, error.data)
  }))
  const fitting = branches.filter(branch => !branch.errors.some(isWrongKind))
  const [best] = fitting.sort(
    (a, b) => depth(b.errors) - depth(a.errors) || a.errors.length - b.errors.length
  )
  if (!best) {
    const kinds = [...new Set(branches.map(branch => kindOf(branch.schema)))].join(' or ')
    return [{ path, message: `${show(error.data)} is not ${kinds}`, remedy: `write ${kinds}` }]
  }
  return explainErrors(best.errors, best.schema, error.data).map(finding => ({
    ...finding,
    path: [...path, ...finding.path]
  }))
}

function isWrongKind(error: ErrorObject): boolean {
  return error.instancePath === '' && ['type', 'const', 'enum'].includes(error.keyword)
}

/** A branch in which only deep parts are wrong is nearer to what was meant than one that lacks a key at the top. */
function depth(errors: readonly ErrorObject[]): number {
  return Math.min(...errors.map(error => error.instancePath.split('/').length))
}

function secretFault(error: ErrorObject): string {
  if (error.keyword === 'type') return 'is not a reference to a secret'
  if (error.keyword === 'additionalProperties')
    return `${error.params.additionalProperty} is no source of a secret`
  if (error.keyword === 'minProperties' || error.keyword === 'required')
    return 'does not say where the secret is'
  return 'says twice where the secret is'
}

function isUnit(schema: SchemaObject): boolean {
  return ['duration', 'size', 'percentage'].includes(String(schema.format))
}

function kindOf(schema: SchemaObject): string {
  switch (schema.format) {
    case 'duration':
      return 'a duration'
    case 'size':
      return 'a size'
    case 'percentage':
      return 'a percentage'
    case 'cidr':
      return 'an address block'
    case 'uri':
      return 'a URL'
  }
  if (schema.const !== undefined) return show(schema.const)
  if (Array.isArray(schema.enum)) return `one of ${list(schema.enum)}`
  return [schema.type]
    .flat()
    .map(type => kinds[String(type)] ?? String(type))
    .join(' or ')
}

const kinds: Record<string, string> = {
  string: 'text',
  number: 'a number',
  integer: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  object: 'a map',
  null: 'nothing'
}

function remedyIn(schema: SchemaObject): string | undefined {
  return typeof schema['x-remedy'] === 'string' ? schema['x-remedy'] : undefined
}

function remedyOf(schema: SchemaObject): string {
  const own = remedyIn(schema)
  if (own !== undefined) return own
  switch (schema.format) {
    case 'duration':
      return `write a number with a unit: ${durationExamples}`
    case 'size':
      return `write a number with a unit: ${sizeExamples}`
    case 'percentage':
      return 'write a whole number from 0 to 100 and %: 10%'
    case 'cidr':
      return 'write an address and a prefix length: 10.0.0.0/8, 192.0.2.1/32, 2001:db8::/32'
    case 'uri':
      return 'write a whole URL: https://host/path'
  }
  return typeof schema.description === 'string'
    ? firstSentence(schema.description)
    : `write ${kindOf(schema)}`
}

function typeRemedy(schema: SchemaObject, data: unknown): string {
  if (data === null) return 'write a value, or remove the key'
  if (schema.format !== undefined || remedyIn(schema)) return remedyOf(schema)
  const types = [schema.type].flat()
  const scalar = typeof data !== 'object'
  if (types.includes('array') && scalar) return `write a list: [${String(data).slice(0, 40)}]`
  if (types.includes('string') && scalar) return `put it in quotes: "${data}"`
  if (
    (types.includes('integer') || types.includes('number')) &&
    typeof data === 'string' &&
    /^\d+$/.test(data)
  ) {
    return `write it without quotes: ${data}`
  }
  if (types.includes('object') && schema.properties)
    return `write keys below it: ${list(Object.keys(schema.properties))}`
  return `write ${kindOf(schema)}`
}

function entries(count: number): string {
  return count === 1 ? '1 entry' : `${count} entries`
}

function range(schema: SchemaObject): string {
  const low = schema.minimum ?? schema.exclusiveMinimum
  const high = schema.maximum ?? schema.exclusiveMaximum
  if (low === undefined) return `up to ${high}`
  return high === undefined ? `from ${low} up` : `from ${low} to ${high}`
}

function firstSentence(text: string): string {
  const end = text.search(/[.:](\s|$)/)
  return end < 0 ? text : text.slice(0, end)
}

/** A JSON pointer as a path; positions of lists become numbers. */
export function readPath(pointer: string, value: unknown): Path {
  let current = value
  return readPointer(pointer).map(key => {
    const step = Array.isArray(current) ? Number(key) : key
    current = (current as Record<string | number, unknown> | undefined)?.[step]
    return step
  })
}
