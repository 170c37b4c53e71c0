import type { IncomingHttpHeaders, RequestListener, ServerResponse } from 'node:http'
import t, { type Test } from 'tap'
import forwardAuth from '../../plugins/forward-auth.ts'
import { RawClient } from '../fixtures/frames.ts'
import { grpcGateway } from '../fixtures/grpc/gateway.ts'
import { call, openSession, statusOf } from '../fixtures/grpc/raw-call.ts'
import { rawUpstream, succeed } from '../fixtures/grpc/raw-upstream.ts'
import { socketUpstream } from '../fixtures/web-sockets.ts'
import { buildGateway, echo, upstream } from '../helper.ts'

interface Question {
  method: string | undefined
  url: string | undefined
  headers: IncomingHttpHeaders
  /** Port of the gateway's end of the connection. */
  from: number | undefined
}

/** A service that answers as the test says. */
async function service(t: Test) {
  const asked: Question[] = []
  const running = await upstream(t, (request, response) => {
    const { method, url, headers, socket } = request
    asked.push({ method, url, headers, from: socket.remotePort })
    auth.answer(request, response)
  })
  const auth: { url: string; asked: Question[]; answer: RequestListener } = {
    url: running.url,
    asked,
    answer: (_request, response) => allow(response)
  }
  return auth
}

function allow(
  response: ServerResponse,
  headers: Record<string, string | string[]> = { 'x-user': 'ann' }
): void {
  response.writeHead(200, headers).end('never shown')
}

async function start(t: Test, url: string, options = '', more = '', path = '/check?a=1') {
  const backend = await echo(t)
  return buildGateway(
    t,
    `${more}upstreams: { backend: { url: "${backend.url}" } }
plugins: [access-log, metrics]
routes:
  legacy:
    match: { path: /* }
    upstream: backend
    allowUnderscores: true
    plugins: [{ forward-auth: { url: "${url}${path}", headers: [x-user, x-team]${options} } }]
`,
    { env: { SECRET: 'a secret of thirty-two characters or more' } }
  )
}

t.test('the service is told of the request, and what it says reaches the upstream', async t => {
  const auth = await service(t)
  auth.answer = (_request, response) => allow(response, { 'x-user': 'ann', 'x-other': 'not asked for' })
  const { url } = await start(t, auth.url)
  const host = new URL(url).host
  const headers = {
    authorization: 'Basic abc',
    cookie: 'session=1',
    'x-forwarded-for': '1.2.3.4',
    'x-forwarded-uri': '/harmless',
    'x-forwarded-method': 'GET',
    'x-forwarded-proto': 'https',
    'x-user': 'root',
    x_user: 'root',
    'X.User': 'root',
    'x-team': 'admins',
    'x-secret': 'mine'
  }
  const answer = await fetch(`${url}/orders?b=%20`, { method: 'POST', body: 'hello', headers })
  t.equal(answer.status, 200)
  const { headers: got, body } = (await answer.json()) as { headers: Record<string, string>; body: string }
  t.equal(body, 'hello', 'the body goes to the upstream alone')
  t.match(got, { 'x-user': 'ann', 'x-forwarded-user': 'ann', authorization: 'Basic abc' })
  t.same(
    Object.keys(got).filter(name => /^(x.user|x.team|x-other)$/.test(name)),
    ['x-user'],
    'nothing that the client says of itself'
  )
  const [question] = auth.asked
  t.match(question, {
    method: 'GET',
    url: '/check?a=1',
    headers: {
      'x-forwarded-method': 'POST',
      'x-forwarded-proto': 'http',
      'x-forwarded-host': host,
      'x-forwarded-uri': '/orders?b=%20',
      'x-forwarded-for': '127.0.0.1',
      authorization: 'Basic abc',
      cookie: 'session=1',
      host: new URL(auth.url).host
    }
  })
  t.equal(question?.headers['x-secret'], undefined, 'and no other header of the client')
  t.equal(question?.headers['content-length'], undefined)

  for (let n = 0; n < 5; n++) await (await fetch(url)).text()
  t.equal(new Set(auth.asked.map(({ from }) => from)).size, 1, 'on one connection')
})

