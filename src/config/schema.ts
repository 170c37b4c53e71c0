import { type Static, Type } from 'typebox'
import type { GatewayPlugin } from '../plugin/define.ts'
import { schemaErrors } from './ajv.ts'
import { issuer } from './schema/issuer.ts'
import { limits } from './schema/limits.ts'
import { listeners } from './schema/listeners.ts'
import { type match, pluginUses, routeSchema } from './schema/route.ts'
import { upstream } from './schema/upstream.ts'
import { choice, duration, named, object, secret, text } from './shapes.ts'

/**
 * The one description of the configuration: the types, `docs/reference/config.schema.json`, the reference tables and the
 * chart's `values.schema.json` are made from it. Properties with a default may be left out by the user; the types below
 * describe the configuration after `validate` has filled them in and turned durations into ms and sizes into bytes.
 */

export type { PluginUse, SecretRef } from './shapes.ts'

const session = object(
  {
    secret: secret('Key that session cookies are signed with, at least 32 characters.'),
    cookie: text('Name of the cookie.', { default: '__Host-sallyport' }),
    idle: duration('A session ends when it is not used for this long.', { default: '1h' }),
    lifetime: duration('A session ends after this long, used or not.', { default: '12h' })
  },
  { description: 'Browser sessions, for sign-in.' }
)

const identity = object(
  {
    sign: Type.Optional(
      object(
        { key: secret('Private key in PEM for ES256.') },
        { description: 'Sends the identity to upstreams as a signed token, `X-Sallyport-Identity`.' }
      )
    )
  },
  { description: 'How upstreams learn who a request is from.' }
)

const redis = object(
  {
    url: secret('URL of the server, e.g. `rediss://:password@redis:6379`.'),
    onError: choice(
      ['local', 'allow', 'deny'],
      'Limits while Redis is down: fall back to limits of each replica, allow, or deny. Sessions get 503 then.',
      { default: 'local' }
    )
  },
  { description: 'Rate limits and sessions that replicas share. Without it they live in memory.' }
)

function wholeSchema(items?: object) {
  return object(
    {
      externalUrl: Type.Optional(
        text(
          'How clients reach the gateway, e.g. `https://api.example.com`. Needed by sign-in and signed identity.'
        )
      ),
      listeners,
      trustedProxies: Type.Array(Type.String({ format: 'cidr' }), {
        default: [],
        uniqueItems: true,
        description: 'CIDRs of proxies whose X-Forwarded-For is believed.'
      }),
      limits,
      issuers: named(issuer, 'Identity providers by name.'),
      session: Type.Optional(session),
      identity: Type.Optional(identity),
      redis: Type.Optional(redis),
      upstreams: named(upstream, 'Backend services by name.'),
      plugins: pluginUses("Plugins of every route, before the route's own.", items),
      routes: named(routeSchema(items), 'Routes by name.')
    },
    { description: 'Configuration of the Sallyport gateway.' }
  )
}

const base = wholeSchema()
const baseRoute = routeSchema()

export type Config = Static<typeof base>
export type RouteConfig = Static<typeof baseRoute>
export type MatchConfig = Static<typeof match>
export type IssuerConfig = Static<typeof issuer>
export type LimitsConfig = Static<typeof limits>
export type ListenerConfig = { host: string; port: number }
export type HttpsListenerConfig = NonNullable<Static<typeof listeners>['https']>
export type SessionConfig = Static<typeof session>
export type RedisConfig = Static<typeof redis>
/** `endpoints` is never empty: `url` is its only element when that is what the user wrote. */
export type UpstreamConfig = Static<typeof upstream>

/** The schema without knowledge of plugins: an entry of a `plugins` list is a word or an object. */
export const baseSchema: object = base

type Describable = Pick<GatewayPlugin, 'name' | 'phase' | 'schema' | 'composes'>

/** JSON Schema (2020-12) of the whole configuration, with the options of every plugin that is known. */
export function configSchema(plugins: ReadonlyMap<string, Describable>): object {
  const known = [...plugins.values()]
  const $defs: Record<string, unknown> = { use: { anyOf: known.flatMap(useForms) } }
  for (const { name, schema, composes } of known) {
    const whole = composes ? { ...schema, items: { $ref: '#/$defs/use' } } : schema
    $defs[`plugin-${name}`] = composes ? whole : moveReferences(whole, `#/$defs/plugin-${name}`)
  }
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'Sallyport configuration',
    ...(known.length > 0 ? { $defs, ...wholeSchema({ $ref: '#/$defs/use' }) } : wholeSchema())
  }
}

/** A bare name where the plugin needs no options, and a map from the name to them. */
function useForms({ name, phase, schema }: Describable): object[] {
  const bare = { const: name, description: `Plugin ${name} (${phase}) without options.` }
  const withOptions = {
    type: 'object',
    properties: { [name]: { $ref: `#/$defs/plugin-${name}` } },
    required: [name],
    additionalProperties: false,
    description: `Plugin ${name} (${phase}).`
  }
  return schemaErrors(schema, {}).length === 0 ? [bare, withOptions] : [withOptions]
}

/** A schema that becomes part of another one keeps its references to itself. */
function moveReferences(schema: unknown, home: string): unknown {
  if (Array.isArray(schema)) return schema.map(part => moveReferences(part, home))
  if (typeof schema !== 'object' || schema === null) return schema
  return Object.fromEntries(
    Object.entries(schema).map(([key, value]) =>
      key === '$ref' && typeof value === 'string' && value.startsWith('#')
        ? [key, home + value.slice(1)]
        : [key, moveReferences(value, home)]
    )
  )
}
