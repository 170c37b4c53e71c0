import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { connect } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { digestOfKey, makeKey as makeApiKey } from '../../plugins/api-key/key.ts'
import type { Explanation } from '../../src/explain/explanation.ts'
import { Browser } from '../fixtures/browser.ts'
import { temporaryFolder } from '../fixtures/certificates.ts'
import { http2Upstream } from '../fixtures/http2-upstream.ts'
import { localIssuer, makeKey } from '../fixtures/issuer.ts'
import { rawClient } from '../fixtures/raw.ts'
import { signInGateway } from '../fixtures/sign-in.ts'
import { buildGateway, type RunningGateway } from '../helper.ts'

type Protocol = 'http' | 'grpc' | 'websocket'

interface Asked {
  protocol: Protocol
  method: string
  target: string
  host: string
  headers: [string, string][]
  body?: string
}

/** What both sides are compared by; `reason` is undefined where the wire does not tell it. */
interface Verdict {
  verdict: 'allow' | 'deny'
  status: number | null
  grpcStatus: number | null
  reason: string | null | undefined
}

const runs = 1000
const reached = 'x-reached'

/** Answers whatever comes, and says that it was asked; accepts every handshake by its first subprotocol. */
async function backend(t: Test): Promise<{ url: string; asked: () => number }> {
  let asked = 0
  const server = createServer((request, response) => {
    asked++
    request.resume()
    response.writeHead(200, { [reached]: 'yes', 'content-length': '0' }).end()
  })
  server.on('upgrade', (_request, socket) => {
    asked++
    socket.on('error', () => {})
    // A refusal of its own: the gateway passes it on, so that no WebSocket stays behind.
    socket.end(`HTTP/1.1 418 no\r\n${reached}: yes\r\ncontent-length: 0\r\nconnection: close\r\n\r\n`)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked: () => asked }
}

async function grpcBackend(t: Test): Promise<string> {
  const { url } = await http2Upstream(t, (request, response) => {
    request.resume()
    response
      .writeHead(200, { 'content-type': 'application/grpc', 'grpc-status': '0', [reached]: 'yes' })
      .end()
  })
  return url
}

function configuration(issuer: string, http: string, grpc: string, keys: string): string {
  return `listeners:
  http: { host: 127.0.0.1, port: 0 }
  h2c: { host: 127.0.0.1, port: 0 }
  admin: { host: 127.0.0.1, port: 0 }
trustedProxies: [127.0.0.0/8]
issuers: { corp: { issuer: "${issuer}", audience: [orders-api] } }
upstreams:
  backend: { url: "${http}" }
  next: { url: "${http}" }
  calls: { url: "${grpc}", protocol: h2c }
plugins:
  - ip-filter: { deny: [203.0.113.0/24] }
routes:
  orders:
    match: { path: /orders/*, methods: [GET, POST] }
    upstream: backend
    maxBody: 1Ki
    plugins:
      - jwt: { issuer: corp }
      - authorize: { scopes: ["orders:read"] }
      - rate-limit: { limit: 9, window: 1h, by: identity.subject, algorithm: sliding-window }
      - concurrency: { limit: 1, by: identity.subject }
  admin:
    match: { path: /orders/*, hosts: [admin.example.com], headers: { x-version: "2" } }
    upstream: backend
    plugins:
      - jwt: { issuer: corp }
      - authorize: { groups: [admins], allow: 'identity.claims.level > 2 && inCidr(client.ip, "192.0.2.0/24")' }
      - authorize: { allow: 'false', mode: shadow }
  open:
    match: { path: "/open/:id", methods: [GET, POST, OPTIONS] }
    public: true
    upstream: backend
    encodedSlashes: true
    plugins:
      - rate-limit: [{ limit: 7, window: 1h, by: client.ip }, { limit: 40, window: 1h, by: route, algorithm: token-bucket }]
      - cors: { origins: ["https://shop.example.com"] }
      - protocol: { contentTypes: [application/json], maxBody: 1Ki }
      - headers: { request: { set: { x-key: hidden }, remove: [accept] } }
  pay:
    match: { path: /pay }
    public: true
    upstream: backend
    maxBody: 2Ki
    plugins:
      - authorize: { body: { maxSize: 1Ki }, allow: '!has(request.body) || request.body.amount < 1000' }
      - authorize: { mode: shadow, body: { maxSize: 4Ki }, allow: 'request.body.items.all(i, i > 1)' }
  items:
    match: { path: /items }
    upstreams: [{ name: backend, weight: 2 }, { name: next, weight: 1 }]
    plugins:
      - any: [jwt: { issuer: corp }, api-key: { keys: { file: "${keys}" } }, anonymous: { scopes: ["items:see"] }]
      - authorize:
          scopes: ["items:see"]
          body: { maxSize: 1Ki }
          allow: '!has(request.body) || !has(request.body.amount) || request.body.amount < 1000'
  socket:
    match: { path: /socket, protocol: websocket }
    upstream: backend
    plugins:
      - jwt: { issuer: corp }
      - protocol: { origins: ["https://shop.example.com"], subprotocols: [chat] }
      - rate-limit: { limit: 3, window: 1h, by: identity.subject }
  calls:
    match: { protocol: grpc, service: shop.Orders }
    upstream: calls
    plugins:
      - jwt: { issuer: corp }
      - protocol: { rpcs: [shop.Orders/Get, shop.Orders/List] }
      - authorize: { allow: 'rpc.method != "List" || "admins" in identity.groups' }
`
}

async function explained(running: RunningGateway, asked: Asked): Promise<Verdict> {
  const { headers, ...rest } = asked
  const lines = headers.map(([name, value]) => `${name}: ${value}`)
  const answer = await fetch(`${running.admin}/explain`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ ...rest, headers: lines })
  })
  const text = await answer.text()
  if (answer.status !== 200) throw new Error(text)
  const { verdict, status, grpcStatus, reason } = JSON.parse(text) as Explanation
  return { verdict, status, grpcStatus, reason }
}

