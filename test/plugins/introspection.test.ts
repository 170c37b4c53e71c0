import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import Provider from 'oidc-provider'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { builtins } from '../../plugins/index.ts'
import { Refusal } from '../../src/errors.ts'
import type { Identity } from '../../src/identity.ts'
import { Introspector } from '../../src/issuer/introspector.ts'
import type { IssuerSettings } from '../../src/issuer/keys.ts'
import { RawClient } from '../fixtures/frames.ts'
import { grpcGateway } from '../fixtures/grpc/gateway.ts'
import { call, openSession, statusOf } from '../fixtures/grpc/raw-call.ts'
import { rawUpstream, succeed } from '../fixtures/grpc/raw-upstream.ts'
import { ManualTime } from '../fixtures/manual-time.ts'
import { socketUpstream } from '../fixtures/web-sockets.ts'
import { buildGateway, echo } from '../helper.ts'

type Answer = Record<string, unknown>
type Handler = (form: URLSearchParams, request: IncomingMessage, response: ServerResponse) => void

interface Hostile {
  url: string
  settings: IssuerSettings
  metadata: (document: Answer) => Answer
  /** Requests that came to the introspection endpoint, and what else was asked for. */
  asked: { form: URLSearchParams; authorization: string | undefined }[]
  others: string[]
  answer: Handler
}

