import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { connect as connectHttp2 } from 'node:http2'
import { type AddressInfo, connect } from 'node:net'
import t from 'tap'
import { WebSocket, WebSocketServer } from 'ws'
import { Browser } from '../fixtures/browser.ts'
import { echoUpstream } from '../fixtures/echo.ts'
import { pluginsFolder } from '../fixtures/proxying.ts'
import { ahead, issuerYaml, personalIssuer, signInGateway } from '../fixtures/sign-in.ts'

t.test('a person who opens a page signs in and gets to that page', async t => {
  const upstream = await echoUpstream(t)
  const { url, issuer, lines, metric } = await signInGateway(t, upstream.url)
  const browser = new Browser()
  browser.cookies.set('127.0.0.1', new Map([['theme', 'dark']]))
  const page = await browser.open(`${url}/reports/2026?month=11&sort=a%20b`)
  t.equal(page.status, 200)
  t.equal(page.url, `${url}/reports/2026?month=11&sort=a%20b`, 'the deep link')
  t.equal(upstream.requests.length, 1, 'the upstream hears of nobody who is not signed in')
  const headers = Object.fromEntries(upstream.requests[0]?.headers ?? [])
  t.match(headers, {
    'x-forwarded-user': 'ada',
    'x-forwarded-email': 'ada@example.com',
    'x-forwarded-groups': 'admins'
  })
  const cookie = browser.cookie(url, 'sallyport') ?? ''
  t.ok(cookie.length > 40)
  t.match(String(headers.cookie), 'theme=dark', 'cookies of others go to the upstream')
  t.notOk(String(headers.cookie).includes('sallyport'), 'ours does not')
  t.equal((await browser.open(`${url}/next`)).way.length, 1, 'signed in')
  t.equal((await browser.call(`${url}/api`)).status, 200, 'a call of a script too')
  t.equal(await metric('sallyport_sign_ins_total{issuer="corp",result="success"}'), 1)
  const logged = JSON.stringify(lines)
  for (const secret of [decodeURIComponent(cookie), cookie, 'code=', 'state=', 'eyJ'])
    t.notOk(logged.includes(secret), 'in no log')
  t.equal(issuer.asked.authorization_code, 1)
})

t.test('the sign-in asks for what it should, and the cookie is for this host alone', async t => {
  const { url } = await signInGateway(t, 'http://127.0.0.1:9')
  const browser = new Browser()
  const { headers, status } = await browser.open(`${url}/a`, { until: () => true })
  t.equal(status, 302)
  t.equal(headers['cache-control'], 'no-store')
  const query = Object.fromEntries(new URL(String(headers.location)).searchParams)
  t.match(query, {
    response_type: 'code',
    redirect_uri: `${url}/oauth2/callback`,
    code_challenge_method: 'S256',
    code_challenge: /^[\w-]{43}$/,
    state: /^[\w-]{43}$/,
    nonce: /^[\w-]{43}$/,
    scope: 'openid email groups offline_access'
  })
  t.notMatch(String(headers.location), 'verifier')
  const [cookie] = [headers['set-cookie'] ?? []].flat()
  t.match(cookie, /^sallyport-sign-in-[0-9a-f]{16}=[\w-]{43}; Max-Age=600; Path=\/; HttpOnly; SameSite=Lax$/)
})

