import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { request } from 'undici'
import { WebSocket, WebSocketServer } from 'ws'
import { Browser } from '../fixtures/browser.ts'
import { echoUpstream } from '../fixtures/echo.ts'
import { signInGateway } from '../fixtures/sign-in.ts'

const shop = 'https://shop.example.com'

async function signedIn(t: Test, routes?: string, trustedProxies: string[] = []) {
  const upstream = await echoUpstream(t)
  const gateway = await signInGateway(t, upstream.url, { trustedProxies, ...(routes && { routes }) })
  const browser = new Browser()
  await browser.open(`${gateway.url}/a`)
  const cookie = `sallyport=${browser.cookie(gateway.url, 'sallyport')}`
  const before = upstream.requests.length
  return {
    ...gateway,
    cookie,
    toUpstream: () => upstream.requests.length - before,
    // Not `fetch`, which writes these headers itself.
    async status(method: string, headers: Record<string, string>, path = '/a'): Promise<number> {
      const answer = await request(`${gateway.url}${path}`, { method: method as 'GET', headers })
      await answer.body.dump()
      return answer.statusCode
    }
  }
}

t.test('what changes something is taken from pages of the same origin alone', async t => {
  const { url, cookie, status, toUpstream, metric } = await signedIn(t)
  const { host, port } = new URL(url)
  const rows: [string, Record<string, string>, number][] = [
    ['a page of ours', { 'sec-fetch-site': 'same-origin', origin: url }, 200],
    ['a form of ours that sends no referrer', { 'sec-fetch-site': 'same-origin', origin: 'null' }, 200],
    ['a page of ours in an old browser', { origin: url }, 200],
    ['the person', { 'sec-fetch-site': 'none' }, 200],
    ['a program', {}, 200],
    ['another site', { 'sec-fetch-site': 'cross-site', origin: 'https://evil.example' }, 403],
    ['another site that hides its origin', { 'sec-fetch-site': 'cross-site', origin: 'null' }, 403],
    ['another site through a redirect of ours', { 'sec-fetch-site': 'cross-site', origin: url }, 403],
    ['another host of the domain', { 'sec-fetch-site': 'same-site', origin: 'https://b.example.com' }, 403],
    ['a word that no browser has', { 'sec-fetch-site': 'Same-Origin' }, 403],
    ['two words', { 'sec-fetch-site': 'same-origin, cross-site' }, 403],
    ['another site in an old browser', { origin: 'https://evil.example' }, 403],
    ['nobody in an old browser', { origin: 'null' }, 403],
    ['nothing in an old browser', { origin: '' }, 403],
    ['another port', { origin: `http://127.0.0.1:${Number(port) + 1}` }, 403],
    ['no port', { origin: 'http://127.0.0.1' }, 403],
    ['another scheme', { origin: `https://${host}` }, 403],
    ['a host that begins like ours', { origin: `${url}.evil.example` }, 403],
    ['a user of our name', { origin: `http://${host}@evil.example` }, 403],
    ['a path', { origin: `${url}/` }, 403]
  ]
  let letIn = 0
  for (const [what, headers, expected] of rows) {
    for (const method of ['POST', 'PUT', 'PATCH', 'DELETE', 'PROPFIND']) {
      t.equal(await status(method, { cookie, ...headers }), expected, `${what}, ${method}`)
      if (expected === 200) letIn++
    }
  }
  t.equal(toUpstream(), letIn)
  const foreign = { 'sec-fetch-site': 'cross-site', origin: 'https://evil.example' }
  t.equal(await status('GET', { cookie, ...foreign }), 200, 'a link of another site')
  t.equal(await status('POST', foreign), 401, 'without a cookie it is nobody who asks')
  const denied =
    'sallyport_decisions_total{route="console",plugin="oidc",verdict="deny",reason="protocol.origin"}'
  t.equal(await metric(denied), rows.filter(([, , expected]) => expected === 403).length * 5)
})

t.test('another proxy hears the same of what pages of others ask for', async t => {
  const { url, cookie, status } = await signedIn(t, undefined, ['127.0.0.0/8'])
  const asked = (headers: Record<string, string>) =>
    status(
      'GET',
      {
        cookie,
        'x-forwarded-method': 'POST',
        'x-forwarded-host': new URL(url).host,
        'x-forwarded-uri': '/a',
        ...headers
      },
      '/oauth2/auth'
    )
  t.equal(await asked({ origin: url }), 202)
  t.equal(await asked({ origin: 'https://evil.example' }), 403)
  t.equal(await asked({ 'sec-fetch-site': 'same-site', origin: 'https://b.example.com' }), 403)
})