/** An issuer whose answers the test makes up. */
async function issuerOf(t: Test): Promise<Hostile> {
  const server = createServer(async (request, response) => {
    const text = await read(request)
    if (request.url === '/.well-known/openid-configuration') {
      const document = { issuer: hostile.url, introspection_endpoint: `${hostile.url}/introspect` }
      response.end(JSON.stringify(hostile.metadata(document)))
    } else if (request.url === '/introspect') {
      const form = new URLSearchParams(text)
      hostile.asked.push({ form, authorization: request.headers.authorization })
      hostile.answer(form, request, response)
    } else {
      hostile.others.push(request.url ?? '')
      response.writeHead(404).end()
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const hostile: Hostile = {
    url,
    settings: {
      issuer: url,
      audience: ['orders-api'],
      algorithms: ['ES256'],
      clockTolerance: 30_000,
      claims: { scopes: 'scope', groups: 'groups', roles: 'roles', email: 'email' }
    },
    metadata: document => document,
    asked: [],
    others: [],
    answer: says({ ...good })
  }
  return hostile
}

async function read(request: IncomingMessage): Promise<string> {
  let text = ''
  for await (const chunk of request) text += chunk
  return text
}

const good = {
  active: true,
  aud: 'orders-api',
  sub: 'ann',
  scope: 'a b',
  groups: ['ops'],
  token_type: 'Bearer'
}

function says(answer: unknown): Handler {
  return (_form, _request, response) => response.end(JSON.stringify(answer))
}

function introspectorOf(t: Test, { settings }: Hostile) {
  const time = new ManualTime()
  const log = pino({ level: 'silent' })
  const results: string[] = []
  const onAnswer = (result: string) => void results.push(result)
  const options = { log, fetch: globalThis.fetch, clock: time.clock, timers: time, onAnswer }
  const introspector = new Introspector('corp', settings, { id: 'the gateway', secret: 's:e%c' }, options)
  t.teardown(() => introspector.close())
  const ask = async (token: string, maxAge = 30_000): Promise<Identity | string> => {
    try {
      return await introspector.introspect(token, maxAge)
    } catch (error) {
      if (!(error instanceof Refusal)) throw error
      return error.reason
    }
  }
  return { ask, time, results }
}

t.test('an active token becomes an identity', async t => {
  const issuer = await issuerOf(t)
  const { ask } = introspectorOf(t, issuer)
  t.match(await ask('abc'), {
    kind: 'introspection',
    subject: 'ann',
    issuer: issuer.url,
    scopes: ['a', 'b'],
    groups: ['ops'],
    expiresAt: null
  })
  t.same(Object.fromEntries(issuer.asked[0]!.form), { token: 'abc', token_type_hint: 'access_token' })
  const basic = Buffer.from(issuer.asked[0]!.authorization!.slice(6), 'base64').toString()
  t.equal(basic, 'the+gateway:s%3Ae%25c', 'id and secret are form-encoded')
})

t.test('a client whose issuer takes no Basic says its secret in the form', async t => {
  const issuer = await issuerOf(t)
  issuer.metadata = document => ({
    ...document,
    introspection_endpoint_auth_methods_supported: ['client_secret_post']
  })
  const { ask } = introspectorOf(t, issuer)
  t.match(await ask('abc'), { subject: 'ann' })
  t.equal(issuer.asked[0]!.authorization, undefined)
  t.match(Object.fromEntries(issuer.asked[0]!.form), { client_id: 'the gateway', client_secret: 's:e%c' })
})

t.test('what the issuer says is judged, too', async t => {
  const issuer = await issuerOf(t)
  const now = Math.floor(Date.now() / 1000)
  const rows: [what: string, answer: unknown, reason: string][] = [
    ['not active', { active: false }, 'token.invalid'],
    ['not active, with everything else', { ...good, active: false }, 'token.invalid'],
    ['a string that says true', { ...good, active: 'true' }, 'key.unavailable'],
    ['one', { ...good, active: 1 }, 'key.unavailable'],
    ['no word of it', { ...good, active: undefined }, 'key.unavailable'],
    ['a list', [good], 'key.unavailable'],
    ['null', null, 'key.unavailable'],
    ['expired', { ...good, exp: now - 31 }, 'token.expired'],
    ['a text for exp', { ...good, exp: String(now + 60) }, 'token.invalid'],
    ['null for exp', { ...good, exp: null }, 'token.invalid'],
    ['not yet', { ...good, nbf: now + 60 }, 'token.invalid'],
    ['of the future', { ...good, iat: now + 60 }, 'token.invalid'],
    ['another issuer', { ...good, iss: `${issuer.url}/` }, 'token.issuer'],
    ['another audience', { ...good, aud: 'billing' }, 'token.audience'],
    ['no audience', { ...good, aud: undefined }, 'token.audience'],
    ['a strange audience', { ...good, aud: ['orders-api', 7] }, 'token.audience'],
    ['nobody', { ...good, sub: undefined }, 'token.invalid'],
    ['an empty subject', { ...good, sub: '' }, 'token.invalid'],
    ['a number for the subject', { ...good, sub: 7, client_id: 'x' }, 'token.invalid'],
    ['a token that is bound', { ...good, token_type: 'DPoP' }, 'token.invalid'],
    ['bound to a certificate', { ...good, cnf: { 'x5t#S256': 'x' } }, 'token.invalid'],
    ['a refresh token of Keycloak', { ...good, typ: 'Refresh' }, 'token.invalid'],
    ['a refresh token of Hydra', { ...good, token_use: 'refresh_token' }, 'token.invalid']
  ]
  for (const [what, answer, reason] of rows) {
    issuer.answer = says(answer)
    t.equal(await introspectorOf(t, issuer).ask('abc'), reason, what)
  }
  issuer.answer = says({ ...good, sub: undefined, client_id: 'robot', exp: now + 60, iss: issuer.url })
  t.match(await introspectorOf(t, issuer).ask('abc'), { subject: 'robot', expiresAt: (now + 60) * 1000 })
})

t.test('an issuer that does not answer as it should lets nobody in', async t => {
  const issuer = await issuerOf(t)
  const rows: [what: string, answer: Handler, reason: string][] = [
    [
      'a redirect',
      (_f, _q, r) => r.writeHead(302, { location: `${issuer.url}/elsewhere` }).end(),
      'key.unavailable'
    ],
    [
      'too much',
      (_f, _q, r) => r.end(JSON.stringify({ ...good, padding: 'x'.repeat(1024 * 1024) })),
      'key.unavailable'
    ],
    ['no JSON', (_f, _q, r) => r.end('<html>'), 'key.unavailable'],
    [
      'one name twice',
      (_f, _q, r) => r.end(`{"active":false,${JSON.stringify(good).slice(1)}`),
      'key.unavailable'
    ],
    [
      'half of it',
      (_f, _q, r) =>
        void r.writeHead(200, { 'content-length': 999 }).write('{"active":true', () => r.destroy()),
      'key.unavailable'
    ],
    ['an error', (_f, _q, r) => r.writeHead(500).end(JSON.stringify(good)), 'key.unavailable'],
    ['a wrong secret', (_f, _q, r) => r.writeHead(401).end(JSON.stringify(good)), 'key.unavailable'],
    ['a created token', (_f, _q, r) => r.writeHead(201).end(JSON.stringify(good)), 'key.unavailable'],
    ['a closed connection', (_f, q) => q.socket.destroy(), 'key.unavailable'],
    [
      'a signed answer',
      (_f, _q, r) =>
        r.writeHead(200, { 'content-type': 'application/token-introspection+jwt' }).end('e30.e30.e30'),
      'key.unavailable'
    ],
    ['a token that is too long for it', (_f, _q, r) => r.writeHead(413).end(), 'token.invalid'],
    [
      'a token that it will not judge',
      (_f, _q, r) => r.writeHead(400).end('{"error":"unsupported_token_type"}'),
      'token.invalid'
    ]
  ]
  for (const [what, answer, reason] of rows) {
    issuer.answer = answer
    t.equal(await introspectorOf(t, issuer).ask('abc'), reason, what)
  }
  t.same(issuer.others, [], 'no redirect was followed')
})

t.test('a slow issuer is waited for 5 seconds', async t => {
  const issuer = await issuerOf(t)
  const asked = Promise.withResolvers<void>()
  issuer.answer = () => asked.resolve()
  const { ask, time } = introspectorOf(t, issuer)
  const verdict = ask('abc')
  await asked.promise
  time.advance(5000)
  t.equal(await verdict, 'key.unavailable')
})

t.test('metadata that would send the secret elsewhere is not followed', async t => {
  const rows: [what: string, change: (document: Answer) => Answer][] = [
    ['another issuer', document => ({ ...document, issuer: 'https://evil.example' })],
    ['no endpoint', document => ({ ...document, introspection_endpoint: undefined })],
    ['plain http', document => ({ ...document, introspection_endpoint: 'http://idp.example/introspect' })],
    ['a user name', document => ({ ...document, introspection_endpoint: 'https://a:b@idp.example/' })],
    [
      'keys only',
      document => ({ ...document, introspection_endpoint_auth_methods_supported: ['private_key_jwt'] })
    ]
  ]
  for (const [what, metadata] of rows) {
    const issuer = await issuerOf(t)
    issuer.metadata = metadata
    t.equal(await introspectorOf(t, issuer).ask('abc'), 'key.unavailable', what)
    t.same(issuer.asked, [], what)
  }
})

t.test('one question for one token, however many requests ask it', async t => {
  const issuer = await issuerOf(t)
  const { ask, time } = introspectorOf(t, issuer)
  await Promise.all(Array.from({ length: 50 }, () => ask('abc')))
  t.equal(issuer.asked.length, 1)
  time.advance(29_999)
  await ask('abc')
  t.equal(issuer.asked.length, 1, 'remembered')
  time.advance(1)
  issuer.answer = says({ active: false })
  t.equal(await ask('abc'), 'token.invalid', 'and forgotten after the time that the route says')
  t.equal(await ask('abc'), 'token.invalid')
  t.equal(issuer.asked.length, 2, 'a refusal is remembered too')
  await ask('abc', 0)
  t.equal(issuer.asked.length, 3, 'another route may remember for shorter')
})

t.test('an answer counts no longer than the token', async t => {
  const issuer = await issuerOf(t)
  const { ask, time } = introspectorOf(t, issuer)
  issuer.answer = says({ ...good, exp: Math.floor(time.clock() / 1000) + 10 })
  t.match(await ask('abc', 300_000), { subject: 'ann' })
  time.advance(41_000)
  t.equal(await ask('abc', 300_000), 'token.expired')
  t.equal(issuer.asked.length, 2)
})

t.test('while the issuer is down, it is asked once in a while and known tokens go on', async t => {
  const issuer = await issuerOf(t)
  const { ask, time } = introspectorOf(t, issuer)
  await ask('known')
  issuer.answer = (_form, _request, response) => response.writeHead(503).end()
  for (let n = 0; n < 20; n++) t.equal(await ask(`new-${n}`), 'key.unavailable')
  t.equal(issuer.asked.length, 2)
  t.match(await ask('known'), { subject: 'ann' })
  issuer.answer = says(good)
  time.advance(1000)
  t.match(await ask('new-1'), { subject: 'ann' })
})

t.test('one token that the issuer has no good answer for does not close it to the others', async t => {
  const issuer = await issuerOf(t)
  const { ask, time, results } = introspectorOf(t, issuer)
  const rows: [what: string, answer: Handler, reason: string, result: string][] = [
    ['too long', (_f, _q, r) => r.writeHead(413).end(), 'token.invalid', 'refused'],
    [
      'an answer nested too deep',
      says({ ...good, a: JSON.parse('['.repeat(50) + ']'.repeat(50)) }),
      'key.unavailable',
      'error'
    ],
    ['an answer that is none', (_f, _q, r) => r.end('<html>'), 'key.unavailable', 'error']
  ]
  for (const [what, answer, reason, result] of rows) {
    issuer.answer = answer
    t.equal(await ask(what.replaceAll(' ', '-')), reason, what)
    t.equal(results.pop(), result, what)
    issuer.answer = says(good)
    t.match(await ask(`good-${what.replaceAll(' ', '-')}`), { subject: 'ann' }, `${what}: another token`)
    t.equal(results.pop(), 'active')
  }
  const before = issuer.asked.length
  t.equal(await ask('an-answer-that-is-none'), 'key.unavailable')
  t.equal(issuer.asked.length, before, 'it is not asked again at once')
  time.advance(1000)
  t.match(await ask('an-answer-that-is-none'), { subject: 'ann' })
})

t.test('a flood of made-up tokens is not passed on', async t => {
  const issuer = await issuerOf(t)
  const { ask, results } = introspectorOf(t, issuer)
  await ask('known')
  const held: ServerResponse[] = []
  issuer.answer = (_form, _request, response) => void held.push(response)
  const verdicts = Array.from({ length: 1000 }, (_, n) => ask(`made-up-${n}`))
  const refused = await Promise.all(verdicts.slice(100))
  t.same(new Set(refused), new Set(['key.unavailable']))
  t.match(await ask('known'), { subject: 'ann' }, 'known tokens go on meanwhile')
  while (held.length < 100) await new Promise(setImmediate)
  for (const response of held) response.end('{"active":false}')
  t.same(new Set(await Promise.all(verdicts.slice(0, 100))), new Set(['token.invalid']))
  t.equal(issuer.asked.length, 101)
  t.same(results, ['active', ...Array(100).fill('refused')])
  issuer.answer = says(good)
  t.match(await ask('good'), { subject: 'ann' }, 'and then there is room again')
})

t.test('what is no bearer token is not passed on', async t => {
  const issuer = await issuerOf(t)
  const { ask } = introspectorOf(t, issuer)
  for (const token of ['', ' abc', 'a b', 'a=b', '"abc"', 'a,b', 'ä', 'x'.repeat(16 * 1024 + 1)])
    t.equal(await ask(token), 'token.invalid', token.slice(0, 10))
  t.same(issuer.asked, [])
})

t.test('a gateway asks a real provider, and its route says what the RFC wants', async t => {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const { warn } = console
  console.warn = () => {}
  const provider = new Provider(issuer, {
    clients: ['app', 'gateway'].map(id => ({
      client_id: id,
      client_secret: `${id}-secret`,
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: []
    })),
    scopes: ['orders:read'],
    cookies: { keys: ['unused'] },
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      introspection: { enabled: true, allowedPolicy: () => true },
      revocation: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: () => ({
          scope: 'orders:read',
          audience: 'orders-api',
          accessTokenFormat: 'opaque'
        })
      }
    }
  })
  console.warn = warn
  server.on('request', provider.callback())
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const post = async (path: string, form: Record<string, string>) => {
    const authorization = `Basic ${Buffer.from('app:app-secret').toString('base64')}`
    return fetch(`${issuer}${path}`, {
      method: 'POST',
      headers: { authorization },
      body: new URLSearchParams(form)
    })
  }
  const grant = { grant_type: 'client_credentials', scope: 'orders:read', resource: 'urn:orders' }
  const { access_token: token } = (await (await post('/token', grant)).json()) as { access_token: string }

  const { url: upstream } = await echo(t)
  const { url, lines } = await buildGateway(
    t,
    `issuers:
  corp: { issuer: "${issuer}", audience: [orders-api], client: { id: gateway, secret: { env: SECRET } } }
upstreams: { backend: { url: "${upstream}" } }
plugins: [access-log]
routes:
  a: { match: { path: /a }, upstream: backend, plugins: [{ introspection: { issuer: corp, cache: 1ms } }, { authorize: { scopes: ["orders:read"] } }] }
`,
    { env: { SECRET: 'gateway-secret' } }
  )
  const ask = (authorization?: string) =>
    fetch(`${url}/a`, authorization ? { headers: { authorization } } : {})
  const accepted = await ask(`Bearer ${token}`)
  t.equal(accepted.status, 200)
  t.match(await accepted.json(), { headers: { 'x-forwarded-user': 'app' } })
  for (const [authorization, challenge] of [
    [undefined, /^Bearer realm="sallyport"$/],
    ['Basic abc', /^Bearer realm="sallyport"$/],
    ['Bearer made-up', /error="invalid_token"/],
    ['Bearer a.b.c', /error="invalid_token"/]
  ] as const) {
    const refused = await ask(authorization)
    t.equal(refused.status, 401)
    t.match(refused.headers.get('www-authenticate'), challenge)
  }
  await post('/token/revocation', { token })
  let answer = await ask(`Bearer ${token}`)
  while (answer.status === 200) answer = await ask(`Bearer ${token}`)
  t.equal(answer.status, 401, 'a revoked token is dead')
  t.notMatch(JSON.stringify(lines), token)
  t.notMatch(JSON.stringify(lines), 'gateway-secret')
})

t.test('WebSockets and gRPC calls are asked about too, and a dead issuer is not a bad token', async t => {
  const issuer = await issuerOf(t)
  const active = new Set(['abc', 'long'])
  issuer.answer = (form, _request, response) =>
    response.end(JSON.stringify(active.has(form.get('token') ?? '') ? good : { active: false }))
  const sockets = await socketUpstream(t)
  const calls: Record<string, unknown>[] = []
  const backend = await rawUpstream(t, seen => {
    calls.push(seen.headers)
    succeed(seen)
  })
  const gateway = await grpcGateway(
    t,
    `issuers:
  corp: { issuer: "${issuer.url}", audience: [orders-api], client: { id: gateway, secret: { env: SECRET } } }
upstreams: { live: { url: "${sockets.url}" }, calls: { url: "${backend.url}", protocol: h2c } }
routes:
  live: { match: { path: /live, protocol: websocket }, upstream: live, plugins: [{ introspection: { issuer: corp } }] }
  calls: { match: { protocol: grpc }, upstream: calls, plugins: [{ introspection: { issuer: corp } }] }
`,
    undefined,
    { env: { SECRET: 'gateway-secret' } }
  )
  const session = openSession(t, gateway.h2c)
  const bearer = (token: string) => ({ authorization: `Bearer ${token}` })
  const ask = async (headers: Record<string, string>) => [
    (await new RawClient(t, gateway.port).open({ path: '/live', headers })).status,
    statusOf(await call(session, '/shop.Orders/Get', headers))
  ]
  t.same(await ask({}), [401, 16])
  t.same(await ask(bearer('bad')), [401, 16])
  t.same([sockets.handshakes.length, calls.length], [0, 0])
  t.same(await ask(bearer('abc')), [101, 0])
  t.match(sockets.handshakes[0]?.headers, { 'x-forwarded-user': 'ann' })
  t.match(calls[0], { 'x-forwarded-user': 'ann' })
  const asked = (result: string) =>
    gateway.metric(`sallyport_introspections_total{issuer="corp",result="${result}"}`)
  t.same([await asked('active'), await asked('refused'), await asked('error')], [1, 1, undefined])

  issuer.answer = (_form, _request, response) => response.writeHead(500).end()
  t.same(await ask(bearer('new')), [503, 14], 'that nobody can be asked is not the fault of the client')
  t.same(await ask(bearer('abc')), [101, 0], 'what was asked before goes on')
  t.equal(await asked('error'), 1, 'and a dead issuer is left alone')
})

t.test('what cannot work is refused where it is written', async t => {
  const plugin = builtins.find(({ name }) => name === 'introspection')
  const config = {
    issuers: { corp: { client: { id: 'a', secret: { env: 'B' } } }, other: {}, open: { client: { id: 'a' } } }
  } as never
  for (const [options, path, message] of [
    [{ issuer: 'nobody', cache: 1 }, ['issuer'], /there is no issuer nobody/],
    [{ issuer: 'other', cache: 1 }, ['issuer'], /is no client of issuer other/],
    [{ issuer: 'open', cache: 1 }, ['issuer'], /has no secret/],
    [{ issuer: 'corp', cache: 300_001 }, ['cache'], /longer than 5m/]
  ] as const)
    t.match(plugin?.check?.(options, config), [{ path, message }])
  t.same(plugin?.check?.({ issuer: 'corp', cache: 30_000 }, config), [])
})
