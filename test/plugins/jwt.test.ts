import assert from 'node:assert'
import { once } from 'node:events'
import { type ClientRequestArgs, request as httpRequest, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Ajv2020 } from 'ajv/dist/2020.js'
import Fastify, { type FastifyError, type FastifyInstance } from 'fastify'
import { pino } from 'pino'
import t from 'tap'
import jwt, { type JwtOptions } from '../../plugins/jwt.ts'
import type { Config } from '../../src/config/schema.ts'
import { Refusal } from '../../src/errors.ts'
import { IssuerRegistry, type IssuerSettings, type IssuerVerifier } from '../../src/issuer/keys.ts'
import type { PluginGateway, RequestGateway, RouteInstance } from '../../src/plugin/define.ts'
import { type LocalIssuer, localIssuer, makeKey, RecordedMetrics, type TestEnd } from '../fixtures/issuer.ts'

interface Gateway {
  port: number
  metrics: RecordedMetrics
  /** The reasons that the plugin denied with. */
  denied: string[]
}

/** As much of a gateway as the plugin needs: one route behind it that tells who the identity is. */
async function gatewayWith(
  t: TestEnd,
  options: JwtOptions,
  issuers: Record<string, IssuerSettings>,
  verifier?: IssuerVerifier
): Promise<Gateway> {
  const metrics = new RecordedMetrics()
  const registry = new IssuerRegistry({ log: pino({ level: 'silent' }), metrics })
  const denied: string[] = []
  const app = Fastify()
  app.addHook('onRequest', (request, _reply, done) => {
    request.gateway = { identity: null } as RequestGateway
    done()
  })
  app.setErrorHandler((error: FastifyError | Refusal, _request, reply) => {
    const refusal = error instanceof Refusal ? error : new Refusal('plugin.failed')
    return reply
      .code(refusal.status)
      .headers({ ...refusal.headers })
      .send({ reason: refusal.reason })
  })
  app.register(async route => {
    const gateway = {
      deny(reason, denial) {
        denied.push(reason)
        throw new Refusal(reason, denial)
      },
      issuer: name => verifier ?? registry.get(name, issuers[name]!)
    } as Partial<PluginGateway> as PluginGateway
    await jwt.register(Object.assign(route as FastifyInstance, { gateway }) as RouteInstance, options)
    route.get('/', async request => ({ subject: request.gateway.identity?.subject ?? null }))
  })
  await app.listen({ host: '127.0.0.1', port: 0 })
  t.teardown(async () => {
    registry.close()
    await app.close()
  })
  return { port: (app.server.address() as AddressInfo).port, metrics, denied }
}

interface Answer {
  status: number
  challenge: string | undefined
  retryAfter: string | undefined
  body: { reason?: string; subject?: string | null }
}

async function ask(gateway: Gateway, authorization?: string): Promise<Answer> {
  const options: ClientRequestArgs = { host: '127.0.0.1', port: gateway.port, agent: false }
  if (authorization !== undefined) options.headers = { authorization }
  const request = httpRequest(options).end()
  const [response] = (await once(request, 'response')) as [IncomingMessage]
  let text = ''
  for await (const chunk of response) text += chunk
  return {
    status: response.statusCode ?? 0,
    challenge: response.headers['www-authenticate'],
    retryAfter: response.headers['retry-after'],
    body: JSON.parse(text)
  }
}

async function oneIssuer(
  t: TestEnd,
  options: JwtOptions = { issuer: 'corp' }
): Promise<[Gateway, LocalIssuer]> {
  const issuer = await localIssuer(t)
  return [await gatewayWith(t, options, { corp: issuer.settings() }), issuer]
}

t.test('a request with a good token gets its identity, the first time and every time after', async t => {
  const [gateway, issuer] = await oneIssuer(t)
  const token = await issuer.sign()
  for (let n = 0; n < 3; n++)
    t.match(await ask(gateway, `Bearer ${token}`), { status: 200, body: { subject: 'alice' } })
  const bob = await issuer.sign({ sub: 'bob' })
  t.match(await ask(gateway, `Bearer ${bob}`), { status: 200, body: { subject: 'bob' } })
  t.same(gateway.denied, [])
})

t.test('a request without a token is told how to authenticate, without an error code', async t => {
  const [gateway] = await oneIssuer(t)
  const answer = await ask(gateway)
  t.match(answer, { status: 401, body: { reason: 'token.missing' } })
  t.equal(answer.challenge, 'Bearer realm="sallyport"')
})