t.test('a service of the kind that Envoy asks gets the request itself, without its body', async t => {
  const auth = await service(t)
  const { url } = await start(t, auth.url, ', style: ext-authz', '', '/authz/')
  const body = async (path: string, init: RequestInit = {}) => {
    const answer = await fetch(url + path, init)
    return { status: answer.status, text: await answer.text() }
  }
  const posted = await body('/orders/1?b=%20', {
    method: 'POST',
    body: 'hello',
    headers: { authorization: 'x' }
  })
  t.equal(posted.status, 200)
  t.equal(JSON.parse(posted.text).body, 'hello')
  t.equal((await body('/', { method: 'HEAD' })).status, 200)
  t.match(auth.asked, [
    {
      method: 'POST',
      url: '/authz/orders/1?b=%20',
      headers: {
        host: new URL(url).host,
        authorization: 'x',
        'content-length': '0',
        'x-forwarded-method': 'POST'
      }
    },
    { method: 'HEAD', url: '/authz/' }
  ])
  t.equal(auth.asked[0]?.headers['content-type'], undefined)
  for (const [answered, expected] of [
    [201, 503],
    [204, 503],
    [401, 401],
    [403, 403],
    [307, 307],
    [404, 503]
  ] as const) {
    auth.answer = (_request, response) =>
      response.writeHead(answered, { 'x-user': 'ann', location: '/x' }).end()
    t.equal((await body('/a', { redirect: 'manual' })).status, expected, `it says ${answered}`)
  }
})

t.test('the service gets the headers that it needs, and never the session of the gateway', async t => {
  const auth = await service(t)
  const { url } = await start(
    t,
    auth.url,
    ', sends: [cookie, X-Device]',
    'externalUrl: https://api.example.com\nsession: { secret: { env: SECRET } }\n'
  )
  const headers = {
    cookie: 'a=1; __Host-sallyport=canary; __host-sallyport.flow=canary; b=2',
    authorization: 'Basic abc',
    'x-device': '7'
  }
  t.equal((await fetch(url, { headers })).status, 200)
  const [asked] = auth.asked
  t.match(asked?.headers, { cookie: 'a=1; b=2', 'x-device': '7', authorization: undefined })
  await fetch(url, { headers: { cookie: '__Host-sallyport=canary' } })
  t.equal(auth.asked[1]?.headers.cookie, undefined)
})

t.test('who it is cannot be said by the client where only the subject is asked for', async t => {
  const auth = await service(t)
  auth.answer = (_request, response) => allow(response, { 'x-who': 'ann' })
  const { url } = await start(t, auth.url, ', subject: X-Who')
  const answer = await fetch(url, { headers: { 'x-who': 'root', x_who: 'root', 'X.Who': 'root' } })
  const { headers } = (await answer.json()) as { headers: Record<string, string> }
  t.equal(headers['x-forwarded-user'], 'ann')
  t.notMatch(JSON.stringify(headers), 'root')
})

t.test('nothing that the service says can end a header, or belongs to its connection', async t => {
  const auth = await service(t)
  const { url } = await start(t, auth.url, ', subject: x-user')
  const raw = (head: string) => {
    auth.answer = request =>
      request.socket.end(`HTTP/1.1 200 OK\r\n${head}\r\ncontent-length: 0\r\n\r\n`, 'latin1')
  }
  const rows: [what: string, head: string, status: number, user?: string][] = [
    ['a bare line feed', 'x-user: ann\nx-forwarded-user: root', 503],
    ['a bare carriage return', 'x-user: ann\rx-forwarded-user: root', 503],
    ['a null byte', 'x-user: an\0n', 503],
    ['a folded line', 'x-user: ann\r\n root', 503],
    [
      'identity headers of the gateway',
      'x-user: ann\r\nx-forwarded-user: root\r\nx-sallyport-identity: root',
      200,
      'ann'
    ],
    ['fields of its connection', 'x-user: ann\r\nconnection: close, x-user', 200, 'ann'],
    ['a name beyond ASCII', 'x-user: J\xf6rg', 200, 'J%C3%B6rg'],
    ['a list of names', 'x-user: ann, root', 200, 'ann%2C%20root'],
    ['a very long name', `x-user: ${'a'.repeat(4000)}`, 200, 'a'.repeat(1024)]
  ]
  for (const [what, head, status, user] of rows) {
    raw(head)
    const answer = await fetch(url)
    t.equal(answer.status, status, what)
    const { headers } = (await answer.json()) as { headers: Record<string, string> }
    if (user !== undefined) t.equal(headers['x-forwarded-user'], user, what)
    if (status === 200) t.notMatch(JSON.stringify(headers), '"root"', what)
  }
})

t.test('a trusted proxy in front is believed about scheme and address', async t => {
  const auth = await service(t)
  const { url } = await start(t, auth.url, '', 'trustedProxies: [127.0.0.0/8]\n')
  await fetch(url, { headers: { 'x-forwarded-for': '203.0.113.9', 'x-forwarded-proto': 'https' } })
  t.match(auth.asked[0]?.headers, { 'x-forwarded-for': '203.0.113.9', 'x-forwarded-proto': 'https' })
})

