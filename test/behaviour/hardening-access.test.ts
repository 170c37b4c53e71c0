import { createHmac } from 'node:crypto'
import t, { type Test } from 'tap'
import { type Echo, echoUpstream } from '../fixtures/echo.ts'
import {
  base64url,
  goodClaims,
  type LocalIssuer,
  localIssuer,
  makeKey,
  signTexts
} from '../fixtures/issuer.ts'
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

t.test('a bad token is 401 with a challenge, whatever is bad about it', async t => {
  const { issuer, send, echo } = await guarded(t, 'jwt: { issuer: corp }'.replace(/^(.*)$/, '{ $1 }'))
  const good = await issuer.sign()
  t.equal((await send(get(`Authorization: Bearer ${good}\r\n`))).status, 200)
  t.match(echo.requests.at(-1)!.head, /x-forwarded-user: alice/)
  echo.requests.length = 0
  const [head = '', body = '', signature = ''] = good.split('.')
  const [ec, rsa] = issuer.keys as [(typeof issuer.keys)[0], (typeof issuer.keys)[0]]
  const pem = rsa.publicKey.export({ type: 'spki', format: 'pem' }) as string
  const hmacInput = `${base64url(JSON.stringify({ alg: 'HS256', kid: 'rsa' }))}.${body}`
  const now = Math.floor(Date.now() / 1000)
  const unsigned = (alg: string) => `${base64url(JSON.stringify({ alg, kid: 'ec' }))}.${body}.`
  const text = JSON.stringify(goodClaims(issuer))
  const header = JSON.stringify({ alg: 'ES256', kid: 'ec' })
  const tokens: Record<string, string> = {
    'no token': '',
    'alg none': unsigned('none'),
    'alg NONE with a signature': `${unsigned('NONE')}${signature}`,
    'HMAC with the public key': `${hmacInput}.${createHmac('sha256', pem).update(hmacInput).digest('base64url')}`,
    'an algorithm that is not pinned': await issuer.sign({}, {}, makeKey('ES384', 'ec')),
    'a key of its own': await issuer.sign(
      {},
      { jwk: ec.jwk, jku: 'http://127.0.0.1:1/' },
      makeKey('ES256', 'ec')
    ),
    'a kid of another key': await issuer.sign({}, { kid: 'rsa' }),
    'an unknown kid': await issuer.sign({}, { kid: '../../dev/null' }),
    'no exp': await issuer.sign({ exp: undefined }),
    'exp as a text': await issuer.sign({ exp: String(now + 60) }),
    'exp in the past': await issuer.sign({ exp: now - 60 }),
    'nbf in the future': await issuer.sign({ nbf: now + 600 }),
    'iat in the future': await issuer.sign({ iat: now + 600 }),
    'no aud': await issuer.sign({ aud: undefined }),
    'another aud': await issuer.sign({ aud: 'orders-api-2' }),
    'iss with a slash': await issuer.sign({ iss: `${issuer.url}/` }),
    'an ID token': await issuer.sign({ nonce: 'n' }, { typ: 'JWT' }),
    'a logout token': await issuer.sign({ events: {} }, { typ: 'logout+jwt' }),
    'an unknown crit': await issuer.sign({}, { crit: ['b64'], b64: true }).catch(() => unsigned('ES256')),
    'five segments': `${good}.a.b`,
    padding: `${good}=`,
    'a doubled claim': signTexts(header, text.replace('{', '{"sub":"root",'), ec),
    '__proto__ in place of claims': signTexts(header, `{"__proto__":${text}}`, ec),
    'another payload': `${head}.${base64url(text.replace('alice', 'root'))}.${signature}`,
    'over 16 KiB': await issuer.sign({ padding: 'x'.repeat(13_000) })
  }
  for (const [name, token] of Object.entries(tokens)) {
    const { status, headers } = await send(get(token === '' ? '' : `Authorization: Bearer ${token}\r\n`))
    if (token.length > 15_000) t.ok(status === 401 || status === 431, name)
    else {
      t.equal(status, 401, name)
      t.match(headers['www-authenticate']!, /^Bearer /, name)
    }
  }
  t.strictSame(echo.requests, [], 'nothing went upstream')
  t.strictSame(issuer.asked.other, [])
})

t.test('a token elsewhere, twice or in another scheme is none', async t => {
  const { issuer, send, echo } = await guarded(t, '{ jwt: { issuer: corp } }')
  const token = await issuer.sign()
  await send(get(`Authorization: Bearer ${token}\r\n`))
  echo.requests.length = 0
  const rows: [string, number][] = [
    [get(`Authorization: Bearer ${token}\r\nAuthorization: Bearer ${token}\r\n`), 400],
    [get(`Authorization: Bearer x\r\nauthorization: Bearer ${token}\r\n`), 400],
    [get(`Authorization: Bearer  ${token}\r\n`), 401],
    [get(`Authorization: Basic ${token}\r\n`), 401],
    [get(`Authorization: ${token}\r\n`), 401],
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