t.test('only a person who opens a page is sent away; everything else gets 401', async t => {
  const { url, metric } = await signInGateway(t, 'http://127.0.0.1:9')
  const browser = new Browser()
  const rows: [string, string, Record<string, string>, number][] = [
    ['a page', 'GET', {}, 302],
    ['a call', 'GET', { accept: 'application/json' }, 401],
    ['anything', 'GET', { accept: '*/*' }, 401],
    ['a script that asks for HTML', 'GET', { 'sec-fetch-mode': 'cors' }, 401],
    ['an image', 'GET', { 'sec-fetch-mode': 'no-cors' }, 401],
    ['a page that nobody has opened yet', 'GET', { 'sec-purpose': 'prefetch' }, 401],
    ['a HEAD', 'HEAD', {}, 401],
    ['a form of another site', 'POST', { 'sec-fetch-site': 'cross-site' }, 401],
    ['a form that does not say where it is from', 'POST', {}, 401],
    ['a DELETE', 'DELETE', { accept: 'application/json' }, 401]
  ]
  for (const [what, method, headers, status] of rows) {
    const found = await browser.open(`${url}/a`, { method, headers, until: () => true })
    t.equal(found.status, status, what)
    if (status === 401) {
      t.match(found.headers['www-authenticate'], /^Cookie /)
      if (method === 'HEAD') continue
      // A person who has sent a form reads a page.
      if (what.startsWith('a form'))
        t.match(found.body, 'href="/oauth2/sign-in?return_to=%2F&amp;issuer=corp"')
      else t.match(JSON.parse(found.body), { reason: 'token.missing', code: 'SP_TOKEN_MISSING' })
    }
  }
  const denied =
    'sallyport_decisions_total{route="console",plugin="oidc",verdict="deny",reason="token.missing"}'
  t.equal(await metric(denied), rows.length, 'each of them is a decision on record')
})

t.test('a form that is sent too late is not sent again: the person gets back to its page', async t => {
  const upstream = await echoUpstream(t)
  const { url } = await signInGateway(t, upstream.url)
  const headers = { 'sec-fetch-site': 'same-origin', referer: `${url}/orders/new?draft=1` }
  const found = await new Browser().open(`${url}/orders`, { method: 'POST', form: { amount: '5' }, headers })
  t.equal(found.url, `${url}/orders/new?draft=1`)
  t.same(
    upstream.requests.map(({ method, target }) => [method, target]),
    [['GET', '/orders/new?draft=1']]
  )
})

t.test('the session id changes at sign-in, and the old one is worth nothing', async t => {
  const upstream = await echoUpstream(t)
  const { url } = await signInGateway(t, upstream.url)
  const browser = new Browser()
  await browser.open(`${url}/a`)
  const first = browser.cookie(url, 'sallyport') as string
  await browser.open(`${url}/oauth2/sign-in?return_to=/b`)
  const second = browser.cookie(url, 'sallyport') as string
  t.not(first, second)
  const status = async (cookie: string) =>
    (await fetch(`${url}/a`, { headers: { cookie: `sallyport=${cookie}` } })).status
  t.equal(await status(second), 200)
  t.equal(await status(first), 401)
})

t.test('tabs that sign in at the same time do not disturb one another', async t => {
  const upstream = await echoUpstream(t)
  const { url } = await signInGateway(t, upstream.url)
  const browser = new Browser()
  const tabs = ['/one', '/two', '/three']
  const away = await Promise.all(
    tabs.map(path => browser.open(`${url}${path}`, { until: next => !next.startsWith(url) }))
  )
  const back: string[] = []
  for (const { headers } of away.reverse()) back.push((await browser.open(String(headers.location))).url)
  t.same(back, tabs.map(path => `${url}${path}`).reverse())
  const left = [...(browser.cookies.get('127.0.0.1') ?? [])].filter(([name]) => name.includes('sign-in'))
  t.same(left, [], 'nothing is left of them')
})

t.test('a session ends when it is not used, and at the end of its lifetime', async t => {
  const upstream = await echoUpstream(t)
  const { url } = await signInGateway(t, upstream.url, { session: ', idle: 10m, lifetime: 30m' })
  const browser = new Browser()
  await browser.open(`${url}/a`)
  for (const minutes of [9, 9, 9]) {
    ahead(t, minutes * 60)
    t.equal((await browser.call(`${url}/a`)).status, 200)
  }
  ahead(t, 4 * 60)
  t.equal((await browser.call(`${url}/a`)).status, 401, 'used all the time, and over')
  await browser.open(`${url}/a`)
  ahead(t, 11 * 60)
  t.equal((await browser.call(`${url}/a`)).status, 401, 'not used')
})

