import { readFileSync } from 'node:fs'
import { Ajv2020 } from 'ajv/dist/2020.js'
import t from 'tap'
import { formatProblem } from '../../../src/config/config-problem.ts'
import { parseSource } from '../../../src/config/read.ts'
import { configSchema } from '../../../src/config/schema.ts'
import { validate } from '../../../src/config/validate.ts'
import { fakePlugins } from './fake-plugins.ts'

function judge(text: string, plugins = fakePlugins()) {
  return validate(parseSource('gateway.yaml', text).sources, plugins)
}

t.test('the smallest configuration gets every default', async t => {
  const { config } = judge('routes: {}\n')
  t.same(config, {
    listeners: { http: { host: '0.0.0.0', port: 8080 }, admin: { host: '127.0.0.1', port: 9090 } },
    trustedProxies: [],
    limits: {
      headerTimeout: 10_000,
      requestTimeout: 30_000,
      keepAliveTimeout: 60_000,
      maxHeaderBytes: 16_384,
      maxHeaderCount: 100,
      maxBody: 10_485_760,
      maxConnections: 10_000,
      maxStreamsPerConnection: 100,
      drainDelay: 5000,
      drainTimeout: 25_000,
      overload: { eventLoopLag: 100 }
    },
    issuers: {},
    upstreams: {},
    plugins: [],
    routes: {}
  })
})

t.test('text becomes numbers, and plugins one shape', async t => {
  const { config, errors } = judge(
    `
issuers:
  corp: { issuer: "https://idp.example.com/", audience: [orders-api], clockTolerance: 0s }
upstreams:
  orders:
    url: http://Orders.shop:80/
    retries: { budget: 25% }
    circuitBreaker: {}
    timeouts: { response: 1m }
  replicas: { endpoints: [http://10.0.0.1:9001, "http://10.0.0.2:9002/"] }
plugins: [access-log, metrics:]
routes:
  orders:
    match: { path: /orders/* }
    upstream: orders
    timeout: 250ms
    maxBody: 1Mi
    rewrite: { path: /v1/* }
    plugins:
      - protocol: { maxMessage: 64Ki, idle: 60s }
      - jwt: { issuer: corp }
      - rate-limit: [{ limit: 5, window: 1d }, { limit: 1 }]
`
  )
  t.same(errors, undefined)
  t.same(config?.issuers.corp, {
    issuer: 'https://idp.example.com/',
    audience: ['orders-api'],
    algorithms: ['RS256', 'ES256'],
    jwks: { refresh: 600_000, cooldown: 30_000, staleIfError: 86_400_000 },
    clockTolerance: 0,
    claims: { scopes: 'scope', groups: 'groups', roles: 'roles', email: 'email' }
  })
  t.same(config?.upstreams, {
    orders: {
      url: 'http://orders.shop',
      endpoints: ['http://orders.shop'],
      protocol: 'http1',
      resolve: 'service',
      balance: 'round-robin',
      timeouts: { connect: 2000, response: 60_000, idle: 60_000 },
      maxInFlight: 1000,
      retries: { attempts: 1, on: ['connect-failure'], budget: 0.25 },
      circuitBreaker: { failures: 5, open: 10_000 }
    },
    replicas: {
      endpoints: ['http://10.0.0.1:9001', 'http://10.0.0.2:9002'],
      protocol: 'http1',
      resolve: 'service',
      balance: 'round-robin',
      timeouts: { connect: 2000, response: 15_000, idle: 60_000 },
      maxInFlight: 1000
    }
  })
  t.same(config?.plugins, [
    { name: 'access-log', options: {} },
    { name: 'metrics', options: {} }
  ])
  t.same(config?.routes.orders, {
    match: { hosts: [], path: '/orders/*', methods: [], headers: {}, protocol: 'http' },
    upstream: 'orders',
    public: false,
    timeout: 250,
    maxBody: 1_048_576,
    encodedSlashes: false,
    allowUnderscores: false,
    grpcWeb: false,
    rewrite: { path: '/v1/*', host: 'upstream' },
    plugins: [
      { name: 'protocol', options: { maxMessage: 65_536, idle: 60_000 } },
      { name: 'jwt', options: { issuer: 'corp' } },
      {
        name: 'rate-limit',
        options: [
          { limit: 5, window: 86_400_000, by: 'client.ip', algorithm: 'sliding-window' },
          { limit: 1, window: 60_000, by: 'client.ip', algorithm: 'sliding-window' }
        ]
      }
    ]
  })
})

