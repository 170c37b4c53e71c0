import t from 'tap'
import { echoUpstream } from '../fixtures/echo.ts'
import { localIssuer } from '../fixtures/issuer.ts'
import { plugin, pluginsFolder } from '../fixtures/proxying.ts'
import { rawClient } from '../fixtures/raw.ts'
import { buildGateway } from '../helper.ts'

/** What an operator must be able to rely on while somebody attacks. */

const admin = ['/livez', '/readyz', '/metrics', '/routes', '/config', '/health', '/healthz', '/-/metrics']

t.test(
  'nothing of the admin listener is on the public port, and nothing is proxied by the admin listener',
  async t => {
    const echo = await echoUpstream(t)
    const yaml = `upstreams: { echo: { url: ${echo.url} } }
routes: { open: { match: { path: /open/* }, public: true, upstream: echo } }
`
    const { url, admin: adminUrl } = await buildGateway(t, yaml)
    for (const path of admin) t.equal((await fetch(url + path)).status, 404, path)
    t.equal((await fetch(`${adminUrl}/open/x`)).status, 404)
    for (const method of ['POST', 'PUT', 'DELETE']) {
      t.ok((await fetch(`${adminUrl}/config`, { method })).status >= 400, method)
    }
    t.strictSame(echo.requests, [])
  }
)

t.test('no secret gets into a log line, a metric, an error or the admin pages', async t => {
  const canary = 'CANARY-3f9a'
  const echo = await echoUpstream(t)
  const issuer = await localIssuer(t)
  const folder = await pluginsFolder(t, {
    'boom.mjs': plugin(
      'limit',
      `route.addHook('onRequest', async request => {
        if (!request.url.includes('boom')) return
        throw Object.assign(new Error('failed'), {
          config: { headers: request.headers }, request: request.raw, token: request.headers.authorization
        })
      })`
    )
  })
  const {
    port,
    admin: adminUrl,
    lines
  } = await buildGateway(
    t,
    `issuers:
  corp:
    issuer: "${issuer.url}"
    audience: [orders-api]
    algorithms: [ES256]
upstreams: { echo: { url: ${echo.url} } }
plugins: [access-log, metrics]
routes:
  open:
    match: { path: /open/* }
    public: true
    upstream: echo
    plugins: [boom, { headers: { request: { set: { x-api-key: ${canary} } } } }]
  closed:
    match: { path: /closed/* }
    upstream: echo
    plugins: [{ jwt: { issuer: corp } }]
`,
    { plugins: folder }
  )
  const secret = `Authorization: Bearer ${canary}\r\nCookie: a=${canary}\r\nX-Api-Key: ${canary}\r\nProxy-Authorization: ${canary}\r\n`
  const requests = [
    `GET /open/a?token=${canary} HTTP/1.1\r\nHost: a\r\n${secret}\r\n`,
    `GET /open/boom?token=${canary} HTTP/1.1\r\nHost: a\r\n${secret}\r\n`,
    `GET /closed/a?token=${canary} HTTP/1.1\r\nHost: a\r\n${secret}\r\n`,
    `GET /none?token=${canary} HTTP/1.1\r\nHost: a\r\n${secret}\r\n`,
    `GET /open/../a?token=${canary} HTTP/1.1\r\nHost: a\r\n${secret}\r\n`,
    `GET /open/a?${canary} HTTP/1.1\r\nHost: a\r\n${secret}Bad Header: ${canary}\r\n\r\n`,
    `GET /open/a?${canary} HTTP/1.1\r\nHost: a\r\n${secret}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n`,
    `POST /open/a?${canary} HTTP/1.1\r\nHost: a\r\n${secret}Transfer-Encoding: chunked\r\n\r\nzz${canary}\r\n`
  ]
  for (const request of requests) {
    const client = rawClient(t, port)
    client.send(request)
    const { status, body } = await client.next()
    if (status !== 200) t.notMatch(body, canary)
    client.destroy()
  }
  for (const page of ['/metrics', '/config', '/routes']) {
    t.notMatch(await (await fetch(adminUrl + page)).text(), canary, page)
  }
  t.ok(lines.length >= requests.length - 1)
  for (const line of lines) t.notMatch(JSON.stringify(line), canary)
})

t.test('a log line is one JSON object, whatever a request holds', async t => {
  const echo = await echoUpstream(t)
  const yaml = `upstreams: { echo: { url: ${echo.url} } }
plugins: [access-log]
routes: { open: { match: { path: /* }, public: true, upstream: echo } }
`
  // The helper parses each line as it is written: one that is not JSON would throw.
  const { port, lines } = await buildGateway(t, yaml)
  const agents = [
    '"}\\n{"level":"fatal"',
    '\x80\xff\u00e9',
    '\\u0000',
    'a'.repeat(8000),
    '\t"\t',
    '%0a%0d',
    '$(jndi:x)'
  ]
  for (const agent of agents) {
    const client = rawClient(t, port)
    client.send(`GET /a'"$%22%0A HTTP/1.1\r\nHost: a\r\nUser-Agent: ${agent}\r\n\r\n`)
    await client.next()
    client.send(`GET /a'$&(%22) HTTP/1.1\r\nHost: a\r\nUser-Agent: ${agent}\r\n\r\n`)
    client.destroy()
    const other = rawClient(t, port)
    other.send(`GET /a'$&(%22) HTTP/1.1\r\nHost: a\r\nUser-Agent: ${agent}\r\n\r\n`)
    t.equal((await other.next()).status, 200)
    other.destroy()
  }
  for (const { userAgent } of lines) if (userAgent !== undefined) t.ok((userAgent as string).length <= 256)
})
