import type { GatewayPlugin, Phase } from '../../../src/plugin/define.ts'

/** Plugins with the names and the kinds of schema that the built-ins have; what they do is not of interest here. */
export function fakePlugins(): Map<string, GatewayPlugin> {
  const plugins = [
    jwt,
    rateLimit,
    authorize,
    headers,
    protocol,
    cors,
    concurrency,
    ipFilter,
    accessLog,
    metrics
  ]
  return new Map(plugins.map(plugin => [plugin.name, plugin]))
}

function fake(name: string, phase: Phase, schema: object, check?: GatewayPlugin['check']): GatewayPlugin {
  return { name, phase, schema, check, register() {} }
}

function options(properties: object, more: object = {}): object {
  return { type: 'object', properties, additionalProperties: false, ...more }
}

const words = { type: 'array', items: { type: 'string' } }

const jwt = fake(
  'jwt',
  'authenticate',
  options(
    {
      issuer: { type: 'string', description: 'Name of an issuer.' },
      issuers: { ...words, minItems: 1 },
      token: { type: 'string' }
    },
    { anyOf: [{ required: ['issuer'] }, { required: ['issuers'] }] }
  ),
  (given, config) => {
    const { issuer, issuers } = given as { issuer?: string; issuers?: string[] }
    const named: [string, (string | number)[]][] = issuer === undefined ? [] : [[issuer, ['issuer']]]
    for (const [index, each] of (issuers ?? []).entries()) named.push([each, ['issuers', index]])
    return named
      .filter(([name]) => !Object.hasOwn(config.issuers, name))
      .map(([name, path]) => ({
        path,
        message: `no issuer is named "${name}"`,
        remedy: `write one of: ${Object.keys(config.issuers).join(', ')}`
      }))
  }
)

const oneLimit = options(
  {
    limit: { type: 'integer', minimum: 1 },
    window: { type: 'string', format: 'duration', default: '1m' },
    by: { type: 'string', default: 'client.ip' },
    algorithm: { enum: ['fixed-window', 'sliding-window', 'token-bucket'], default: 'sliding-window' },
    burst: { type: 'integer' }
  },
  { required: ['limit'] }
)

const rateLimit = fake('rate-limit', 'limit', {
  $defs: { limit: oneLimit },
  anyOf: [{ $ref: '#/$defs/limit' }, { type: 'array', items: { $ref: '#/$defs/limit' }, minItems: 1 }]
})

const authorize = fake(
  'authorize',
  'authorize',
  options({ allow: { type: 'string' }, scopes: words, groups: words, mode: { enum: ['enforce', 'shadow'] } }),
  given => {
    if ((given as { allow?: string }).allow === 'explode') throw new Error('boom')
    return []
  }
)

const edits = options({ set: { type: 'object', additionalProperties: { type: 'string' } }, remove: words })
const headers = fake('headers', 'transform', options({ request: edits, response: edits }))

const protocol = fake(
  'protocol',
  'guard',
  options({
    contentTypes: words,
    rpcs: words,
    origins: words,
    subprotocols: words,
    maxMessage: { type: 'string', format: 'size' },
    idle: { type: 'string', format: 'duration' },
    lifetime: { type: 'string', format: 'duration' }
  })
)

const cors = fake('cors', 'guard', options({ origins: words, credentials: { type: 'boolean' } }))
const concurrency = fake(
  'concurrency',
  'limit',
  options({ limit: { type: 'integer' }, by: { type: 'string' } })
)
const ipFilter = fake(
  'ip-filter',
  'guard',
  options({ allow: { type: 'array', items: { type: 'string', format: 'cidr' } } })
)
const accessLog = fake('access-log', 'observe', options({}))
const metrics = fake('metrics', 'observe', options({}))