t.test('its refusals go to the client as they are', async t => {
  const auth = await service(t)
  const { url, metric } = await start(t, auth.url)
  const ask = () => fetch(url, { redirect: 'manual' })

  auth.answer = (_request, response) =>
    response
      .writeHead(302, {
        location: 'https://login.example.com/?rd=x',
        'set-cookie': ['a=1; HttpOnly', 'b=2'],
        'x-internal': 'secret',
        'content-type': 'text/html'
      })
      .end('<a>')
  const redirect = await ask()
  t.equal(redirect.status, 302)
  t.equal(redirect.headers.get('location'), 'https://login.example.com/?rd=x')
  t.same(redirect.headers.getSetCookie(), ['a=1; HttpOnly', 'b=2'])
  t.equal(redirect.headers.get('x-internal'), null)
  t.equal(redirect.headers.get('content-type'), 'text/html')
  t.equal(await redirect.text(), '<a>')
  t.equal((await fetch(url, { method: 'HEAD', redirect: 'manual' })).status, 302)

  auth.answer = (_request, response) =>
    response.writeHead(401, { 'www-authenticate': 'Basic realm="corp"' }).end()
  const unauthorized = await ask()
  t.equal(unauthorized.status, 401)
  t.equal(unauthorized.headers.get('www-authenticate'), 'Basic realm="corp"')
  t.match(await unauthorized.json(), { reason: 'token.missing' }, 'without a body it is a problem document')
  const refused = await fetch(url, { headers: { authorization: 'Basic abc' } })
  t.match(await refused.json(), { reason: 'token.invalid' })

  auth.answer = (_request, response) => response.writeHead(403).end('x'.repeat(65_537))
  const forbidden = await ask()
  t.equal(forbidden.status, 403)
  t.match(await forbidden.json(), { reason: 'policy.denied' }, 'a body that is too long is not passed on')
  const denials =
    'sallyport_decisions_total{route="legacy",plugin="forward-auth",verdict="deny",reason="policy.denied"}'
  t.equal(await metric(denials), 1)
})

t.test('whatever is neither yes nor no lets nobody in', async t => {
  const auth = await service(t)
  const { url, lines } = await start(t, auth.url, ', timeout: 200ms, subject: x-who')
  const rows: [what: string, answer: RequestListener][] = [
    ['an error', (_q, r) => r.writeHead(500).end('canary')],
    ['not found', (_q, r) => r.writeHead(404).end()],
    ['not modified', (_q, r) => r.writeHead(304).end()],
    ['too many requests', (_q, r) => r.writeHead(429).end()],
    ['silence', () => {}],
    ['a refusal without an end', (_q, r) => void r.writeHead(401).write('never')],
    ['a closed connection', q => q.socket.destroy()],
    [
      'half a refusal',
      (_q, r) => void r.writeHead(403, { 'content-length': 9 }).write('a', () => r.destroy())
    ],
    ['no HTTP', q => q.socket.end('hello\r\n\r\n')],
    ['large headers', (_q, r) => allow(r, { 'x-who': 'ann', 'x-large': 'x'.repeat(20_000) })],
    ['no subject', (_q, r) => allow(r)],
    ['an empty subject', (_q, r) => allow(r, { 'x-who': ' ' })],
    ['two subjects', (_q, r) => allow(r, { 'x-who': ['ann', 'bob'] })]
  ]
  for (const [what, answer] of rows) {
    auth.answer = answer
    auth.asked.length = 0
    const refused = await fetch(url)
    t.equal(refused.status, 503, what)
    const text = await refused.text()
    t.match(JSON.parse(text), { reason: 'auth.unavailable', code: 'SP_AUTH_UNAVAILABLE' }, what)
    t.notMatch(text, 'canary')
    t.equal(auth.asked.length, 1, `${what}: asked once`)
  }
  auth.answer = (_request, response) => allow(response, { 'x-who': 'ann' })
  t.equal((await fetch(url)).status, 200)
  t.ok(lines.some(line => line.reason === 'auth.unavailable'))
  const ended = Promise.withResolvers<void>()
  auth.answer = (_request, response) => {
    response.on('close', ended.resolve)
    response.writeHead(200, { 'x-who': 'ann' }).write('without an end')
  }
  t.equal((await fetch(url)).status, 200)
  await ended.promise
  t.pass('a body that does not end is not waited for')

  const nobody = await start(t, 'http://127.0.0.1:9')
  t.equal((await fetch(nobody.url)).status, 503, 'nobody listens')
})

