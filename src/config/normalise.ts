import { branchErrors, dereference, type SchemaObject } from './ajv.ts'
import type { Path } from './config-problem.ts'
import { parseDuration, parsePercentage, parseSize } from './units.ts'

const conversions: Record<string, (text: string) => number | undefined> = {
  duration: parseDuration,
  size: parseSize,
  percentage: parsePercentage
}

export type Visit = (schema: SchemaObject, value: unknown, path: Path) => void

/**
 * A copy of a value that the schema accepts, in which defaults are filled in, durations are milliseconds, sizes bytes and
 * percentages fractions. `visit` sees every part beside its schema. Pure.
 */
export function normalise(schema: object, value: unknown, visit: Visit = () => {}): unknown {
  return convert(schema, value, [])

  function convert(part: object, data: unknown, path: Path): unknown {
    const resolved = dereference(part, schema)
    visit(resolved, data, path)
    const choices = (resolved.anyOf ?? resolved.oneOf) as object[] | undefined
    const chosen = choices?.find(choice => branchErrors(choice, schema, data).length === 0)
    let result = convertPlain(resolved, data, path)
    if (chosen) result = convert(chosen, result, path)
    for (const each of (resolved.allOf as object[] | undefined) ?? []) result = convert(each, result, path)
    return result
  }

  function convertPlain(part: SchemaObject, data: unknown, path: Path): unknown {
    if (typeof data === 'string') return conversions[String(part.format)]?.(data) ?? data
    if (Array.isArray(data)) {
      return data.map((item, index) => {
        const prefix = (part.prefixItems as object[] | undefined)?.[index]
        const items = prefix ?? part.items
        return isSchema(items) ? convert(items, item, [...path, index]) : item
      })
    }
    if (typeof data === 'object' && data !== null) return convertObject(part, data as SchemaObject, path)
    return data
  }

  function convertObject(part: SchemaObject, data: SchemaObject, path: Path): SchemaObject {
    const properties = (part.properties ?? {}) as Record<string, object>
    // Without a prototype where the user chooses the keys: a route may be named `constructor`.
    const result: SchemaObject = part.properties ? {} : Object.create(null)
    for (const [key, child] of Object.entries(data)) {
      // On an object with a prototype that would be an assignment to it.
      if (key === '__proto__' && part.properties) continue
      const known = Object.hasOwn(properties, key) ? properties[key] : part.additionalProperties
      result[key] = isSchema(known) ? convert(known, child, [...path, key]) : child
    }
    for (const [key, child] of Object.entries(properties)) {
      if (Object.hasOwn(result, key)) continue
      const fallback = dereference(child, schema).default ?? (child as SchemaObject).default
      if (fallback !== undefined) result[key] = convert(child, structuredClone(fallback), [...path, key])
    }
    return result
  }
}

function isSchema(value: unknown): value is object {
  return typeof value === 'object' && value !== null
}
