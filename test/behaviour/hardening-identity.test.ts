import t, { type Test } from 'tap'
import { type Echo, echoUpstream } from '../fixtures/echo.ts'
import { type Frame, rawClient } from '../fixtures/raw.ts'
import { buildGateway, type RunningGateway } from '../helper.ts'

/** What a client says about who it is and where it comes from, against the whole gateway: the oracle is the raw upstream. */

async function gateway(t: Test, route: string, top = ''): Promise<RunningGateway & { echo: Echo }> {
  const echo = await echoUpstream(t)
  const running = await buildGateway(
    t,
    `${top}
upstreams: { echo: { url: ${echo.url} } }
plugins: [access-log]
routes:
  all:
    match: { path: /* }
    public: true
    upstream: echo
    ${route}
`
  )
  return { ...running, echo }
}

async function send(t: Test, port: number, head: string): Promise<Frame> {
  const client = rawClient(t, port)
  client.send(`GET /orders HTTP/1.1\r\nHost: api.example.com\r\n${head}\r\n`)
  const frame = await client.next()
  client.destroy()
  return frame
}

const smuggled = [
  'X-Forwarded-User',
  'x-forwarded-email',
  'X-FORWARDED-GROUPS',
  'X.Forwarded.User',
  'x-forwarded.user',
  'X~Forwarded~User',
  "X'Forwarded'User",
  'X!Forwarded-User',
  'X-Forwarded-Prefix',
  'X-Forwarded-Client-Cert',
  'X-Sallyport-Identity',
  'X.Sallyport.Identity',
  'X-Sallyport-Anything',
  'Forwarded',
  'X-Real-IP',
  'X.Real.IP',
  'X-Original-URL',
  'X-Rewrite-URL',
  'X-HTTP-Method-Override',
  'X-HTTP-Method',
  'X-Method-Override',
  'X.HTTP.Method.Override',
  'Proxy-Authorization',
  'Proxy-Connection',
  'Keep-Alive',
  'TE',
  'Trailer'
]

t.test('headers that are ours or belong to the connection are dropped in every spelling', async t => {
  const { port, echo } = await gateway(t, '')
  for (const name of smuggled) {
    const { status } = await send(t, port, `${name}: smuggled\r\n`)
    t.equal(status, 200, name)
    t.notMatch(echo.requests.at(-1)!.head, /smuggled/, name)
  }
})

t.test('underscores: refused, and where a route takes them still no way to our names', async t => {
  const strict = await gateway(t, '')
  t.equal((await send(t, strict.port, 'X_Tenant: smuggled\r\n')).status, 400)
  const lax = await gateway(t, 'allowUnderscores: true')
  t.equal((await send(t, lax.port, 'X_Tenant: mine\r\n')).status, 200)
  t.match(lax.echo.requests.at(-1)!.head, /x_tenant: mine/i)
  for (const name of smuggled.filter(one => /[-.]/.test(one))) {
    const spelled = name.replaceAll(/[-.]/g, '_')
    const { status } = await send(t, lax.port, `${spelled}: smuggled\r\n`)
    t.ok(status === 400 || status === 200, `${spelled}: ${status}`)
    t.notMatch(lax.echo.requests.at(-1)!.head, /smuggled/, spelled)
  }
})

t.test('X-Forwarded-* are built here, exactly once each', async t => {
  const { port, echo } = await gateway(t, '')
  await send(t, port, 'X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: 5.6.7.8\r\nX-Forwarded-Host: evil\r\n')
  const { headers } = echo.requests.at(-1)!
  const ours = headers.filter(([name]) => /^(x-forwarded|x-request-id|traceparent|forwarded)/i.test(name))
  t.strictSame(
    ours.filter(([name]) => name.startsWith('x-forwarded')),
    [
      ['x-forwarded-for', '127.0.0.1'],
      ['x-forwarded-host', 'api.example.com'],
      ['x-forwarded-proto', 'http'],
      ['x-forwarded-port', String(port)]
    ]
  )
})

const ids = ['a'.repeat(129), 'a b', '"}{', '../../x', 'é', '\x7f', 'a,b', '']

t.test('request ids and traces of strangers are taken only in the right shape', async t => {
  const { port, echo, lines } = await gateway(t, 'plugins: [{ request-id: { accept: true, respond: true } }]')
  for (const id of ids) {
    const answer = await send(
      t,
      port,
      `X-Request-Id: ${id}\r\nTraceparent: 00-${id}-1-01\r\ntracestate: a=b\r\n`
    )
    if (answer.status === 400) continue
    t.match(answer.headers['x-request-id']!, /^[0-9a-f-]{36}$/, JSON.stringify(id))
    const { head } = echo.requests.at(-1)!
    t.match(head, /\r\nx-request-id: [0-9a-f-]{36}\r\ntraceparent: 00-[0-9a-f]{32}-[0-9a-f]{16}-0[0-3]\r\n/)
    t.notMatch(head, /tracestate/, 'the state of a trace that is not continued goes with it')
  }
  await send(t, port, `X-Request-Id: mine\r\nTraceparent: 00-${'a'.repeat(32)}-${'b'.repeat(16)}-01\r\n`)
  t.match(echo.requests.at(-1)!.head, new RegExp(`x-request-id: mine\r\ntraceparent: 00-${'a'.repeat(32)}-`))
  t.ok(lines.filter(line => line.msg === 'request').every(line => typeof line.requestId === 'string'))
})