/** Bodies above every limit are announced and not sent: the refusal comes all the same. */
function bodyOf({ headers, body }: Asked): string {
  if (body !== undefined) return body
  const length = Number(headers.find(([name]) => name === 'content-length')?.[1] ?? 0)
  return length > 0 && length < 2000 ? 'x'.repeat(length) : ''
}

const handshake = [
  'Connection: Upgrade',
  'Upgrade: websocket',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=='
]

async function live(running: RunningGateway, asked: Asked): Promise<Verdict> {
  if (asked.protocol === 'grpc') return liveCall(running, asked)
  const { method, target, host, headers, protocol } = asked
  const lines = [`${method} ${target} HTTP/1.1`, `Host: ${host}`]
  if (protocol === 'websocket') lines.push(...handshake)
  for (const [name, value] of headers) lines.push(`${name}: ${value}`)
  if (asked.body !== undefined) lines.push(`content-length: ${Buffer.byteLength(asked.body)}`)
  const client = rawClient(null, running.port, () => method === 'HEAD')
  client.send(`${lines.join('\r\n')}\r\n\r\n${bodyOf(asked)}`)
  const { status, headers: answered, body } = await client.next()
  client.destroy()
  if (answered[reached] === 'yes') return allowed(null)
  if (status < 400) return allowed(status)
  const reason = method === 'HEAD' ? undefined : (JSON.parse(body) as { reason: string }).reason
  return { verdict: 'deny', status, grpcStatus: null, reason }
}

async function liveCall(running: RunningGateway, asked: Asked): Promise<Verdict> {
  const session = connect(running.gateway.addresses.h2c as string)
  try {
    const fields: Record<string, string> = {}
    for (const [name, value] of asked.headers) fields[name] = value
    const stream = session.request({
      ':method': asked.method,
      ':path': asked.target,
      ':authority': asked.host,
      'content-type': 'application/grpc',
      te: 'trailers',
      ...fields
    })
    stream.on('error', () => {})
    stream.end()
    const [head] = (await once(stream, 'response').catch(() => [])) as [Record<string, string>?]
    // A reset: nghttp2 refuses it before the gateway can.
    if (head === undefined)
      return { verdict: 'deny', status: 400, grpcStatus: null, reason: 'request.malformed' }
    if (head[reached] === 'yes') return allowed(null)
    const reason = /\(([a-z._]+)\)$/.exec(head['grpc-message'] ?? '')?.[1]
    return {
      verdict: 'deny',
      status: Number(head[':status']),
      grpcStatus: Number(head['grpc-status']),
      reason
    }
  } finally {
    session.destroy()
  }
}

