import { generateKeyPairSync } from 'node:crypto'
import t, { type Test } from 'tap'
import { Browser } from '../fixtures/browser.ts'
import { echoUpstream } from '../fixtures/echo.ts'
import { env, signInGateway } from '../fixtures/sign-in.ts'

const routes = `  console:
    match: { hosts: [127.0.0.1], path: /app/*, methods: [GET] }
    upstream: backend
    plugins: [oidc: { issuer: corp }]
  admin:
    match: { hosts: [127.0.0.1], path: /admin/* }
    upstream: backend
    plugins: [oidc: { issuer: corp }, authorize: { groups: [nobody] }]
  open: { match: { path: /open/* }, public: true, upstream: backend }
  pay:
    match: { path: /pay }
    public: true
    upstream: backend
    plugins: [authorize: { body: {}, allow: '!has(request.body) || request.body.amount < 1000' }]
`

async function asking(t: Test, trusted = '127.0.0.0/8') {
  const upstream = await echoUpstream(t)
  const { url, ...rest } = await signInGateway(t, upstream.url, { routes, trustedProxies: [trusted] })
  const browser = new Browser()
  await browser.open(`${url}/app/a`)
  const before = upstream.requests.length
  const { host } = new URL(url)
  return {
    url,
    host,
    ...rest,
    browser,
    toUpstream: () => upstream.requests.length - before,
    /** What the other proxy asks, with the headers of its client. */
    ask: (uri: string, method = 'GET', headers: Record<string, string> = {}) =>
      browser.call(`${url}/oauth2/auth`, {
        'x-forwarded-method': method,
        'x-forwarded-host': host,
        'x-forwarded-uri': uri,
        ...headers
      })
  }
}

t.test('another proxy hears whether it may let a request through, and who it is from', async t => {
  const { ask, toUpstream, metric, browser } = await asking(t)
  const yes = await ask('/app/a?b=c')
  t.equal(yes.status, 202)
  t.equal(yes.headers.get('x-forwarded-user'), 'ada')
  t.equal(yes.headers.get('x-forwarded-email'), 'ada@example.com')
  t.equal(yes.headers.get('x-forwarded-groups'), 'admins')
  t.equal(yes.headers.get('cache-control'), 'no-store')
  t.equal((await ask('/app/a', 'HEAD')).status, 202, 'HEAD follows GET')
  t.equal((await ask('/admin/a')).status, 403, 'the policy says no')
  t.equal((await ask('/open/a')).status, 202)
  t.equal((await ask('/app/a', 'POST')).status, 404, 'the route does not take it')
  t.equal((await ask('/other')).status, 404, 'no route')
  t.equal((await ask('/pay', 'POST')).status, 403, 'whether the request has a body, nobody has said')
  browser.cookies.clear()
  const no = await ask('/app/a', 'GET', { accept: 'text/html', 'sec-fetch-mode': 'navigate' })
  t.equal(no.status, 401, 'also for a page: the other proxy has its own way to the sign-in')
  t.equal(no.headers.get('x-forwarded-user'), null)
  t.equal(toUpstream(), 0, 'no upstream hears of a question')
  t.equal(
    await metric(
      'sallyport_decisions_total{route="admin",plugin="authorize",verdict="deny",reason="policy.denied"}'
    ),
    1
  )
})

t.test('a question that could be read in two ways is refused', async t => {
  const { ask, browser, url, host, toUpstream } = await asking(t)
  const rows: [string, string, string, Record<string, string>][] = [
    ['dots', '/open/../app/a', 'GET', {}],
    ['encoded dots', '/open/%2e%2e/app/a', 'GET', {}],
    ['an encoded slash', '/open/..%2fapp', 'GET', {}],
    ['a backslash', '/open\\app', 'GET', {}],
    ['two slashes', '//app/a', 'GET', {}],
    ['a whole URL', 'https://evil.example/app/a', 'GET', {}],
    ['a fragment', '/open/#/app', 'GET', {}],
    ['no path', '', 'GET', {}],
    ['two paths', '/open/a, /app/a', 'GET', {}],
    ['a question about a question', '/oauth2/auth', 'GET', {}],
    ['no method', '/open/a', '', {}],
    ['an unknown method', '/open/a', 'FOO', {}],
    ['a method in small letters', '/open/a', 'get', {}],
    ['CONNECT', '/open/a', 'CONNECT', {}],
    ['TRACE', '/open/a', 'TRACE', {}],
    ['no host', '/open/a', 'GET', { 'x-forwarded-host': '' }],
    ['two hosts', '/open/a', 'GET', { 'x-forwarded-host': `evil.example, ${host}` }],
    ['a host with a path', '/open/a', 'GET', { 'x-forwarded-host': `${host}/a` }]
  ]
  for (const [what, uri, method, headers] of rows)
    t.ok([400, 404, 405].includes((await ask(uri, method, headers)).status), what)
  t.equal((await browser.call(`${url}/oauth2/auth`)).status, 400, 'nothing at all')
  t.equal((await ask('/app/a')).status, 202, 'a good one')
  t.equal(toUpstream(), 0)
})

t.test('what the gateway answers itself is no answer to a question', async t => {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
  const { url } = await signInGateway(t, 'http://127.0.0.1:9', {
    routes,
    trustedProxies: ['127.0.0.0/8'],
    listeners: 'identity: { sign: { key: { env: IDENTITY_KEY } } }\n',
    options: { env: { ...env, IDENTITY_KEY: pem } }
  })
  const keys = '/.well-known/sallyport/jwks.json'
  t.equal((await fetch(url + keys)).status, 200)
  const headers = {
    'x-forwarded-method': 'GET',
    'x-forwarded-host': new URL(url).host,
    'x-forwarded-uri': keys
  }
  t.equal((await fetch(`${url}/oauth2/auth`, { headers })).status, 404, 'no route has let it through')
})

t.test('nobody but a trusted proxy may ask', async t => {
  const { ask } = await asking(t, '10.0.0.0/8')
  t.equal((await ask('/open/a')).status, 404)
})
