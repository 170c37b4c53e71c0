import { configSchema } from '../../src/config/schema.ts'
import { builtinPlugins } from './builtins.ts'
import type { GeneratedFile } from './generate.ts'

/** For editors and for the chart: a comment `# yaml-language-server: $schema=…` on top of a file is all that they need. */
export const configSchemaFile: GeneratedFile = {
  path: 'docs/reference/config.schema.json',
  async render() {
    const plugins = new Map(((await builtinPlugins()) ?? []).map(plugin => [plugin.name, plugin]))
    return `${JSON.stringify(portable(configSchema(plugins)), null, 2)}\n`
  }
}

/** Formats of ours, in words that every JSON Schema reader knows. */
const patterns: Record<string, { any: string; positive: string }> = {
  duration: { any: '^[0-9]+(ms|s|m|h|d)$', positive: '^0*[1-9][0-9]*(ms|s|m|h|d)$' },
  size: { any: '^[0-9]+(Ki|Mi|Gi)$', positive: '^0*[1-9][0-9]*(Ki|Mi|Gi)$' },
  percentage: { any: '^[0-9]{1,3}%$', positive: '^0*[1-9][0-9]{0,2}%$' },
  cidr: { any: '^[0-9a-fA-F.:]+/[0-9]{1,3}$', positive: '' }
}

function portable(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(portable)
  if (typeof schema !== 'object' || schema === null) return schema
  const copy = Object.fromEntries(
    Object.entries(schema)
      .filter(([key]) => key !== 'x-secret' && key !== 'x-remedy')
      .map(([key, value]) => [key, portable(value)])
  )
  const pattern = typeof copy.format === 'string' ? patterns[copy.format] : undefined
  if (!pattern || copy.type !== 'string') return copy
  const { format: _, ...rest } = copy
  return { ...rest, pattern: copy.pattern === '[1-9]' ? pattern.positive : pattern.any }
}