function allowed(status: number | null): Verdict {
  return { verdict: 'allow', status, grpcStatus: null, reason: null }
}

function json(value: unknown): string {
  return JSON.stringify(value)
}

async function tokens(t: Test, issuer: Awaited<ReturnType<typeof localIssuer>>): Promise<string[]> {
  const other = await localIssuer(t)
  const past = Math.floor(Date.now() / 1000) - 3600
  const admins = { groups: ['admins'], level: 3 }
  return Promise.all([
    issuer.sign(),
    issuer.sign({ sub: 'bob', ...admins }),
    issuer.sign({ sub: 'carol', groups: ['admins'] }),
    issuer.sign({ sub: 'dora', scope: 'other', ...admins }),
    issuer.sign({ exp: past }),
    issuer.sign({ aud: 'another-api' }),
    issuer.sign({ sub: undefined }),
    issuer.sign({}, {}, makeKey('ES256', 'first')),
    other.sign(),
    Promise.resolve('no.jwt.atall')
  ])
}

/** A file of keys for the gateway, and some of them: good, without the scope, and of nobody. */
async function keyFile(t: Test): Promise<{ file: string; keys: string[] }> {
  const file = join(await temporaryFolder(t), 'keys.yaml')
  const [good, poor, unknown] = [makeApiKey(), makeApiKey(), makeApiKey()]
  const entry = ({ id, key }: typeof good, scopes: string) =>
    `  - { id: ${id}, hash: "sha256:${digestOfKey(key).toString('hex')}", owner: ${id}, scopes: [${scopes}] }\n`
  await writeFile(file, `keys:\n${entry(good, '"items:see"')}${entry(poor, '')}`)
  return { file, keys: [good, poor, unknown].map(({ key }) => key) }
}

