import { type Static, Type } from 'typebox'
import type { GatewayPlugin } from '../plugin/define.ts'
import {
  choice,
  count,
  duration,
  durationOrZero,
  flag,
  named,
  object,
  type PluginUse,
  percentage,
  port,
  secret,
  size,
  text,
  textMap,
  texts
} from './shapes.ts'

/**
 * The one description of the configuration: the types, `docs/reference/config.schema.json`, the reference tables and the
 * chart's `values.schema.json` are made from it. Properties with a default may be left out by the user; the types below
 * describe the configuration after `validate` has filled them in and turned durations into ms and sizes into bytes.
 */

export type { PluginUse, SecretRef } from './shapes.ts'

const host = text('Address to listen on.', { default: '0.0.0.0' })

const tlsListener = object(
  {
    cert: secret('Certificate chain in PEM. Reloaded when the file changes.'),
    key: secret('Private key in PEM.'),
    clientCa: Type.Optional(secret('CA bundle in PEM that client certificates are verified against.'))
  },
  { description: 'Certificate of the listener.' }
)

const listeners = object(
  {
    http: Type.Optional(
      object(
        { host, port: port('Port; 0 takes any free one.', { minimum: 0, default: 8080 }) },
        {
          description: 'HTTP/1.1 and WebSocket. On 0.0.0.0:8080 when no listener but `admin` is configured.'
        }
      )
    ),
    h2c: Type.Optional(
      object(
        { host, port: port('Port; 0 takes any free one.', { minimum: 0, default: 8081 }) },
        { description: 'Cleartext HTTP/2, for gRPC inside a cluster.' }
      )
    ),
    https: Type.Optional(
      object(
        { host, port: port('Port; 0 takes any free one.', { minimum: 0, default: 8443 }), tls: tlsListener },
        { description: 'TLS with ALPN h2 and http/1.1.' }
      )
    ),
    admin: object(
      {
        host: text('Address to listen on.', { default: '127.0.0.1' }),
        port: port('Port; 0 takes any free one.', { minimum: 0, default: 9090 })
      },
      {
        default: {},
        description: 'Health, metrics, routes and the redacted configuration. Read-only, never proxied.'
      }
    )
  },
  { default: {}, description: 'The sockets that the gateway opens.' }
)

const limits = object(
  {
    headerTimeout: duration('Longest time for the head of a request to arrive.', { default: '10s' }),
    requestTimeout: duration('Longest time for a whole request, body included, to arrive.', {
      default: '30s'
    }),
    keepAliveTimeout: duration('How long an idle client connection is kept.', { default: '60s' }),
    maxHeaderBytes: size('Largest head of a request. Beyond it: 431.', { default: '16Ki' }),
    maxHeaderCount: count('Most header fields of a request. Beyond it: 431.', { default: 100 }),
    maxBody: size('Largest request body. Beyond it: 413. A route may override it.', { default: '10Mi' }),
    maxConnections: count('Most client connections at once.', { default: 10_000 }),
    maxStreamsPerConnection: count('Most concurrent HTTP/2 streams of one connection.', { default: 100 }),
    drainDelay: durationOrZero('On shutdown: how long readiness is off while traffic is still served.', {
      default: '5s'
    }),
    drainTimeout: duration('On shutdown: how long requests under way may take to end.', { default: '25s' }),
    overload: object(
      {
        eventLoopLag: duration('Beyond this lag new requests get 503 and Retry-After; health never does.', {
          default: '100ms'
        })
      },
      { default: {}, description: 'When the gateway sheds load.' }
    )
  },
  { default: {}, description: 'What a client may cost.' }
)

const signingAlgorithms = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA'
] as const

