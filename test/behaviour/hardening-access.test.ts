import t, { type Test } from 'tap'
import { type Echo, echoUpstream } from '../fixtures/echo.ts'
import { goodClaims, type LocalIssuer, localIssuer, makeKey, signTexts } from '../fixtures/issuer.ts'
import { type Frame, rawClient } from '../fixtures/raw.ts'
import { buildGateway, type RunningGateway } from '../helper.ts'

/** Tokens, authorization and limits against the whole gateway: what is refused never reaches the upstream. */

interface Guarded extends RunningGateway {
  echo: Echo
  issuer: LocalIssuer
  send(request: string): Promise<Frame>
}

async function guarded(t: Test, plugins: string, more = ''): Promise<Guarded> {
  const echo = await echoUpstream(t)
  const issuer = await localIssuer(t)
  issuer.keys = [makeKey('ES256', 'ec'), makeKey('RS256', 'rsa')]
  const running = await buildGateway(
    t,
    `issuers:
  corp: { issuer: "${issuer.url}", audience: [orders-api], algorithms: [RS256, ES256] }
upstreams: { echo: { url: ${echo.url} } }
plugins: [access-log]
routes:
  orders:
    match: { hosts: [api.example.com], path: /orders/*, methods: [GET, POST] }
    upstream: echo
    plugins: [${plugins}]
${more}`
  )
  async function send(request: string): Promise<Frame> {
    const client = rawClient(t, running.port, () => request.startsWith('HEAD'))
    client.send(request)
    const frame = await client.next()
    client.destroy()
    return frame
  }
  return { ...running, echo, issuer, send }
}

function get(headers: string, line = 'GET /orders/7'): string {
  return `${line} HTTP/1.1\r\nHost: api.example.com\r\n${headers}\r\n`
}

t.test('a token elsewhere is none, and none that the connection takes away', async t => {
  const { issuer, send, echo } = await guarded(t, '{ jwt: { issuer: corp } }')
  const token = await issuer.sign()
  await send(get(`Authorization: Bearer ${token}\r\n`))
  echo.requests.length = 0
  const rows: [string, number][] = [
    [get(`Authorization: Bearer ${token}\r\nConnection: authorization\r\n`), 400],
    [get(`X-Authorization: Bearer ${token}\r\nCookie: access_token=${token}\r\n`), 401],
    [get('', `GET /orders/7?access_token=${token}`), 401]
  ]
  for (const [request, status] of rows) t.equal((await send(request)).status, status, request.slice(0, 90))
  t.strictSame(echo.requests, [])
})

const policy =
  '{ jwt: { issuer: corp } }, { authorize: { allow: \'request.method == "GET" && identity.claims.tier == "gold"\' } }'

t.test(
  'a claim counts where it is signed: not in a prototype, not in a constructor, not by a method override',
  async t => {
    const { issuer, send } = await guarded(t, policy)
    const bearer = async (claims: Record<string, unknown>) =>
      `Authorization: Bearer ${await issuer.sign(claims)}\r\n`
    const gold = await bearer({ tier: 'gold' })
    t.equal((await send(get(gold))).status, 200)
    const text = JSON.stringify(goodClaims(issuer)).replace('{', '{"__proto__":{"tier":"gold"},')
    const token = signTexts(JSON.stringify({ alg: 'ES256', kid: 'ec' }), text, issuer.keys[0]!)
    t.equal((await send(get(`Authorization: Bearer ${token}\r\n`))).status, 403)
    t.equal((await send(get(await bearer({ constructor: { tier: 'gold' } })))).status, 403)
    t.equal((await send(get(await bearer({ tier: ['gold'] })))).status, 403)
    const overridden = `${gold}X-HTTP-Method-Override: GET\r\nContent-Length: 0\r\n`
    t.equal((await send(get(overridden, 'POST /orders/7'))).status, 403)
    t.equal((await send(get(overridden, 'POST /orders/7?_method=GET'))).status, 403)
  }
)

t.test('HEAD follows GET: same route, same check, same count', async t => {
  const plugins = '{ jwt: { issuer: corp } }, { rate-limit: { limit: 2, window: 1h, by: identity.subject } }'
  const { issuer, send } = await guarded(t, plugins)
  t.equal((await send(get('', 'HEAD /orders/7'))).status, 401)
  const bearer = `Authorization: Bearer ${await issuer.sign()}\r\n`
  t.equal((await send(get(bearer, 'HEAD /orders/7'))).status, 200)
  t.equal((await send(get(bearer))).status, 200)
  const refused = await send(get(bearer, 'HEAD /orders/7'))
  t.equal(refused.status, 429)
  t.equal(refused.body, '')
})

