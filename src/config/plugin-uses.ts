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
  /** Of a plugin that composes others: those, in place of options. */
  inner?: CheckedUse[]
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
    if (plugin.composes) {
      readInner(shape.name, plugin, written as unknown[], optionsPath, plugins, visit, result)
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

/** The uses in the options of a plugin that composes others. Each of them has to tell which requests are its own. */
function readInner(
  name: string,
  plugin: GatewayPlugin,
  written: readonly unknown[],
  path: Path,
  plugins: PluginMap,
  visit: Visit,
  result: CheckedUses
): void {
  const read = readPluginUses(written, path, plugins, visit)
  result.findings.push(...read.findings)
  for (const inner of read.uses) {
    if (inner.plugin.carries !== undefined) continue
    const choices = [...plugins.values()].filter(({ carries }) => carries).map(choice => choice.name)
    result.findings.push({
      path: inner.path,
      message: `plugin ${inner.name} cannot stand in ${name}`,
      remedy: `write plugins that authenticate: ${list(choices.sort())}`
    })
  }
  for (const inner of read.uses.slice(0, -1)) {
    if (!inner.plugin.takesAll) continue
    const message = `plugin ${inner.name} takes every request, so what follows it is never asked`
    result.findings.push({ path: inner.path, message, remedy: 'write it last' })
  }
  if (read.findings.length > 0) return
  const options = read.uses.map(inner => ({ name: inner.name, options: inner.options }))
  result.uses.push({ name, plugin, options, path, inner: read.uses })
}

function splitEntry(entry: unknown): { name: string; options: unknown; bare: boolean } | undefined {
  if (typeof entry === 'string') return { name: entry, options: undefined, bare: true }
  if (typeof entry !== 'object' || entry === null || Array.isArray(entry)) return undefined
  const [pair, ...others] = Object.entries(entry)
  if (!pair || others.length > 0) return undefined
  return { name: pair[0], options: pair[1], bare: false }
}