t.test('whoever names a public listener gets only that one', async t => {
  t.same(Object.keys(judge('listeners: { h2c: {} }\n').config?.listeners ?? {}).sort(), ['admin', 'h2c'])
  t.match(judge('listeners: { admin: { port: 1 } }\n').config?.listeners, {
    http: { port: 8080 },
    admin: { port: 1 }
  })
})

t.test('a route may have any name that a map can hold', async t => {
  const { config } = judge(`
upstreams: { constructor: { url: http://a } }
routes: { valueof: { match: { path: /a }, public: true, upstream: constructor } }
`)
  const names: Record<string, unknown> = { ...config?.upstreams }
  t.match(names, { constructor: { url: 'http://a' } })
  t.equal(config?.upstreams.toString, undefined)
})

const interfaceText = readFileSync(new URL('../../fixtures/interface.yaml', import.meta.url), 'utf8')

t.test('every key of the interface is known, and what is not there yet is said', async t => {
  const { errors } = judge(interfaceText)
  const lines = (errors ?? []).map(formatProblem)
  t.same(
    lines.filter(line => !/ {2}(this version does not support|no plugin is named) /.test(line)),
    []
  )
  t.ok(lines.length > 0)
})

t.test('the schema for editors accepts every key of the interface', async t => {
  const schema = configSchema(withMissingPlugins())
  const ajv = new Ajv2020({
    allErrors: true,
    allowUnionTypes: true,
    strict: false,
    validateFormats: false,
    logger: false
  })
  const accepts = ajv.compile(schema)
  const [source] = parseSource('gateway.yaml', interfaceText).sources
  accepts(source?.value)
  t.same(accepts.errors, null)
  t.notOk(accepts({ ...source?.value, rotes: {} }))
  t.notOk(accepts({ ...source?.value, plugins: [{ jwtt: {} }] }))
})

t.test('every part of the schema says what it is', async t => {
  const silent: string[] = []
  const visit = (schema: Record<string, unknown>, path: string) => {
    if (path !== '' && typeof schema.description !== 'string') silent.push(path)
    for (const [key, child] of Object.entries((schema.properties ?? {}) as Record<string, object>)) {
      visit(child as Record<string, unknown>, `${path}.${key}`)
    }
    if (schema.properties) t.equal(schema.additionalProperties, false, `${path} refuses unknown keys`)
    const entries = schema.additionalProperties
    if (typeof entries === 'object' && 'properties' in entries!)
      visit(entries as Record<string, unknown>, `${path}.NAME`)
  }
  visit(configSchema(new Map()) as Record<string, unknown>, '')
  t.same(silent, [])
})

t.test('a plugin with a schema that is none is blamed, not the user', async t => {
  const plugins = fakePlugins()
  plugins.set('broken', { name: 'broken', phase: 'guard', schema: { type: 'strin' }, register() {} })
  const { errors } = judge('plugins: [broken]\n', plugins)
  t.match(errors, [
    { message: /^the schema of plugin broken is not valid/, remedy: 'correct the plugin', line: 1, col: 11 }
  ])
})

t.test('a password in a URL is never repeated', async t => {
  const { errors } = judge(`
externalUrl: https://me:hunter2@api.example.com
redis: { url: redis://:hunter2@redis }
session: { secret: hunter2 }
issuers:
  a: { issuer: "https://me:hunter2@idp", audience: [a], jwks: { url: "https://me:hunter2@idp/k" } }
upstreams:
  a: { url: "http://me:hunter2@a" }
  b: { url: "ftp://me:hunter2@a", endpoints: ["http://me:hunter2@a"] }
`)
  t.ok(errors && errors.length >= 8)
  t.notMatch((errors ?? []).map(formatProblem).join('\n'), /hunter2/)
})

/** Those of the interface that do not exist yet. */
function withMissingPlugins() {
  const plugins = fakePlugins()
  for (const name of ['oidc', 'api-key', 'any', 'mtls', 'introspection', 'forward-auth']) {
    plugins.set(name, { name, phase: 'authenticate', schema: {}, register() {} })
  }
  return plugins
}