const issuer = object(
  {
    issuer: text('The issuer identifier: `iss` of its tokens, byte for byte. https, or http on loopback.'),
    audience: texts('Audiences that are accepted: a token must name one of them in `aud`.', { minItems: 1 }),
    algorithms: Type.Array(
      choice(signingAlgorithms, 'Signature algorithm.', {
        'x-remedy': `write asymmetric ones: ${signingAlgorithms.join(', ')}`
      }),
      {
        minItems: 1,
        uniqueItems: true,
        default: ['RS256', 'ES256'],
        description: 'Signature algorithms that are accepted. Symmetric ones and `none` never are.'
      }
    ),
    jwks: object(
      {
        url: Type.Optional(text('Where the keys are. Found by discovery when left out.')),
        refresh: duration('How often the keys are fetched in the background.', { default: '10m' }),
        cooldown: duration('Shortest time between two fetches that an unknown key id causes.', {
          default: '30s'
        }),
        staleIfError: durationOrZero('How long known keys are used while the issuer cannot be reached.', {
          default: '24h'
        })
      },
      { default: {}, description: 'The keys of the issuer.' }
    ),
    clockTolerance: durationOrZero('How far the clocks may differ when `exp`, `nbf` and `iat` are judged.', {
      default: '30s'
    }),
    claims: object(
      {
        scopes: text('Claim with the scopes; a dotted path reaches into objects.', { default: 'scope' }),
        groups: text('Claim with the groups.', { default: 'groups' }),
        roles: text('Claim with the roles, e.g. `realm_access.roles`.', { default: 'roles' }),
        email: text('Claim with the email address.', { default: 'email' })
      },
      { default: {}, description: 'Which claims become the identity.' }
    ),
    client: Type.Optional(
      object(
        {
          id: text('Client id of the gateway at the issuer.'),
          secret: Type.Optional(secret('Client secret of the gateway at the issuer.')),
          scopes: texts('Scopes that sign-in asks for.', {
            default: ['openid', 'profile', 'email'],
            uniqueItems: true
          })
        },
        { description: 'The gateway as a client of the issuer; only for sign-in and introspection.' }
      )
    )
  },
  { description: 'An identity provider that the gateway trusts.' }
)

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
      'While Redis is down: fall back to limits of each replica, allow, or deny.',
      { default: 'local' }
    )
  },
  { description: 'Rate limits and sessions that replicas share. Without it they live in memory.' }
)

const upstream = object(
  {
    url: Type.Optional(text('Origin of the service, `http://host:port` or `https://host:port`.')),
    endpoints: texts('Several origins to balance over, instead of `url`.', {
      default: [],
      uniqueItems: true
    }),
    protocol: choice(['http1', 'h2c', 'h2'], 'Protocol that is spoken to the upstream.', {
      default: 'http1'
    }),
    resolve: choice(
      ['service', 'all'],
      '`service`: one name, one address. `all`: balance over every A and AAAA record of the name.',
      { default: 'service' }
    ),
    balance: choice(['round-robin', 'least-requests'], 'Which endpoint gets the next request.', {
      default: 'round-robin'
    }),
    tls: Type.Optional(
      object(
        {
          ca: Type.Optional(secret('CA bundle in PEM, instead of the system roots.')),
          serverName: Type.Optional(text('Name in the certificate, when it is not the host of the url.'))
        },
        { description: 'For https urls. Verification cannot be turned off.' }
      )
    ),
    timeouts: object(
      {
        connect: duration('Longest time to connect.', { default: '2s' }),
        response: duration('Longest time until the head of the answer.', { default: '15s' }),
        idle: duration('Longest pause between two pieces of the answer.', { default: '60s' })
      },
      { default: {}, description: 'How long the upstream may take.' }
    ),
    maxInFlight: count('Most requests under way at the upstream. Beyond it: 503 at once.', { default: 1000 }),
    retries: Type.Optional(
      object(
        {
          attempts: count('How often a request is tried again.', { minimum: 0, maximum: 1, default: 1 }),
          on: Type.Array(choice(['connect-failure', 'reset', 502, 503, 504], 'A failure.'), {
            minItems: 1,
            uniqueItems: true,
            default: ['connect-failure'],
            description: 'Failures after which a request is tried again.'
          }),
          budget: percentage('Retries as a share of all requests of the upstream.', { default: '10%' })
        },
        { description: 'Second tries. Only for requests that may be repeated safely.' }
      )
    ),
    circuitBreaker: Type.Optional(
      object(
        {
          failures: count('Failures in a row that open the breaker.', { default: 5 }),
          open: duration('How long the upstream then rests.', { default: '10s' })
        },
        { description: 'Stops asking an upstream that keeps failing.' }
      )
    ),
    healthCheck: Type.Optional(
      object(
        {
          path: text('Path that answers 2xx when the endpoint is well.'),
          interval: duration('Time between two checks.', { default: '5s' }),
          timeout: duration('Longest time for an answer.', { default: '1s' }),
          healthy: count('Good answers in a row that bring an endpoint back.', { default: 2 }),
          unhealthy: count('Bad answers in a row that take an endpoint out.', { default: 3 })
        },
        { description: 'Active checks of every endpoint.' }
      )
    ),
    kubernetes: Type.Optional(
      object(
        {
          namespace: text('Namespace of the pods.'),
          podSelector: textMap('Labels of the pods.', { minProperties: 1 }),
          port: port("The pods' port, not the Service's.")
        },
        { description: 'Which pods those are: what the perimeter is made from.' }
      )
    )
  },
  { description: 'A backend service.' }
)

