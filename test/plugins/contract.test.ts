import t from 'tap'
import anonymous from '../../plugins/anonymous.ts'
import { digestOfKey, makeKey } from '../../plugins/api-key/key.ts'
import apiKey from '../../plugins/api-key.ts'
import authorize from '../../plugins/authorize.ts'
import bodyLimit from '../../plugins/body-limit.ts'
import concurrency from '../../plugins/concurrency.ts'
import cors from '../../plugins/cors.ts'
import forwardAuth from '../../plugins/forward-auth.ts'
import headers from '../../plugins/headers.ts'
import introspection from '../../plugins/introspection.ts'
import ipFilter from '../../plugins/ip-filter.ts'
import mtls from '../../plugins/mtls.ts'
import protocol from '../../plugins/protocol.ts'
import rateLimit from '../../plugins/rate-limit.ts'
import requestId from '../../plugins/request-id.ts'
import type { ClientCertificate } from '../../src/gate/client-certificate.ts'
import type { PluginGateway } from '../../src/plugin/define.ts'
import { type PluginCase, pluginContract } from '../contract/plugin.ts'
import { identity } from '../fixtures/route.ts'
import { upstream } from '../helper.ts'

/** A file that is read from memory. */
function fileOf(text: string): Partial<PluginGateway> {
  return { watchFile: async (path, parse) => ({ current: parse(text, path) }) }
}

const apiKeyOf = makeKey()
const keyFile = `keys: [{ id: ${apiKeyOf.id}, hash: "sha256:${digestOfKey(apiKeyOf.key).toString('hex')}", owner: ann }]`

const allowing = (
  await upstream(t, (_request, response) => {
    response.setHeader('x-user', 'ann')
    response.end()
  })
).url

const certificate: ClientCertificate = {
  subject: 'CN=orders',
  issuer: 'CN=corp',
  dns: [],
  uri: ['spiffe://corp/orders'],
  email: [],
  fingerprint256: '',
  serial: '',
  notAfter: new Date(Date.now() + 60_000)
}

const cases: Record<string, Omit<PluginCase, 'file'>> = {
  anonymous: {
    plugin: anonymous,
    written: [{}, { scopes: ['orders:read'], groups: ['guests'] }],
    options: { scopes: ['orders:read'], groups: [] }
  },
  'api-key': {
    plugin: apiKey,
    written: [{ keys: { file: '/etc/sallyport/keys.yaml' } }],
    options: { keys: { file: '/etc/sallyport/no-such-keys.yaml' } },
    headers: { 'x-api-key': apiKeyOf.key },
    gateway: fileOf(keyFile)
  },
  authorize: {
    plugin: authorize,
    written: [
      { allow: '"orders:read" in identity.scopes', mode: 'shadow' },
      { scopes: ['internal'], groups: ['ops'] },
      { allow: 'request.body.amount < 1000', body: { maxSize: '64Ki' } }
    ],
    options: {
      allow: '"orders:read" in identity.scopes',
      scopes: ['orders:read'],
      groups: ['ops'],
      roles: ['reader']
    }
  },
  'body-limit': { plugin: bodyLimit, written: [{ max: '1Mi' }], options: { max: 1024 } },
  concurrency: {
    plugin: concurrency,
    written: [{ limit: 50, by: 'route' }, { limit: 1 }],
    options: { limit: 1, by: 'identity.subject' }
  },
  cors: {
    plugin: cors,
    written: [
      { origins: ['https://shop.example.com'], credentials: true, maxAge: '10m' },
      { origins: ['*'] }
    ],
    options: { origins: ['https://shop.example.com'], credentials: true, maxAge: 600_000 }
  },
  'forward-auth': {
    plugin: forwardAuth,
    written: [
      { url: 'http://auth.corp.svc/check', timeout: '1s', headers: ['x-user'] },
      { url: 'https://auth.example.com', style: 'ext-authz', sends: ['cookie'], subject: 'x-auth-user' }
    ],
    options: {
      url: allowing,
      style: 'forward-auth',
      timeout: 5000,
      sends: ['cookie'],
      headers: ['x-user'],
      setCookies: false
    }
  },
  headers: {
    plugin: headers,
    written: [
      { response: { set: { 'x-frame-options': 'DENY' }, remove: ['server'] } },
      { request: { remove: ['cookie'] } }
    ],
    options: {
      request: { set: { 'x-tenant': 'a' } },
      response: { set: { 'x-frame-options': 'DENY' }, remove: ['server'] }
    }
  },
  introspection: {
    plugin: introspection,
    written: [{ issuer: 'corp', cache: '30s' }, { issuer: 'corp' }],
    options: { issuer: 'corp', cache: 30_000 },
    config: { issuers: { corp: { client: { id: 'gateway', secret: { env: 'SECRET' } } } } },
    headers: { authorization: 'Bearer abc' },
    gateway: { introspector: async () => ({ introspect: () => identity() }) }
  },
  'ip-filter': {
    plugin: ipFilter,
    written: [{ allow: ['203.0.113.0/24'] }, { deny: ['2001:db8::/32'] }],
    options: { allow: ['127.0.0.0/8'], deny: ['203.0.113.0/24'] }
  },
  mtls: {
    plugin: mtls,
    written: [{ san: ['spiffe://corp/*'] }, { cn: ['orders'] }],
    options: { san: ['spiffe://corp/*'] },
    config: { listeners: { https: { tls: { clientCa: { file: '/etc/ca.crt' } } } } },
    wrapRequest: request => Object.assign(request, { clientCertificate: certificate })
  },
  protocol: {
    plugin: protocol,
    written: [
      { contentTypes: ['application/json', 'image/*'] },
      { methods: ['GET'], maxBody: '1Mi', maxHeaderBytes: '8Ki' },
      {
        origins: ['https://shop.example.com'],
        subprotocols: ['prices.v1'],
        maxMessage: '64Ki',
        idle: '60s',
        lifetime: '4h'
      },
      { rpcs: ['shop.v1.Orders/Get'] }
    ],
    options: { methods: ['GET', 'POST'], maxBody: 1024, contentTypes: ['application/json'] }
  },
  'rate-limit': {
    plugin: rateLimit,
    written: [
      { limit: 100, window: '1m', by: 'identity.subject' },
      { limit: 50, window: '1s', by: 'identity.subject', algorithm: 'token-bucket', burst: 100 },
      [
        { limit: 10, window: '1s', by: 'client.ip' },
        { limit: 10000, window: '1d', by: 'identity.subject', algorithm: 'sliding-window' }
      ]
    ],
    options: { limit: 1, window: 60_000, by: 'identity.subject' }
  },
  'request-id': {
    plugin: requestId,
    written: [{ accept: true, respond: true, header: 'x-correlation-id' }, {}],
    options: { accept: true, respond: true }
  }
}

for (const [name, one] of Object.entries(cases)) {
  t.test(name, async t =>
    pluginContract(t, { ...one, file: new URL(`../../plugins/${name}.ts`, import.meta.url) })
  )
}