function requests(credentials: readonly string[], keys: readonly string[]): fc.Arbitrary<Asked> {
  const good = credentials.slice(0, 4)
  const credential = fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom(...good).map(token => `Bearer ${token}`) },
    { weight: 5, arbitrary: fc.constantFrom(...credentials).map(token => `bearer ${token}`) },
    { weight: 1, arbitrary: fc.constantFrom('Basic YTpi', 'Bearer', 'Bearer  x') }
  )
  const address = fc.constantFrom(
    '192.0.2.7',
    '198.51.100.3',
    '203.0.113.9',
    '2001:db8::1',
    '::ffff:203.0.113.9',
    '203.0.113.9, 192.0.2.1',
    '192.0.2.1, 127.0.0.2',
    'unknown',
    '192.0.2.8:4711'
  )
  function maybe(name: string, value: fc.Arbitrary<string>, freq: number): fc.Arbitrary<[string, string][]> {
    return fc.oneof(
      { weight: freq * 10, arbitrary: value.map((one): [string, string][] => [[name, one]]) },
      { weight: 40, arbitrary: fc.constant<[string, string][]>([]) }
    )
  }
  const common = fc
    .tuple(maybe('authorization', credential, 12), maybe('x-forwarded-for', address, 6))
    .map(lists => lists.flat())
  const host = fc.oneof(
    {
      weight: 20,
      arbitrary: fc.constantFrom('api.example.com', 'admin.example.com', 'ADMIN.example.com:80')
    },
    { weight: 1, arbitrary: fc.constantFrom('a b', 'x/y', 'ex_ample.com', '[::1]:8080', '') }
  )
  const segment = fc.constantFrom(
    '7',
    'a',
    '..',
    '.',
    '%2e',
    '%2f',
    '%41',
    'a%00b',
    '',
    'a;b',
    'ä',
    'x'.repeat(9000),
    '~'
  )
  const path = fc.oneof(
    {
      weight: 14,
      arbitrary: fc.constantFrom('/orders/7', '/orders', '/open/7', '/open/a%2fb', '/orders/7?a=1&b=%20')
    },
    {
      weight: 3,
      arbitrary: fc
        .tuple(
          fc.constantFrom('/orders', '/open', '/Orders', '', '/socket'),
          fc.array(segment, { maxLength: 3 })
        )
        .map(([base, rest]) => `${base}/${rest.join('/')}`)
    },
    {
      weight: 1,
      arbitrary: fc.constantFrom(
        '*',
        'orders',
        'http://api.example.com/orders/7',
        '/#x',
        '/orders/7#',
        '/a b',
        '\\orders',
        '/socket',
        '/shop.Orders/Get'
      )
    }
  )
  const method = fc.oneof(
    { weight: 8, arbitrary: fc.constantFrom('GET', 'POST') },
    {
      weight: 2,
      arbitrary: fc.constantFrom(
        'HEAD',
        'PUT',
        'OPTIONS',
        'DELETE',
        'TRACE',
        'CONNECT',
        'PROPFIND',
        'FOO',
        'get',
        'SOURCE',
        'QUERY'
      )
    }
  )
  const http = fc.record({
    protocol: fc.constant<Protocol>('http'),
    method,
    target: path,
    host,
    headers: fc
      .tuple(
        common,
        maybe('content-length', fc.constantFrom('0', '10', '101', '1025', '99999999', '+5', '-1', '1_0'), 2),
        maybe(
          'content-type',
          fc.constantFrom(
            'application/json',
            'text/plain',
            'application/grpc',
            'application/json; charset=utf-8'
          ),
          3
        ),
        maybe('x-version', fc.constantFrom('2', '1'), 3),
        maybe('origin', fc.constantFrom('https://shop.example.com', 'https://evil.example', 'null'), 2),
        maybe('access-control-request-method', fc.constantFrom('GET', 'PUT'), 1),
        maybe(
          'connection',
          fc.constantFrom('close', 'x-version', 'authorization', 'keep-alive, x-foo', 'upgrade'),
          1
        ),
        maybe('x_under', fc.constant('1'), 0.3),
        maybe('x-forwarded_for', fc.constant('1'), 0.2),
        maybe('transfer-encoding', fc.constantFrom('gzip', 'chunked, gzip'), 0.2),
        maybe('expect', fc.constantFrom('something'), 0.2),
        maybe('host', fc.constant('twice.example.com'), 0),
        maybe('bad name', fc.constant('x'), 0.1),
        maybe('authorization', fc.constant('Bearer second'), 0.2)
      )
      .map(lists => lists.flat())
  })
  const webSocket = fc.record({
    protocol: fc.constant<Protocol>('websocket'),
    method: fc.constantFrom('GET', 'GET', 'GET', 'POST'),
    target: fc.constantFrom(
      '/socket',
      '/socket',
      '/socket',
      '/socket?x=1',
      '/orders/7',
      '/nowhere',
      '/socket/..'
    ),
    host,
    headers: fc
      .tuple(
        common,
        maybe('origin', fc.constantFrom('https://shop.example.com', 'https://evil.example'), 6),
        maybe('sec-websocket-protocol', fc.constantFrom('chat', 'other', 'chat, other', 'a b', ''), 4),
        maybe(
          'sec-websocket-extensions',
          fc.constantFrom('permessage-deflate', 'x; y=', '=', 'permessage-deflate; server_max_window_bits=1'),
          1
        )
      )
      .map(lists => lists.flat())
  })
  const grpc = fc.record({
    protocol: fc.constant<Protocol>('grpc'),
    method: fc.constantFrom('POST', 'POST', 'POST', 'POST', 'GET', 'PUT'),
    target: fc.constantFrom(
      '/shop.Orders/Get',
      '/shop.Orders/Get',
      '/shop.Orders/List',
      '/shop.Orders/Delete',
      '/shop.Orders',
      '/shop.Orders/Get?x',
      '/shop.Orders/a/b',
      '/grpc.health.v1.Health/Check',
      '/orders/7',
      '/shop.Orders/..'
    ),
    host,
    headers: fc
      .tuple(
        common,
        maybe('grpc-timeout', fc.constantFrom('10S', '5M', 'x', '0n', '123456789S'), 2),
        maybe('x_under', fc.constant('1'), 0.3)
      )
      .map(lists => lists.flat())
  })
  const withBody = fc.record({
    protocol: fc.constant<Protocol>('http'),
    method: fc.constantFrom('POST', 'PUT', 'GET', 'HEAD'),
    target: fc.constantFrom('/pay', '/items'),
    host: fc.constant('api.example.com'),
    headers: fc
      .tuple(
        common,
        maybe('x-api-key', fc.constantFrom(...keys, `${keys[0]}x`), 6),
        maybe('content-type', fc.constantFrom('application/json', 'application/json', 'text/plain'), 30),
        maybe('content-encoding', fc.constant('gzip'), 0.3)
      )
      .map(lists => lists.flat()),
    body: fc.oneof(
      { weight: 4, arbitrary: fc.record({ amount: fc.constantFrom(1, 999, 1000, '1') }).map(json) },
      { weight: 1, arbitrary: fc.jsonValue({ maxDepth: 2 }).map(json) },
      {
        weight: 3,
        arbitrary: fc.constantFrom(
          '',
          'null',
          '[]',
          '[{"amount":5000}]',
          '{"amount":[1]}',
          '{"amount":1,"amount":2}',
          '{"amount":1',
          '{"amount":1e999}',
          `{"amount":1,"a":"${'x'.repeat(1024)}"}`,
          `{"amount":1,"a":"${'x'.repeat(2048)}"}`
        )
      }
    )
  })
  return fc.oneof(
    { weight: 3, arbitrary: withBody },
    { weight: 5, arbitrary: http },
    { weight: 2, arbitrary: webSocket },
    { weight: 2, arbitrary: grpc }
  )
}