t.test(
  'routes of one host share a sign-in, and an issuer lets nobody in at the routes of another',
  async t => {
    const upstream = await echoUpstream(t)
    const other = await personalIssuer(t)
    const { url, issuer } = await signInGateway(t, upstream.url, {
      issuers: () => issuerYaml('other', other.url),
      routes: `  a: { match: { hosts: [127.0.0.1], path: /a/* }, upstream: backend, plugins: [oidc: { issuer: corp }] }
  a2: { match: { hosts: [127.0.0.1], path: /a2/* }, upstream: backend, plugins: [oidc: { issuer: corp }] }
  b: { match: { hosts: [127.0.0.1], path: /b/* }, upstream: backend, plugins: [oidc: { issuer: other }] }
`
    })
    await other.serve([url])
    other.person = 'bob'
    const browser = new Browser()
    await browser.open(`${url}/a/1`)
    t.equal((await browser.call(`${url}/a2/1`)).status, 200)
    t.equal((await browser.call(`${url}/b/1`)).status, 401)
    t.equal((await browser.open(`${url}/b/1`)).status, 200, 'a new sign-in, at the other one')
    t.equal((await browser.call(`${url}/a/1`)).status, 401)
    const users = upstream.requests.map(({ headers }) => Object.fromEntries(headers)['x-forwarded-user'])
    t.same(users, ['ada', 'ada', 'bob'])
    t.match([issuer.asked.authorization_code, other.asked.authorization_code], [1, 1])
  }
)

t.test('a policy decides by what the issuer says of a person', async t => {
  const upstream = await echoUpstream(t)
  const { url, issuer } = await signInGateway(t, upstream.url, {
    routes: `  console:
    match: { hosts: [127.0.0.1], path: /* }
    upstream: backend
    plugins: [oidc: { issuer: corp }, authorize: { allow: '"admins" in identity.groups && identity.kind == "session"' }]
`
  })
  t.equal((await new Browser().open(`${url}/a`)).status, 200)
  issuer.person = 'bob'
  t.equal((await new Browser().open(`${url}/a`)).status, 403)
})

t.test('people and programs share a route: a key decides where there is one', async t => {
  const upstream = await echoUpstream(t)
  const plugins = await pluginsFolder(t, {
    'key.mjs': `export default {
      phase: 'authenticate', schema: { type: 'object', properties: {}, additionalProperties: false },
      carries: () => request => request.headers['x-key'] !== undefined,
      challenge: 'Key realm="shop"',
      register: route => route.addHook('onRequest', async () => route.gateway.deny('token.invalid'))
    }`
  })
  const { url } = await signInGateway(t, upstream.url, {
    routes: `  console:
    match: { hosts: [127.0.0.1], path: /* }
    upstream: backend
    plugins: [any: [key, oidc: { issuer: corp }]]
`,
    options: { plugins }
  })
  const browser = new Browser()
  t.equal((await browser.open(`${url}/a`)).status, 200, 'a person is invited')
  t.equal((await browser.call(`${url}/a`)).status, 200)
  const nothing = await new Browser().call(`${url}/a`)
  t.equal(nothing.status, 401)
  t.match(
    nothing.headers.get('www-authenticate'),
    /^Key realm="shop", Cookie realm="sallyport"/,
    'a program hears of both'
  )
  t.match(await nothing.json(), { reason: 'token.missing' })
  const bad = await browser.call(`${url}/a`, { 'x-key': 'nonsense' })
  t.equal(bad.status, 401, 'a bad key does not fall through to the session')
  t.match(await bad.json(), { reason: 'token.invalid' })
})

t.test('an issuer that is down stops no start, and a person is told so', async t => {
  const upstream = await echoUpstream(t)
  const { url, issuer, metric } = await signInGateway(t, upstream.url)
  issuer.up = false
  const browser = new Browser()
  const page = await browser.open(`${url}/a?b=c`)
  t.equal(page.status, 503)
  t.match(page.headers['content-type'], 'text/html')
  t.match(
    page.headers['content-security-policy'],
    /^default-src 'none'; style-src 'nonce-[\w-]{22}'; form-action 'none'/
  )
  t.match(page.body, String(page.headers['x-request-id']), 'with a number to ask about')
  t.match(page.body, 'href="/a?b=c"', 'and a way to try again')
  t.notMatch(page.body, '<script')
  t.notMatch(page.body, '127.0.0.1')
  t.equal((await browser.call(`${url}/a`)).status, 401)
  issuer.up = true
  ahead(t, 31)
  t.equal((await browser.open(`${url}/a`)).status, 200, 'it is asked again after a while')
  const denied =
    'sallyport_decisions_total{route="console",plugin="oidc",verdict="deny",reason="session.unavailable"}'
  t.equal(await metric(denied), 1)
})