t.test('another proxy hears the same of the WebSockets that pages of others open', async t => {
  const { url, cookie, status } = await signedIn(t, undefined, ['127.0.0.0/8'])
  // Proxies that ask leave Connection and Upgrade out; what browsers send beside them is there.
  const opening = {
    cookie,
    'x-forwarded-method': 'GET',
    'x-forwarded-host': new URL(url).host,
    'x-forwarded-uri': '/a',
    'sec-websocket-version': '13'
  }
  const asked = (headers: Record<string, string>) => status('GET', { ...opening, ...headers }, '/oauth2/auth')
  t.equal(await asked({ origin: url, 'sec-fetch-site': 'same-origin' }), 202)
  t.equal(await asked({}), 202, 'a program')
  t.equal(await asked({ origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' }), 403)
  t.equal(await asked({ origin: 'https://b.example.com', 'sec-fetch-site': 'same-site' }), 403)
  t.equal(await asked({ origin: 'null' }), 403)
})

t.test('pages of an origin that cors names, with credentials, may change things', async t => {
  const route = (name: string, cors: string) =>
    `  ${name}: { match: { hosts: [127.0.0.1], path: /${name} }, upstream: backend, plugins: [cors: ${cors}, oidc: { issuer: corp }] }\n`
  const { cookie, status } = await signedIn(
    t,
    `${route('with', `{ origins: ["${shop}"], credentials: true, methods: [GET, POST] }`)}${route('without', `{ origins: ["${shop}"] }`)}${route('all', '{ origins: ["*"] }')}${route('a', `{ origins: ["${shop}"] }`)}`
  )
  const from = (origin: string) => ({ cookie, origin, 'sec-fetch-site': 'same-site' })
  t.equal(await status('POST', from(shop), '/with'), 200)
  t.equal(await status('POST', from('https://evil.example'), '/with'), 403)
  t.equal(await status('POST', from('null'), '/with'), 403)
  t.equal(await status('POST', from(shop), '/without'), 403, 'not to be sent cookies')
  t.equal(await status('POST', from(shop), '/all'), 403)
  t.equal(await status('GET', from('https://evil.example'), '/with'), 200, 'whose answer it may not read')
})

t.test('a WebSocket is for pages of the same origin, and of those that the route names', async t => {
  const service = new WebSocketServer({ port: 0, host: '127.0.0.1' })
  await once(service, 'listening')
  t.teardown(() => service.close())
  service.on('connection', socket => socket.close())
  const pages = await echoUpstream(t)
  const live = (name: string, more: string) =>
    `  ${name}: { match: { hosts: [127.0.0.1], path: /${name}, protocol: websocket }, upstream: live, plugins: [${more}oidc: { issuer: corp }] }\n`
  const { url } = await signInGateway(t, pages.url, {
    upstreams: `\n  live: { url: "http://127.0.0.1:${(service.address() as AddressInfo).port}" }`,
    routes: `  pages: { match: { hosts: [127.0.0.1], path: /* }, upstream: backend, plugins: [oidc: { issuer: corp }] }
${live('plain', '')}${live('named', `protocol: { origins: ["${shop}"] }, `)}`
  })
  const browser = new Browser()
  await browser.open(`${url}/a`)
  const headers = { cookie: `sallyport=${browser.cookie(url, 'sallyport')}` }
  const rows: [string, string, number][] = [
    ['plain', url, 101],
    ['plain', url.replace('http:', 'https:'), 403],
    ['plain', url.replace(/\d+$/, '1'), 403],
    ['plain', shop, 403],
    ['named', shop, 101],
    ['named', url, 403]
  ]
  for (const [path, origin, expected] of rows) {
    const socket = new WebSocket(`${url.replace('http', 'ws')}/${path}`, { headers, origin })
    const found = await new Promise(resolve => {
      socket.on('close', () => resolve(101))
      socket.on('unexpected-response', (_request, response) => resolve(response.statusCode))
    })
    t.equal(found, expected, `${path} from ${origin}`)
  }
})