/** Throws where explain says something else than live; gives what both say, to be counted. */
async function compare(running: RunningGateway, asked: Asked): Promise<string> {
  const before = await explained(running, asked)
  const { reason, ...told } = await live(running, asked)
  const wanted = reason === undefined ? told : { ...told, reason }
  const got = Object.fromEntries(Object.keys(wanted).map(name => [name, before[name as keyof Verdict]]))
  const [saw, is] = [JSON.stringify(got), JSON.stringify(wanted)]
  if (saw !== is) throw new Error(`explained ${saw}, live ${is}`)
  return `${asked.protocol} ${before.verdict} ${before.reason ?? before.status ?? 'upstream'}`
}

t.test(
  'explain says what a live request gets, for a thousand generated requests',
  { timeout: 300_000 },
  async t => {
    const issuer = await localIssuer(t)
    const { url } = await backend(t)
    const { file, keys } = await keyFile(t)
    const running = await buildGateway(t, configuration(issuer.url, url, await grpcBackend(t), file))
    const seen = new Map<string, number>()
    const property = fc.asyncProperty(requests(await tokens(t, issuer), keys), async asked => {
      const what = await compare(running, asked)
      seen.set(what, (seen.get(what) ?? 0) + 1)
    })
    const { failed, errorInstance, counterexample } = await fc.check(property, {
      numRuns: runs,
      endOnFailure: true
    })
    t.equal(failed, false, `${errorInstance}: ${JSON.stringify(counterexample)}`)
    t.comment(
      [...seen]
        .sort(([, a], [, b]) => b - a)
        .map(([what, times]) => `${times} ${what}`)
        .join('\n')
    )
    for (const protocol of ['http', 'websocket', 'grpc'])
      t.ok(seen.has(`${protocol} allow upstream`), `some are let through: ${protocol}`)
    for (const reason of [
      'token.missing',
      'token.expired',
      'scope.missing',
      'policy.denied',
      'policy.error',
      'rate.exceeded',
      'request.malformed',
      'route.none',
      'protocol.size'
    ])
      t.ok(
        [...seen.keys()].some(key => key.endsWith(` ${reason}`)),
        `some meet ${reason}`
      )
  }
)

