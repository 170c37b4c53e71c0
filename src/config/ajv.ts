import { Ajv2020, type ErrorObject, type ValidateFunction } from 'ajv/dist/2020.js'
import { isCidr } from './cidr.ts'
import { parseDuration, parsePercentage, parseSize } from './units.ts'

/** The formats that a schema of ours or of a plugin may name. The first three become numbers, see `normalise.ts`. */
export const formats = {
  duration: (text: string) => parseDuration(text) !== undefined,
  size: (text: string) => parseSize(text) !== undefined,
  percentage: (text: string) => parsePercentage(text) !== undefined,
  cidr: isCidr,
  uri: (text: string) => URL.canParse(text)
} as const

/** Nothing is coerced, removed or filled in here: what the user wrote is judged as it was written. */
const ajv = new Ajv2020({
  strict: true,
  strictTypes: false,
  strictTuples: false,
  strictRequired: false,
  allowUnionTypes: true,
  allErrors: true,
  verbose: true,
  addUsedSchema: false,
  formats,
  // Ajv would warn on the console; every finding goes where the user looks.
  logger: false
})
// Marks a reference to a secret: it must exist, and what stands in its place is never printed.
ajv.addKeyword({ keyword: 'x-secret', schemaType: 'boolean' })
// What to do about a value that is refused, where a general hint would mislead.
ajv.addKeyword({ keyword: 'x-remedy', schemaType: 'string' })

export type SchemaObject = Record<string, unknown>

const compiled = new WeakMap<object, ValidateFunction>()

/** Every way in which the value breaks the schema. Throws when the schema itself is not valid. */
export function schemaErrors(schema: object, value: unknown): ErrorObject[] {
  let validate = compiled.get(schema)
  if (!validate) {
    validate = ajv.compile(schema)
    compiled.set(schema, validate)
  }
  return validate(value) ? [] : [...(validate.errors ?? [])]
}

const branches = new WeakMap<object, object>()

/** As `schemaErrors`, for a part of a larger schema whose definitions it may refer to. */
export function branchErrors(branch: object, root: object, value: unknown): ErrorObject[] {
  let schema = branches.get(branch)
  if (!schema) {
    const { $defs, definitions } = root as SchemaObject
    schema = { ...($defs ? { $defs } : {}), ...(definitions ? { definitions } : {}), ...branch }
    branches.set(branch, schema)
  }
  return schemaErrors(schema, value)
}

/** Follows a reference into the definitions of the same schema. */
export function dereference(schema: object, root: object): SchemaObject {
  let current = schema as SchemaObject
  for (let depth = 0; depth < 10 && typeof current.$ref === 'string'; depth++) {
    const found = resolvePointer(root, current.$ref)
    if (!found) return current
    current = found
  }
  return current
}

function resolvePointer(root: object, reference: string): SchemaObject | undefined {
  if (!reference.startsWith('#/')) return reference === '#' ? (root as SchemaObject) : undefined
  let target: unknown = root
  for (const part of readPointer(reference.slice(1))) {
    if (typeof target !== 'object' || target === null) return undefined
    target = (target as SchemaObject)[part]
  }
  return typeof target === 'object' && target !== null ? (target as SchemaObject) : undefined
}

/** The keys of a JSON pointer (RFC 6901). */
export function readPointer(pointer: string): string[] {
  return pointer
    .split('/')
    .slice(1)
    .map(part => part.replaceAll('~1', '/').replaceAll('~0', '~'))
}