t.test('a person who is refused by the issuer reads words of ours', async t => {
  const { url, issuer, lines } = await signInGateway(t, 'http://127.0.0.1:9')
  issuer.person = null
  const page = await new Browser().open(`${url}/a`)
  t.equal(page.status, 400)
  t.match(page.body, 'The sign-in could not be completed')
  t.match(page.body, String(page.headers['x-request-id']))
  t.notMatch(page.body, 'text of the provider')
  t.ok(lines.some(({ msg, reason }) => msg === 'request' && reason === 'session.sign_in'))
})

t.test('a WebSocket of a page of this host is let in by its session, one of another site is not', async t => {
  const service = new WebSocketServer({ port: 0, host: '127.0.0.1' })
  await once(service, 'listening')
  t.teardown(() => service.close())
  const users: unknown[] = []
  service.on('connection', (socket, { headers }) => {
    users.push(headers['x-forwarded-user'], headers.cookie)
    socket.close()
  })
  const { port } = service.address() as AddressInfo
  const pages = await echoUpstream(t)
  const { url } = await signInGateway(t, pages.url, {
    upstreams: `\n  live: { url: "http://127.0.0.1:${port}" }`,
    routes: `  pages: { match: { hosts: [127.0.0.1], path: /* }, upstream: backend, plugins: [oidc: { issuer: corp }] }
  live: { match: { hosts: [127.0.0.1], path: /live, protocol: websocket }, upstream: live, plugins: [oidc: { issuer: corp }] }
`
  })
  const browser = new Browser()
  await browser.open(`${url}/a`)
  const cookie = `sallyport=${browser.cookie(url, 'sallyport')}`
  const rows: [string, Record<string, string>, string | undefined, number][] = [
    ['of this host', { cookie }, url, 101],
    ['of a program, which has no origin', { cookie }, undefined, 101],
    ['of another site', { cookie }, 'https://evil.example', 403],
    ['of a page without an origin', { cookie }, 'null', 403],
    ['of a host that begins like ours', { cookie }, `${url}.evil.example`.replace(/:\d+/, ''), 403],
    ['without a session', {}, url, 401]
  ]
  for (const [what, headers, origin, status] of rows) {
    const found = await new Promise<number | undefined>(resolve => {
      const socket = new WebSocket(`${url.replace('http', 'ws')}/live`, {
        headers,
        ...(origin && { origin })
      })
      socket.on('close', () => resolve(101))
      socket.on('unexpected-response', (_request, response) => resolve(response.statusCode))
    })
    t.equal(found, status, what)
  }
  t.same(users, ['ada', undefined, 'ada', undefined])
})

t.test('a name that the configuration does not know is sent to the one that it does', async t => {
  const { port, issuer } = await signInGateway(t, 'http://127.0.0.1:9', {
    routes: `  console: { match: { path: /* }, upstream: backend, plugins: [oidc: { issuer: corp }] }
`
  })
  const answer = await new Promise<string>(resolve => {
    const socket = connect(port, '127.0.0.1')
    socket.end('GET /a?b HTTP/1.1\r\nhost: evil.example\r\naccept: text/html\r\n\r\n')
    let text = ''
    socket.on('data', chunk => {
      text += chunk
    })
    socket.on('end', () => resolve(text))
  })
  t.match(answer, /^HTTP\/1.1 302 /)
  t.match(answer, /^location: http:\/\/127\.0\.0\.1\/a\?b\r$/m)
  t.notMatch(answer, 'set-cookie')
  t.equal(issuer.asked.auth, undefined)
})