t.test('a refused token is told what was wrong, in words of ours', async t => {
  const [gateway, issuer] = await oneIssuer(t)
  const second = Math.floor(Date.now() / 1000)
  const rows: [Record<string, unknown>, string, string][] = [
    [{ exp: second - 3600 }, 'token.expired', 'The token has expired'],
    [{ aud: 'billing-api' }, 'token.audience', 'The token is for another audience'],
    [{ iss: 'https://evil.example' }, 'token.issuer', 'The token is from another issuer'],
    [{ nbf: second + 3600 }, 'token.invalid', 'The token is not valid']
  ]
  for (const [claims, reason, words] of rows) {
    const answer = await ask(gateway, `Bearer ${await issuer.sign(claims)}`)
    t.match(answer, { status: 401, body: { reason } })
    t.equal(answer.challenge, `Bearer realm="sallyport", error="invalid_token", error_description="${words}"`)
  }
  t.same(
    gateway.denied,
    rows.map(([, reason]) => reason),
    'each denial is on record once'
  )
})

t.test('while the keys are not to be had the answer is 503 with Retry-After', async t => {
  const issuer = await localIssuer(t)
  issuer.behaviour = 'fail'
  const gateway = await gatewayWith(t, { issuer: 'corp' }, { corp: issuer.settings() })
  const answer = await ask(gateway, `Bearer ${await issuer.sign()}`)
  t.match(answer, { status: 503, challenge: undefined, retryAfter: '1', body: { reason: 'key.unavailable' } })
  t.same(gateway.denied, ['key.unavailable'])
})

t.test('every scope of the route is required', async t => {
  const [gateway, issuer] = await oneIssuer(t, { issuer: 'corp', scopes: ['orders:read', 'orders:write'] })
  const both = await issuer.sign()
  const one = await issuer.sign({ scope: 'orders:read' })
  const none = await issuer.sign({ scope: undefined })
  const alike = await issuer.sign({ scope: 'orders:read orders:writer' })
  t.equal((await ask(gateway, `Bearer ${both}`)).status, 200)
  for (const token of [one, none, alike, one]) {
    const answer = await ask(gateway, `Bearer ${token}`)
    t.match(answer, { status: 403, body: { reason: 'scope.missing' } })
    t.equal(
      answer.challenge,
      'Bearer realm="sallyport", error="insufficient_scope", scope="orders:read orders:write"'
    )
  }
  t.equal(gateway.denied.length, 4, 'each denial is on record once')
})

t.test('a missing scope is also noticed when the token has to wait for keys', async t => {
  const [gateway, issuer] = await oneIssuer(t, { issuer: 'corp', scopes: ['admin'] })
  await gateway.metrics.fetched(1)
  issuer.keys = [makeKey('ES256', 'second')]
  t.match(await ask(gateway, `Bearer ${await issuer.sign()}`), {
    status: 403,
    body: { reason: 'scope.missing' }
  })
  t.same(gateway.denied, ['scope.missing'])
})

t.test('of several issuers the one that iss names judges the token', async t => {
  const corp = await localIssuer(t)
  const partner = await localIssuer(t)
  const stranger = await localIssuer(t)
  const settings = { corp: corp.settings(), partner: partner.settings({ algorithms: ['EdDSA'] }) }
  partner.keys = [makeKey('EdDSA', 'first')]
  const gateway = await gatewayWith(t, { issuers: ['corp', 'partner'] }, settings)
  for (let n = 0; n < 2; n++) {
    t.match(await ask(gateway, `Bearer ${await corp.sign()}`), { status: 200 })
    t.match(await ask(gateway, `Bearer ${await partner.sign({ sub: 'paul' })}`), {
      body: { subject: 'paul' }
    })
  }
  const token = await partner.sign()
  for (let n = 0; n < 2; n++) t.equal((await ask(gateway, `Bearer ${token}`)).status, 200, 'seen before')
  t.match(await ask(gateway, `Bearer ${await stranger.sign()}`), {
    status: 401,
    body: { reason: 'token.issuer' }
  })
  t.match(await ask(gateway, `Bearer ${await corp.sign({ iss: partner.url })}`), {
    body: { reason: 'token.invalid' }
  })
  t.match(await ask(gateway, 'Bearer x.y.z'), { status: 401, body: { reason: 'token.invalid' } })
  t.equal(stranger.asked.metadata + stranger.asked.keys, 0, 'an issuer that a token names is never asked')
})

t.test('an issuer that is down does not stop the tokens of another', async t => {
  const corp = await localIssuer(t)
  const partner = await localIssuer(t)
  partner.behaviour = 'fail'
  const settings = { corp: corp.settings(), partner: partner.settings() }
  const gateway = await gatewayWith(t, { issuers: ['partner', 'corp'] }, settings)
  t.match(await ask(gateway, `Bearer ${await corp.sign()}`), { status: 200 })
  t.match(await ask(gateway, `Bearer ${await partner.sign()}`), { status: 503 })
})

