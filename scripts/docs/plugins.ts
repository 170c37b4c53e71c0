import { type GatewayPlugin, phases } from '../../src/plugin/define.ts'
import { builtinPlugins } from './builtins.ts'
import type { GeneratedFile } from './generate.ts'
import { code, page, table } from './markdown.ts'
import { rowHeadings, schemaRows, typeName } from './schema-rows.ts'

const introduction = [
  `The built-in plugins, in the order in which their phases run: ${phases.join(', ')}. Inside a phase the order is the YAML's.`,
  'An entry of a `plugins` list is a name, or a name with options: `- rate-limit: { limit: 100, window: 1m }`.'
].join('\n')

export const pluginsPage: GeneratedFile = {
  path: 'docs/reference/plugins.md',
  async render() {
    const plugins = await builtinPlugins()
    if (!plugins) return null
    const ordered = phases.flatMap(phase => plugins.filter(plugin => plugin.phase === phase))
    const lines = page('Plugins', introduction, 'plugins/')
    const overview = ordered.map(plugin => [`[${plugin.name}](#${plugin.name})`, plugin.phase, about(plugin)])
    lines.push(...table(['Plugin', 'Phase', 'What it does'], overview))
    for (const plugin of ordered) lines.push(...describePlugin(plugin))
    return `${lines.join('\n').trimEnd()}\n`
  }
}

function describePlugin(plugin: GatewayPlugin): string[] {
  const lines = [`## ${plugin.name}`, '', `Phase: ${code(plugin.phase)}. ${about(plugin)}`.trimEnd(), '']
  if (plugin.composes) return [...lines, 'Options: a list of plugins, each as in `plugins`.', '']
  const rows = schemaRows(plugin.schema)
  const form = typeName(plugin.schema, plugin.schema)
  if (form !== 'map') lines.push(`Options: ${form}.`, '')
  return rows.length > 0 ? [...lines, ...table(rowHeadings, rows)] : [...lines, 'It has no options.', '']
}

function about({ schema }: GatewayPlugin): string {
  return 'description' in schema ? String(schema.description) : ''
}