t.test('behind a proxy that ends TLS the cookie is one for TLS', async t => {
  const upstream = await echoUpstream(t)
  const host = 'console.example.com'
  const { url } = await signInGateway(t, upstream.url, {
    externalUrl: `https://${host}`,
    routes: `  console: { match: { hosts: [${host}], path: /* }, upstream: backend, plugins: [oidc: { issuer: corp }] }
`
  })
  const browser = new Browser()
  const away = await browser.open(`${url}/a`, { headers: { host }, until: () => true })
  t.match(
    away.headers['set-cookie'],
    /^__Host-sallyport-sign-in-[0-9a-f]{16}=.*; HttpOnly; Secure; SameSite=Lax$/
  )
  const back = await browser.open(String(away.headers.location), {
    until: next => next.startsWith(`https://${host}/`)
  })
  const { pathname, search } = new URL(String(back.headers.location))
  const done = await browser.open(`${url}${pathname}${search}`, { headers: { host }, until: () => true })
  t.match([done.status, done.headers.location], [303, '/a'])
  const cookies = [done.headers['set-cookie'] ?? []].flat()
  t.match(cookies, [
    /^__Host-sallyport-sign-in-.*Max-Age=0;/,
    /^__Host-sallyport=[^;]+; Path=\/; HttpOnly; Secure; SameSite=Lax$/
  ])
  t.equal((await browser.open(`${url}/a`, { headers: { host } })).status, 200)
  const sent = Object.fromEntries(upstream.requests[0]?.headers ?? [])
  t.notMatch(String(sent.cookie), 'sallyport')
})

t.test('HTTP/2 carries sign-in and sessions as HTTP/1.1 does', async t => {
  const upstream = await echoUpstream(t)
  const { url, gateway } = await signInGateway(t, upstream.url, {
    listeners: `listeners:
  http: { host: 127.0.0.1, port: 0 }
  h2c: { host: 127.0.0.1, port: 0 }
  admin: { host: 127.0.0.1, port: 0 }
`
  })
  const browser = new Browser()
  await browser.open(`${url}/a`)
  const session = connectHttp2(String(gateway.addresses.h2c))
  t.teardown(() => session.close())
  async function ask(headers: Record<string, string | string[]>) {
    const stream = session.request({ ':path': '/b', accept: 'text/html', ...headers })
    const [answer] = await once(stream, 'response')
    stream.resume()
    await once(stream, 'close')
    return answer
  }
  const away = await ask({})
  t.equal(away[':status'], 302)
  t.match(away.location, '/auth?')
  const own = `sallyport=${browser.cookie(url, 'sallyport')}`
  t.equal((await ask({ cookie: own }))[':status'], 200)
  t.equal(
    (await ask({ cookie: ['a=b', own] }))[':status'],
    200,
    'in fields of their own, as browsers send them'
  )
  t.equal((await ask({ cookie: [own, own] }))[':status'], 400)
  const sent = upstream.requests.slice(1).map(({ headers }) => Object.fromEntries(headers).cookie)
  t.same(sent, [undefined, 'a=b'])
})

t.test('a reload ends no session, unless the secret is another one', async t => {
  const upstream = await echoUpstream(t)
  const env: Record<string, string> = {
    CLIENT_SECRET: 'a-secret-of-the-client',
    SESSION_SECRET: 'x'.repeat(40)
  }
  const { url, gateway, config, issuer } = await signInGateway(t, upstream.url, { options: { env } })
  const browser = new Browser()
  await browser.open(`${url}/a`)
  const asked = issuer.asked['openid-configuration']
  async function reload(change: (yaml: string) => string): Promise<void> {
    await writeFile(config, change(await readFile(config, 'utf8')))
    await gateway.reload()
  }
  await reload(yaml => yaml.replace('path: /*', 'path: /a'))
  t.equal((await browser.call(`${url}/a`)).status, 200)
  t.equal((await browser.call(`${url}/b`)).status, 404, 'the new configuration is in force')
  t.equal(issuer.asked['openid-configuration'], asked, 'and the issuer was not asked again')
  env.SESSION_SECRET = 'y'.repeat(40)
  await reload(yaml => yaml.replace('path: /a', 'path: /b'))
  t.equal((await browser.call(`${url}/b`)).status, 401)
})