t.test('a defect in the verification fails the request: it is no refusal, and lets nobody in', async t => {
  const broken: [string, () => never | Promise<never>][] = [
    ['at once', () => assert.fail('defect')],
    ['later', () => Promise.reject(new Error('defect'))]
  ]
  for (const [when, verify] of broken) {
    const verifier: IssuerVerifier = {
      name: 'corp',
      issuer: 'https://a',
      cached: () => undefined,
      publicKey: async () => null,
      verify
    }
    const gateway = await gatewayWith(t, { issuer: 'corp' }, {}, verifier)
    t.match(await ask(gateway, 'Bearer x'), { status: 500, body: { reason: 'plugin.failed' } }, when)
    t.same(gateway.denied, [])
  }
})

t.test('the options that the schema takes', async t => {
  const validate = new Ajv2020({ strict: true, allErrors: true }).compile(jwt.schema)
  const good = [
    { issuer: 'corp' },
    { issuers: ['corp', 'partner'] },
    { issuer: 'corp', scopes: ['a', 'b:c/d'] }
  ]
  const bad = [
    {},
    { issuer: '' },
    { issuers: [] },
    { issuers: ['corp', 'corp'] },
    { issuer: 'corp', issuers: ['corp'] },
    { issuer: 'corp', scopes: [] },
    { issuer: 'corp', scopes: ['a b'] },
    { issuer: 'corp', scopes: ['"'] },
    { issuer: 'corp', scope: ['a'] },
    { issuer: ['corp'] }
  ]
  for (const options of good) t.ok(validate(options), JSON.stringify(options))
  for (const options of bad) t.notOk(validate(options), JSON.stringify(options))
})

t.test('issuers that the configuration does not describe are found by the check', async t => {
  const config = {
    issuers: {
      corp: { issuer: 'https://a' },
      partner: { issuer: 'https://b' },
      twin: { issuer: 'https://a' }
    }
  }
  const check = (options: JwtOptions, known: object = config) => jwt.check(options, known as Config)
  t.same(check({ issuer: 'corp' }), [])
  t.same(check({ issuers: ['corp', 'partner'] }), [])
  t.match(check({ issuer: 'crop' }), [
    { path: ['issuer'], message: 'there is no issuer crop', remedy: /under issuers: corp, partner, twin/ }
  ])
  t.match(check({ issuers: ['corp', 'toString'] }), [
    { path: ['issuers', 1], message: 'there is no issuer toString' }
  ])
  t.match(check({ issuer: 'corp' }, { issuers: {} }), [{ remedy: 'describe it under issuers' }])
  t.match(check({ issuers: ['corp', 'twin'] }), [
    { path: ['issuers', 1], message: /the same issuer https:\/\/a/ }
  ])
})

t.test('in `any` it takes what has the shape of a JWT, and leaves the rest to others', async t => {
  const request = (headers: Record<string, string>, protocol = 'http', url = '/') =>
    ({ headers, url, gateway: { protocol } }) as never
  const socket = (offer: string) => request({ 'sec-websocket-protocol': offer }, 'websocket')
  const bearer = (token: string) => request({ authorization: `Bearer ${token}` })
  const carries = jwt.carries({ issuer: 'corp' })
  const rows: [what: string, request: never, expected: boolean][] = [
    ['a JWT', bearer('aA0.b_-.c'), true],
    ['the scheme in another case', request({ authorization: 'bearer a.b.c' }), true],
    ['one without a signature', bearer('a.b.'), true],
    ['an opaque token', bearer('abc'), false],
    ['two parts', bearer('a.b'), false],
    ['a JWE', bearer('a.b.c.d.e'), false],
    ['no base64url', bearer('a.b.c='), false],
    ['another scheme', request({ authorization: 'Basic a.b.c' }), false],
    ['nothing', request({}), false],
    ['an offer over HTTP', request({ 'sec-websocket-protocol': 'bearer, a.b.c' }), false],
    ['an offer', socket('chat, bearer, a.b.c'), true],
    ['an encoded offer', socket('base64url.bearer.authorization.k8s.io.YQ'), true],
    ['a marker alone', socket('chat, bearer'), false]
  ]
  for (const [what, request, expected] of rows) t.equal(carries(request), expected, what)
  const elsewhere = jwt.carries({ issuer: 'corp', from: [{ cookie: 'token' }, { query: 'token' }] })
  t.equal(elsewhere(request({ cookie: 'a=b; token=x' }, 'websocket')), true)
  t.equal(elsewhere(request({ cookie: 'xtoken=x' }, 'websocket')), false)
  t.equal(elsewhere(request({}, 'websocket', '/?a=1&tok%65n=x')), true)
  t.equal(elsewhere(request({ authorization: 'Bearer a.b.c' }, 'websocket')), false)
})