/** X-Forwarded-For as it comes, and the address that is the client's where the peer is trusted. */
const chains: [string, string][] = [
  ['X-Forwarded-For: 203.0.113.9\r\n', '203.0.113.9'],
  ['X-Forwarded-For: 1.1.1.1, 203.0.113.9\r\n', '203.0.113.9'],
  ['X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 203.0.113.9\r\n', '203.0.113.9'],
  ['X-Forwarded-For: 203.0.113.9, 127.0.0.1\r\n', '203.0.113.9'],
  ['X-Forwarded-For: 203.0.113.9:4711\r\n', '203.0.113.9'],
  ['X-Forwarded-For: ::ffff:203.0.113.9\r\n', '203.0.113.9'],
  ['X-Forwarded-For: ::ffff:cb00:7109\r\n', '203.0.113.9'],
  ['X-Forwarded-For: 2001:DB8:0:0::9\r\n', '2001:db8::9'],
  ['X-Forwarded-For: [2001:db8::9]:4711\r\n', '2001:db8::9'],
  ['X-Forwarded-For: unknown\r\n', '127.0.0.1'],
  ['X-Forwarded-For: _hidden\r\n', '127.0.0.1'],
  ['X-Forwarded-For: 999.1.1.1\r\n', '127.0.0.1'],
  ['X-Forwarded-For: 10.1\r\n', '127.0.0.1'],
  ['X-Forwarded-For: \r\n', '127.0.0.1'],
  ['X-Forwarded-For: ,,,\r\n', '127.0.0.1'],
  ['X-Forwarded-For: "}\\\r\n', '127.0.0.1'],
  [`X-Forwarded-For: ${'9'.repeat(8000)}\r\n`, '127.0.0.1'],
  ['X-Real-IP: 203.0.113.9\r\nForwarded: for=203.0.113.9\r\n', '127.0.0.1']
]

t.test('the client address is what a trusted proxy vouches for, and never garbage', async t => {
  const { port, lines } = await gateway(t, '', 'trustedProxies: [127.0.0.0/8]')
  for (const [head, expected] of chains) {
    lines.length = 0
    t.equal((await send(t, port, head)).status, 200)
    t.equal(lines.find(line => line.msg === 'request')?.clientIp, expected, JSON.stringify(head.slice(0, 60)))
  }
})

t.test('without trusted proxies no header changes the client address', async t => {
  const { port, lines } = await gateway(t, '')
  for (const [head] of chains) await send(t, port, head)
  for (const line of lines.filter(one => one.msg === 'request')) t.equal(line.clientIp, '127.0.0.1')
})

t.test('a limit by address is not evaded by what a header says', async t => {
  const limit = 'plugins: [{ rate-limit: { limit: 2, window: 1h, by: client.ip } }]'
  for (const top of ['', 'trustedProxies: [127.0.0.0/8]']) {
    const { port } = await gateway(t, limit, top)
    const claims = top === '' ? ['1.1.1.1', '2.2.2.2', '3.3.3.3'] : ['unknown', '1.1.1.1.1', '127.0.0.1:1']
    const statuses: number[] = []
    for (const claim of claims) statuses.push((await send(t, port, `X-Forwarded-For: ${claim}\r\n`)).status)
    t.strictSame(statuses, [200, 200, 429])
  }
})

t.test('one IPv6 network is one client, and a port or a spelling makes no other', async t => {
  const limit = 'plugins: [{ rate-limit: { limit: 1, window: 1h, by: client.ip } }]'
  const { port } = await gateway(t, limit, 'trustedProxies: [127.0.0.0/8]')
  const same = ['2001:db8::1', '2001:DB8:0::2', '[2001:db8::3]:99', '2001:db8:0:0:ffff::1']
  const statuses: number[] = []
  for (const claim of same) statuses.push((await send(t, port, `X-Forwarded-For: ${claim}\r\n`)).status)
  t.strictSame(statuses, [200, 429, 429, 429])
  const mapped: number[] = []
  for (const claim of ['192.0.2.1', '::ffff:192.0.2.1', '::ffff:c000:201', '192.0.2.1:5']) {
    mapped.push((await send(t, port, `X-Forwarded-For: ${claim}\r\n`)).status)
  }
  t.strictSame(mapped, [200, 429, 429, 429])
})

t.test('what Connection takes away is not there for the policy either', async t => {
  const { port, echo } = await gateway(
    t,
    `plugins: [{ authorize: { allow: '"x-tenant" in request.headers && request.headers["x-tenant"] == "a"' } }]`
  )
  t.equal((await send(t, port, 'X-Tenant: a\r\n')).status, 200)
  t.match(echo.requests.at(-1)!.head, /x-tenant: a/i)
  const answer = await send(t, port, 'X-Tenant: a\r\nConnection: keep-alive, X-Tenant\r\n')
  t.equal(answer.status, 403)
})
