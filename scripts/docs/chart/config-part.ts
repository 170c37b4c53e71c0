import { configSchemaFile } from '../config-schema.ts'
import { keyed, label } from './definitions.ts'

type Schema = Record<string, unknown>

/** The schema of `config:` as definitions of the chart's schema: `config`, and what it refers to. */
export async function configDefinitions(): Promise<Record<string, Schema>> {
  const schema = JSON.parse(String(await configSchemaFile.render()), keysByPattern) as Schema
  const { $schema: _, title: __, $defs, ...config } = schema
  const { use, ...rest } = ($defs ?? {}) as Record<string, Schema>
  return { config, ...rest, ...(use ? { use: pluginUse(use) } : {}) }
}

interface Form extends Schema {
  const?: string
  properties?: Record<string, Schema>
}

/**
 * A use of a plugin, for Helm. Two differences to the configuration's own schema: custom plugins, which the chart cannot know, are
 * let through for the gateway to judge; and each built-in is looked up by its name, because of many alternatives Helm prints
 * the mistakes of every one.
 */
function pluginUse(use: Schema): Schema {
  const forms = (use.anyOf ?? []) as Form[]
  const bare = forms.flatMap(form => form.const ?? [])
  const withOptions = forms.flatMap(form => Object.entries(form.properties ?? {}))
  const needOptions = withOptions.map(([name]) => name).filter(name => !bare.includes(name))
  return {
    type: ['string', 'object'],
    pattern: '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$',
    not: { enum: needOptions },
    minProperties: 1,
    maxProperties: 1,
    properties: Object.fromEntries(withOptions)
  }
}

/** The maps of named things, in the words that Helm reports properly; see `keyed`. */
function keysByPattern(_key: string, schema: unknown): unknown {
  if (typeof schema !== 'object' || schema === null || !('propertyNames' in schema)) return schema
  const { propertyNames, additionalProperties, ...rest } = schema as Schema & { propertyNames: Schema }
  const pattern = propertyNames.maxLength === 63 ? label : String(propertyNames.pattern)
  return { ...rest, ...keyed(pattern, (additionalProperties ?? {}) as object) }
}