t.test('only a true preflight skips authentication, and it is answered here', async t => {
  const cors =
    '{ cors: { origins: [https://shop.example.com], credentials: true } }, { jwt: { issuer: corp } }'
  const { send, echo } = await guarded(
    t,
    cors,
    `  writes:
    match: { hosts: [api.example.com], path: /orders/*, methods: [DELETE] }
    upstream: echo
    plugins: [{ jwt: { issuer: corp } }]
  any:
    match: { hosts: [api.example.com], path: /any/* }
    upstream: echo
    plugins: [${cors}]
`
  )
  const origin = 'Origin: https://shop.example.com\r\n'
  const asks = (method: string) => `Access-Control-Request-Method: ${method}\r\n`
  const rows: [head: string, line: string, status: number[]][] = [
    [origin + asks('GET'), 'OPTIONS /orders/7', [204]],
    [`${origin}${asks('GET')}X-Anything: 1\r\nAuthorization: Bearer x\r\n`, 'OPTIONS /orders/7', [204]],
    [`Origin: https://evil.example.com\r\n${asks('GET')}`, 'OPTIONS /orders/7', [403]],
    [`Origin: null\r\n${asks('GET')}`, 'OPTIONS /orders/7', [403]],
    [`Origin: \r\n${asks('GET')}`, 'OPTIONS /orders/7', [400, 403]],
    [origin + asks(''), 'OPTIONS /any/7', [204, 400]],
    [origin + asks('DELETE'), 'OPTIONS /orders/7', [401, 404]],
    [origin + asks('GET'), 'GET /orders/7', [401]],
    [origin + asks('GET'), 'HEAD /orders/7', [401]],
    [`${origin + asks('GET')}Content-Length: 0\r\n`, 'POST /orders/7', [401]],
    [`${origin + asks('GET')}X-HTTP-Method-Override: OPTIONS\r\n`, 'GET /orders/7', [401]],
    [origin, 'OPTIONS /any/7', [401]],
    [asks('GET'), 'OPTIONS /any/7', [401]],
    ['', 'OPTIONS /any/7', [401]]
  ]
  for (const [head, line, statuses] of rows) {
    const { status } = await send(get(head, line))
    t.ok(statuses.includes(status), `${line} ${JSON.stringify(head)}: ${status}`)
  }
  t.strictSame(echo.requests, [], 'none of them reached the upstream')
})

t.test('a flood of bad credentials is limited by address before they are checked', async t => {
  const { send } = await guarded(
    t,
    '{ jwt: { issuer: corp } }, { rate-limit: { limit: 3, window: 1h, by: client.ip } }'
  )
  const statuses: number[] = []
  for (let i = 0; i < 5; i++) statuses.push((await send(get(`Authorization: Bearer ${i}\r\n`))).status)
  t.strictSame(statuses, [401, 401, 401, 429, 429])
})

t.test('a host or a path in another spelling never reaches a more open route', async t => {
  const { send, echo } = await guarded(
    t,
    '{ jwt: { issuer: corp } }',
    `  open:
    match: { path: /* }
    public: true
    upstream: echo
    rewrite: { host: preserve }
`
  )
  const hosts = ['API.EXAMPLE.COM', 'api.example.com:80', 'api.example.com:8080', 'Api.Example.Com:1']
  for (const host of hosts) {
    const { status } = await send(`GET /orders/7 HTTP/1.1\r\nHost: ${host}\r\n\r\n`)
    t.equal(status, 401, host)
    const { status: absolute } = await send(`GET http://${host}/orders/7 HTTP/1.1\r\nHost: ${host}\r\n\r\n`)
    t.equal(absolute, 401, `http://${host}`)
  }
  for (const host of ['api.example.com.', 'api.example.com.:80', 'api.example.com..']) {
    t.equal((await send(`GET /orders/7 HTTP/1.1\r\nHost: ${host}\r\n\r\n`)).status, 400, host)
  }
  t.equal((await send(get('Host: other.example.com\r\n'))).status, 400)
  const paths = [
    '//orders/7',
    '/./orders/7',
    '/x/../orders/7',
    '/%6frders/7',
    '/orders%2f7',
    '/orders;x/7',
    '/orders\\7'
  ]
  for (const path of paths) t.equal((await send(get('', `GET ${path}`))).status, 400, path)
  t.strictSame(echo.requests, [])
})
