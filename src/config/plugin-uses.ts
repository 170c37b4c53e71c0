import type { GatewayPlugin } from '../plugin/define.ts'
import { schemaErrors } from './ajv.ts'
import type { Path } from './config-problem.ts'
import { explainErrors, type Finding } from './explain.ts'
import { nearest } from './nearest.ts'
import { normalise, type Visit } from './normalise.ts'
import { list, show } from './words.ts'

export type PluginMap = ReadonlyMap<string, GatewayPlugin>

/** One entry of a `plugins` list that was understood. */
export interface CheckedUse {
  name: string
  plugin: GatewayPlugin
  options: unknown
  /** Where the options are written. */
  path: Path
}

export interface CheckedUses {
  uses: CheckedUse[]
  findings: Finding[]
}

/** Judges every entry of a `plugins` list with the schema of the plugin that it names. Pure. */
export function readPluginUses(
  entries: readonly unknown[],
  path: Path,
  plugins: PluginMap,
  visit: Visit
): CheckedUses {
  const result: CheckedUses = { uses: [], findings: [] }
  for (const [index, entry] of entries.entries()) readUse(entry, [...path, index], plugins, visit, result)
  return result
}

function readUse(entry: unknown, path: Path, plugins: PluginMap, visit: Visit, result: CheckedUses): void {
  const { findings, uses } = result
  const shape = splitEntry(entry)
  if (!shape) {
    const several =
      typeof entry === 'object' && entry !== null && Object.keys(entry).length > 1 && !Array.isArray(entry)
    findings.push(
      several
        ? {
            path,
            message: `has ${Object.keys(entry).length} keys: ${list(Object.keys(entry))}`,
            remedy: 'write one plugin per entry, and indent its options deeper than its name'
          }
        : {
            path,
            message: `${show(entry)} is not a plugin`,
            remedy: 'write a name, or a name and its options'
          }
    )
    return
  }

  const plugin = plugins.get(shape.name)
  const optionsPath = [...path, shape.name]
  if (!plugin) {
    const near = nearest(shape.name, plugins.keys())
    const known = `known plugins: ${list([...plugins.keys()].sort(), 40)}`
    findings.push({
      path: shape.bare ? path : optionsPath,
      message: `no plugin is named ${show(shape.name)}`,
      remedy: near ? `did you mean ${JSON.stringify(near)}? ${known}` : known
    })
    return
  }

  // `- jwt:` with nothing behind it is how YAML says "no options".
  const written = shape.options ?? {}
  try {
    const errors = schemaErrors(plugin.schema, written)
    if (errors.length > 0) {
      const found = explainErrors(errors, plugin.schema, written)
      findings.push(...found.map(finding => ({ ...finding, path: [...optionsPath, ...finding.path] })))
      return
    }
    const options = normalise(plugin.schema, written, (schema, value, below) =>
      visit(schema, value, [...optionsPath, ...below])
    )
    uses.push({ name: shape.name, plugin, options, path: optionsPath })
  } catch (error) {
    findings.push({
      path: optionsPath,
      message: `the schema of plugin ${shape.name} is not valid: ${(error as Error).message}`,
      remedy: 'correct the plugin'
    })
  }
}

function splitEntry(entry: unknown): { name: string; options: unknown; bare: boolean } | undefined {
  if (typeof entry === 'string') return { name: entry, options: undefined, bare: true }
  if (typeof entry !== 'object' || entry === null || Array.isArray(entry)) return undefined
  const [pair, ...others] = Object.entries(entry)
  if (!pair || others.length > 0) return undefined
  return { name: pair[0], options: pair[1], bare: false }
}
