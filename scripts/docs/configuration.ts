import type { SchemaObject } from '../../src/config/ajv.ts'
import { baseSchema } from '../../src/config/schema.ts'
import { durationExamples, sizeExamples } from '../../src/config/units.ts'
import type { GeneratedFile } from './generate.ts'
import { page, table } from './markdown.ts'
import { rowHeadings, schemaRows, typeName } from './schema-rows.ts'

const introduction = [
  'Every key of the configuration: one YAML file, or a folder whose `*.yaml` files are merged in the order of their names.',
  'Unknown keys are refused, and all errors are shown at once, each as `file:line:col  path  what is wrong  what to do`.',
  '',
  `A **duration** is a number with a unit: ${durationExamples}. A **size** is one too: ${sizeExamples}. A **secret** is never`,
  'written into the configuration but named, as `{ env: NAME }` or `{ file: PATH }`. **NAME** stands for a name of your choice:',
  'lower-case letters, digits and hyphens. The options of plugins are in [plugins.md](plugins.md).'
].join('\n')

export const configurationPage: GeneratedFile = {
  path: 'docs/reference/configuration.md',
  render() {
    const lines = page('Configuration', introduction, 'src/config/schema.ts')
    const sections = (baseSchema as SchemaObject).properties as Record<string, SchemaObject>
    for (const [name, section] of Object.entries(sections)) lines.push(...describeSection(name, section))
    return `${lines.join('\n').trimEnd()}\n`
  }
}

function describeSection(name: string, section: SchemaObject): string[] {
  const lines = [`## ${name}`, '', String(section.description), '']
  const keyed = typeof section.additionalProperties === 'object'
  const rows = keyed
    ? schemaRows(section.additionalProperties as object, section, `${name}.NAME.`)
    : schemaRows(section, section, `${name}.`)
  if (rows.length === 0) return [...lines, `Type: ${typeName(section, section)}.`, '']
  return [...lines, ...table(rowHeadings, rows)]
}
