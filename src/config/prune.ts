import { schemaErrors } from './ajv.ts'
import type { Path } from './config-problem.ts'
import { readPath } from './explain.ts'

/**
 * A copy of the value without the parts that break the schema, so that the rest can still be judged and all errors be
 * shown at once. Undefined when nothing is left that the schema accepts.
 */
export function prune(schema: object, value: Record<string, unknown>): Record<string, unknown> | undefined {
  const copy = structuredClone(value)
  // Removing a required part makes its parent invalid, so this climbs at most as high as the schema is deep.
  for (let round = 0; round < 12; round++) {
    const errors = schemaErrors(schema, copy)
    if (errors.length === 0) return copy
    for (const error of errors) {
      const path = readPath(error.instancePath, copy)
      const key = error.params.additionalProperty ?? error.propertyName ?? error.params.propertyName
      if (!remove(copy, key === undefined ? path : [...path, String(key)])) return undefined
    }
  }
  return undefined
}

/** Removes a key. In a list that would move the items behind it, so there the whole list goes. False for the root. */
function remove(root: Record<string, unknown>, path: Path): boolean {
  const firstIndex = path.findIndex(key => typeof key === 'number')
  const target = firstIndex < 0 ? path : path.slice(0, firstIndex)
  const last = target.at(-1)
  if (last === undefined) return false
  let parent: unknown = root
  for (const key of target.slice(0, -1)) {
    parent = (parent as Record<string, unknown> | undefined)?.[key]
  }
  if (typeof parent === 'object' && parent !== null) delete (parent as Record<string, unknown>)[last]
  return true
}