const match = object(
  {
    hosts: texts('Host names, without a port; `*.example.com` matches one or more labels. Empty: any host.', {
      default: [],
      uniqueItems: true
    }),
    path: Type.Optional(
      text(
        'Path: literal segments, `:name` for one segment, `/*` at the end for the rest. Left out: any path.'
      )
    ),
    methods: texts('Methods in upper case. Empty: any method. GET covers HEAD.', {
      default: [],
      uniqueItems: true
    }),
    headers: textMap('Header fields that must have exactly these values.', { default: {} }),
    protocol: choice(['http', 'grpc', 'websocket'], 'Which proxy carries the route.', { default: 'http' }),
    service: Type.Optional(
      text('Full name of a gRPC service, e.g. `shop.v1.Orders`. Only with protocol grpc.')
    )
  },
  { description: 'Which requests the route takes.' }
)

const weightedUpstream = object(
  {
    name: text('Name of an upstream.'),
    weight: count('Share of the requests.', { minimum: 0, maximum: 1_000_000 })
  },
  { description: 'An upstream and its share.' }
)

/** The shape of a `plugins` list for whoever does not know the plugins; `configSchema` knows them. */
function pluginUses(description: string, items: object = {}) {
  return Type.Unsafe<PluginUse[]>({ type: 'array', items, default: [], description })
}

function routeSchema(items?: object) {
  return object(
    {
      match,
      upstream: Type.Optional(text('Name of the upstream.')),
      upstreams: Type.Optional(
        Type.Array(weightedUpstream, {
          minItems: 1,
          description: 'Several upstreams with weights, instead of `upstream`.'
        })
      ),
      public: flag('Nobody is asked who they are. Without it a route must carry an `authenticate` plugin.'),
      rewrite: Type.Optional(
        object(
          {
            path: Type.Optional(text('Path that the upstream sees; may use `:name` and `/*` of the match.')),
            host: choice(['upstream', 'preserve'], "Host header: the upstream's, or the client's.", {
              default: 'upstream'
            })
          },
          { description: 'What is changed on the way to the upstream.' }
        )
      ),
      timeout: Type.Optional(
        duration("Longest time until the head of the answer, instead of the upstream's.")
      ),
      maxBody: Type.Optional(size('Largest request body, instead of `limits.maxBody`.')),
      encodedSlashes: flag('Takes `%2f`, `%5c` and `%25` in paths. Without it they are refused.'),
      allowUnderscores: flag('Takes header names with `_`. Without it they are refused.'),
      grpcWeb: flag('Takes gRPC-Web calls of browsers. Only with protocol grpc.'),
      plugins: pluginUses(
        "What the route does, beside the gateway's own plugins. Order counts inside a phase.",
        items
      )
    },
    { description: 'Match, plugins and upstream. The name of the route is its metric label.' }
  )
}

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

/** JSON Schema (2020-12) of the whole configuration, with the options of every plugin that is known. */
export function configSchema(
  plugins: ReadonlyMap<string, Pick<GatewayPlugin, 'name' | 'phase' | 'schema'>>
): object {
  const entries = [...plugins.values()].flatMap(plugin => [
    { const: plugin.name, description: `Plugin ${plugin.name} (${plugin.phase}) without options.` },
    {
      type: 'object',
      properties: { [plugin.name]: plugin.schema },
      required: [plugin.name],
      additionalProperties: false,
      description: `Plugin ${plugin.name} (${plugin.phase}).`
    }
  ])
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'Sallyport configuration',
    ...wholeSchema(entries.length > 0 ? { anyOf: entries } : undefined)
  }
}
