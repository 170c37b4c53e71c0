import type { GeneratedFile } from '../generate.ts'
import { configDefinitions } from './config-part.ts'
import { definitions } from './definitions.ts'
import { readValues, type ValueNode } from './read-values.ts'

type Schema = Record<string, unknown>

/** What Helm judges values by, before it renders anything. */
export const chartSchemaFile: GeneratedFile = {
  path: 'helm/sallyport/values.schema.json',
  async render() {
    const schema = {
      $schema: 'https://json-schema.org/draft/2020-12/schema',
      title: 'Values of the Sallyport chart',
      ...mapSchema(await readValues()),
      $defs: { ...definitions, ...(await configDefinitions()) }
    }
    return `${JSON.stringify(schema, null, 2)}\n`
  }
}

function mapSchema(nodes: readonly ValueNode[]): Schema {
  return {
    type: 'object',
    properties: Object.fromEntries(nodes.map(node => [node.key, schemaOf(node)])),
    additionalProperties: false
  }
}

function schemaOf(node: ValueNode): Schema {
  const described = node.description === '' ? {} : { description: node.description }
  if (node.children !== undefined) return { ...mapSchema(node.children), ...described, ...node.schema }
  if (node.description === '')
    throw new Error(`values.yaml: ${node.path} has no comment beginning with "# --"`)
  return { ...typeOf(node), ...described, ...node.schema }
}

/** The type of a key that says nothing itself is that of its default. */
function typeOf({ path, value, schema }: ValueNode): Schema {
  if ('$ref' in schema || 'enum' in schema || 'type' in schema) return {}
  if (typeof value === 'string' || typeof value === 'boolean') return { type: typeof value }
  if (Number.isInteger(value)) return { type: 'integer' }
  if (Array.isArray(value) && 'items' in schema) return { type: 'array' }
  if (typeof value === 'object' && value !== null && 'additionalProperties' in schema)
    return { type: 'object' }
  throw new Error(`values.yaml: the default of ${path} does not say its type: add @schema`)
}