/** What browsers send for pages of this and of other origins, with a session and without. */
function visits(own: string, cookies: readonly string[], token: string): fc.Arbitrary<Asked> {
  const maybe = (name: string, values: readonly string[]) =>
    fc.option(fc.constantFrom(...values), { nil: undefined }).map(value => ({ name, value }))
  const fields = fc
    .tuple(
      maybe('cookie', [...cookies, ...cookies.slice(0, 1), ...cookies.slice(0, 1)]),
      maybe('authorization', [`Bearer ${token}`, 'Bearer abc']),
      maybe('origin', [own, 'https://shop.example.com', 'https://evil.example', 'null', '']),
      maybe('sec-fetch-site', ['same-origin', 'same-site', 'cross-site', 'none', 'same-origin, none']),
      maybe('sec-websocket-version', ['13'])
    )
    .map(all =>
      all.flatMap(({ name, value }): [string, string][] => (value === undefined ? [] : [[name, value]]))
    )
  const host = fc.constant(new URL(own).host)
  const http = fc.record({
    protocol: fc.constant<Protocol>('http'),
    method: fc.constantFrom('GET', 'POST', 'POST', 'DELETE', 'HEAD', 'OPTIONS', 'PROPFIND'),
    target: fc.constantFrom('/people', '/either', '/named', '/oauth2/auth'),
    host,
    headers: fields
  })
  const webSocket = fc.record({
    protocol: fc.constant<Protocol>('websocket'),
    method: fc.constant('GET'),
    target: fc.constantFrom('/live', '/people'),
    host,
    headers: fields.map(list => list.filter(([name]) => name !== 'sec-websocket-version'))
  })
  const grpc = fc.record({
    protocol: fc.constant<Protocol>('grpc'),
    method: fc.constant('POST'),
    target: fc.constant('/shop.Orders/Get'),
    host,
    headers: fields.map(list => list.filter(([, value]) => value !== ''))
  })
  return fc.oneof(
    { weight: 3, arbitrary: http },
    { weight: 1, arbitrary: webSocket },
    { weight: 1, arbitrary: grpc }
  )
}

t.test('the same of sessions, whatever page asks', { timeout: 300_000 }, async t => {
  const { url } = await backend(t)
  const { file } = await keyFile(t)
  const running = await signInGateway(t, url, {
    listeners: `listeners:
  http: { host: 127.0.0.1, port: 0 }
  h2c: { host: 127.0.0.1, port: 0 }
  admin: { host: 127.0.0.1, port: 0 }
`,
    upstreams: `\n  other: { url: "${url}" }\n  calls: { url: "${await grpcBackend(t)}", protocol: h2c }`,
    routes: `  people: { match: { hosts: [127.0.0.1], path: /people }, upstream: backend, plugins: [oidc: { issuer: corp }] }
  either:
    match: { hosts: [127.0.0.1], path: /either }
    upstreams: [{ name: backend, weight: 1 }, { name: other, weight: 1 }]
    plugins: [any: [jwt: { issuer: corp }, oidc: { issuer: corp }, api-key: { keys: { file: "${file}" } }]]
  named:
    match: { hosts: [127.0.0.1], path: /named }
    upstream: backend
    plugins:
      - cors: { origins: ["https://shop.example.com"], credentials: true, methods: [GET, POST] }
      - oidc: { issuer: corp }
  live: { match: { hosts: [127.0.0.1], path: /live, protocol: websocket }, upstream: backend, plugins: [oidc: { issuer: corp }] }
  calls: { match: { hosts: [127.0.0.1], protocol: grpc, service: shop.Orders }, upstream: calls, plugins: [oidc: { issuer: corp }] }
`
  })
  const browser = new Browser()
  await browser.open(`${running.url}/people`)
  const good = `sallyport=${browser.cookie(running.url, 'sallyport')}`
  const cookies = [good, `${good}x`, `${good}; ${good}`, 'sallyport=', 'theme=dark']
  const seen = new Map<string, number>()
  const property = fc.asyncProperty(visits(running.url, cookies, running.issuer.sign()), async asked => {
    const what = await compare(running, asked)
    seen.set(what, (seen.get(what) ?? 0) + 1)
  })
  const { failed, errorInstance, counterexample } = await fc.check(property, {
    numRuns: 400,
    endOnFailure: true
  })
  t.equal(failed, false, `${errorInstance}: ${JSON.stringify(counterexample)}`)
  for (const protocol of ['http', 'websocket', 'grpc'])
    for (const what of ['allow upstream', 'deny protocol.origin', 'deny token.missing'])
      t.ok(seen.has(`${protocol} ${what}`), `${protocol} ${what}: ${JSON.stringify([...seen])}`)
})