t.test('a service may prolong its session with a yes, where the route says so', async t => {
  const auth = await service(t)
  auth.answer = (_request, response) =>
    allow(response, { 'x-user': 'ann', 'set-cookie': ['a=1; HttpOnly', 'b=2'] })
  const backend = await upstream(t, (_request, response) =>
    response.setHeader('set-cookie', 'c=3').end('here')
  )
  const { url } = await buildGateway(
    t,
    `upstreams: { backend: { url: "${backend.url}" } }
routes:
  quiet: { match: { path: /quiet }, upstream: backend, plugins: [{ forward-auth: { url: "${auth.url}" } }] }
  told: { match: { path: /told }, upstream: backend, plugins: [{ forward-auth: { url: "${auth.url}", setCookies: true } }] }
`
  )
  const cookies = async (path: string) => (await fetch(url + path)).headers.getSetCookie().toSorted()
  t.same(await cookies('/quiet'), ['c=3'])
  t.same(await cookies('/told'), ['a=1; HttpOnly', 'b=2', 'c=3'])
})

t.test('without a header that says who, it is nobody in particular', async t => {
  const auth = await service(t)
  auth.answer = (_request, response) => response.writeHead(204).end()
  const { url } = await start(t, auth.url)
  const answer = (await (await fetch(url)).json()) as { headers: Record<string, string> }
  t.equal(answer.headers['x-forwarded-user'], 'anonymous')
})

t.test('a WebSocket is asked about, too', async t => {
  const auth = await service(t)
  const backend = await socketUpstream(t)
  const gateway = await buildGateway(
    t,
    `upstreams: { backend: { url: "${backend.url}" } }
routes:
  live: { match: { path: /*, protocol: websocket }, upstream: backend, plugins: [{ forward-auth: { url: "${auth.url}", headers: [x-user] } }] }
`
  )
  const open = async () => (await new RawClient(t, gateway.port).open()).status
  t.equal(await open(), 101)
  auth.answer = (_request, response) => response.writeHead(403).end('no')
  t.equal(await open(), 403)
})

t.test('a gRPC call that it refuses hears so in its own words', async t => {
  const auth = await service(t)
  const calls: Record<string, unknown>[] = []
  const backend = await rawUpstream(t, seen => {
    calls.push(seen.headers)
    succeed(seen)
  })
  const { h2c } = await grpcGateway(
    t,
    `upstreams: { calls: { url: "${backend.url}", protocol: h2c } }
routes:
  calls: { match: { protocol: grpc }, upstream: calls, plugins: [{ forward-auth: { url: "${auth.url}", headers: [x-user] } }] }
`
  )
  const session = openSession(t, h2c)
  const status = async () => statusOf(await call(session, '/shop.Orders/Get', { 'x-user': 'root' }))
  t.equal(await status(), 0)
  t.match(calls, [{ 'x-user': 'ann', 'x-forwarded-user': 'ann' }])
  t.match(auth.asked[0]?.headers, { 'x-forwarded-uri': '/shop.Orders/Get', 'x-forwarded-method': 'POST' })
  for (const [code, expected] of [
    [401, 16],
    [302, 16],
    [403, 7],
    [500, 14]
  ] as const) {
    auth.answer = (_request, response) => response.writeHead(code, { location: '/x' }).end('no')
    t.equal(await status(), expected, String(code))
  }
})

t.test('options that cannot work are refused where they are written', async t => {
  const options = {
    style: 'forward-auth' as const,
    timeout: 1,
    sends: [] as string[],
    headers: [] as string[],
    setCookies: false
  }
  const check = (url: string, headers: string[] = []) => forwardAuth.check({ ...options, url, headers })
  for (const url of ['auth', 'ftp://auth', 'http://a:b@auth', 'http://auth/#x', 'http://au th', 'http:auth'])
    t.match(check(url), [{ path: ['url'] }], url)
  for (const name of [
    'X-Forwarded-User',
    'x_forwarded_for',
    'host',
    'Connection',
    'content-length',
    'x-request-id'
  ])
    t.match(check('http://auth', ['x-user', name]), [{ path: ['headers', 1] }], name)
  t.match(forwardAuth.check({ ...options, url: 'http://auth', sends: ['X-Forwarded-For'] }), [
    { path: ['sends', 0] }
  ])
  t.match(forwardAuth.check({ ...options, url: 'http://auth/?a', style: 'ext-authz' }), [{ path: ['url'] }])
  t.same(check('http://auth.corp.svc/check?x=1', ['x-user', 'authorization']), [])
})
