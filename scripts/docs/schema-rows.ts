import { dereference, type SchemaObject } from '../../src/config/ajv.ts'
import { code } from './markdown.ts'

export const rowHeadings = ['Key', 'Type', 'Default', 'Description'] as const

/** One table row for each key below an object schema, nested keys as dotted paths. */
export function schemaRows(schema: object, root: object = schema, prefix = ''): string[][] {
  const resolved = withProperties(dereference(schema, root), root)
  const required = new Set((resolved.required as string[] | undefined) ?? [])
  return Object.entries((resolved.properties ?? {}) as Record<string, object>).flatMap(([key, child]) => {
    const property = dereference(child, root)
    const name = `${prefix}${key}`
    return [
      [
        code(name),
        typeName(property, root),
        defaultOf(property, required.has(key)),
        String(property.description ?? '')
      ],
      ...nestedRows(property, root, name)
    ]
  })
}

function nestedRows(property: SchemaObject, root: object, name: string): string[][] {
  if (property['x-secret']) return []
  if (isSchema(property.items)) return schemaRows(property.items, root, `${name}[].`)
  if (isSchema(property.additionalProperties))
    return schemaRows(property.additionalProperties, root, `${name}.NAME.`)
  return schemaRows(property, root, `${name}.`)
}

/** Of several forms the one that has keys. */
function withProperties(schema: SchemaObject, root: object): SchemaObject {
  if (schema.properties) return schema
  const forms = choices(schema).map(form => dereference(form, root))
  return forms.find(form => form.properties) ?? schema
}

export function typeName(schema: object, root: object): string {
  const resolved = dereference(schema, root)
  if (resolved['x-secret']) return 'secret: `{ env: NAME }` or `{ file: PATH }`'
  if (typeof resolved.format === 'string') return resolved.format
  if (resolved.const !== undefined) return code(String(resolved.const))
  if (Array.isArray(resolved.enum)) return resolved.enum.map(value => code(String(value))).join(', ')
  const forms = choices(resolved)
  if (forms.length > 0 && !resolved.type)
    return [...new Set(forms.map(form => typeName(form, root)))].join(' or ')
  if (resolved.type === 'array')
    return isSchema(resolved.items) ? `list of ${itemName(resolved.items, root)}` : 'list'
  if (resolved.type === 'object') return isSchema(resolved.additionalProperties) ? 'map by name' : 'map'
  if (resolved.type === 'string') return 'text'
  const bounds = [resolved.minimum, resolved.maximum].every(bound => typeof bound === 'number')
  const name = [resolved.type ?? 'any'].flat().join(' or ')
  return bounds ? `${name}, ${resolved.minimum} to ${resolved.maximum}` : name
}

function itemName(items: object, root: object): string {
  const name = typeName(items, root)
  return name === 'any' ? 'plugins' : name
}

function defaultOf(schema: SchemaObject, required: boolean): string {
  if (schema.default === undefined) return required ? '**required**' : ''
  if (typeof schema.default === 'string') return code(schema.default)
  const text = JSON.stringify(schema.default)
  return text === '{}' ? '' : code(text.replaceAll('"', '').replaceAll(',', ', '))
}

function choices(schema: SchemaObject): object[] {
  return ((schema.anyOf ?? schema.oneOf ?? []) as unknown[]).filter(isSchema)
}

function isSchema(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
