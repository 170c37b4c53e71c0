import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { WebSocket, WebSocketServer } from 'ws'
import { Browser, type Visit } from '../fixtures/browser.ts'
import { echoUpstream } from '../fixtures/echo.ts'
import { settled } from '../fixtures/settled.ts'
import { type SignInGateway, signInGateway } from '../fixtures/sign-in.ts'
import { movedTime } from '../fixtures/watch-time.ts'

interface SignedIn extends SignInGateway {
  readonly browser: Browser
  readonly cookie: string
}

async function signedIn(t: Test): Promise<SignedIn> {
  const upstream = await echoUpstream(t)
  const gateway = await signInGateway(t, upstream.url)
  const browser = new Browser()
  await browser.open(`${gateway.url}/a`)
  return { ...gateway, browser, cookie: browser.cookie(gateway.url, 'sallyport') as string }
}

function tokenOn(page: Visit): string {
  return /name="token" value="([^"]+)"/.exec(page.body)?.[1] ?? ''
}

const sameOrigin = { 'sec-fetch-site': 'same-origin' }

function signOut(browser: Browser, url: string, token: string, headers: Record<string, string> = sameOrigin) {
  return browser.open(`${url}/oauth2/sign-out`, { method: 'POST', form: { token }, headers })
}

t.test('a person signs out here and at the issuer, and comes back', async t => {
  const { url, issuer, browser, cookie } = await signedIn(t)
  const page = await browser.open(`${url}/oauth2/sign-out`)
  t.equal(page.status, 200)
  t.match(page.headers['content-security-policy'], "form-action 'self'")
  t.match(page.headers['cache-control'], 'no-store')
  const done = await signOut(browser, url, tokenOn(page))
  t.equal(done.status, 200)
  t.match(done.body, 'You are signed out here.')
  t.equal(browser.cookie(url, 'sallyport'), undefined, 'the cookie is gone')
  const stolen = await fetch(`${url}/a`, { headers: { cookie: `sallyport=${cookie}` } })
  t.equal(stolen.status, 401, 'and dead, whoever has a copy of it')

  const [, next = ''] = /^0; url=(.*)$/.exec(String(done.headers.refresh)) ?? []
  t.ok(next.startsWith(`${issuer.url}/session/end?`))
  const query = new URL(next).searchParams
  t.equal(query.get('post_logout_redirect_uri'), `${url}/oauth2/sign-out`)
  t.match(query.get('id_token_hint'), /^eyJ/)
  const asked = await browser.open(next)
  const xsrf = /name="xsrf" value="([^"]+)"/.exec(asked.body)?.[1] ?? ''
  const back = await browser.open(`${issuer.url}/session/end/confirm`, {
    method: 'POST',
    form: { xsrf, logout: 'yes' }
  })
  t.match(back.url, `${url}/oauth2/sign-out`)
  t.match(back.body, 'Signed out')
  t.equal((await browser.call(`${url}/a`)).status, 401)
})

t.test('no other site signs a person out', async t => {
  const { url, browser } = await signedIn(t)
  const token = tokenOn(await browser.open(`${url}/oauth2/sign-out`))
  const rows: [string, string, Record<string, string>, number][] = [
    ['without the token', '', sameOrigin, 403],
    ['with a token that is none', 'a'.repeat(43), sameOrigin, 403],
    ['from another site', token, { 'sec-fetch-site': 'cross-site' }, 403],
    ['from another host of the domain', token, { 'sec-fetch-site': 'same-site' }, 403],
    ['from another origin, in an old browser', token, { origin: 'https://evil.example' }, 403],
    ['from nowhere', token, { origin: 'null' }, 403],
    ['as JSON', token, { ...sameOrigin, 'content-type': 'application/json' }, 415],
    ['as something endless', 'a'.repeat(30_000), sameOrigin, 413]
  ]
  for (const [what, given, headers, status] of rows) {
    t.equal((await signOut(browser, url, given, headers)).status, status, what)
    t.equal((await browser.call(`${url}/a`)).status, 200, 'signed in still')
  }
  t.equal((await browser.open(`${url}/oauth2/sign-out`)).status, 200, 'GET changes nothing')
  t.equal((await browser.call(`${url}/a`)).status, 200)
  t.equal((await signOut(browser, url, token, { origin: url })).status, 200, 'an old browser, from our page')
  t.equal((await browser.call(`${url}/a`)).status, 401)
})

t.test('whoever is not signed in is told so', async t => {
  const { url } = await signedIn(t)
  const browser = new Browser()
  t.match((await browser.open(`${url}/oauth2/sign-out`)).body, 'Signed out')
  t.match((await signOut(browser, url, 'a')).body, 'Signed out')
})

t.test('an issuer that is down does not keep a person from signing out here', async t => {
  const { url, issuer, browser } = await signedIn(t)
  issuer.up = false
  const page = await browser.open(`${url}/oauth2/sign-out`)
  const done = await signOut(browser, url, tokenOn(page))
  t.equal(done.status, 200)
  t.equal((await browser.call(`${url}/a`)).status, 401)
})

t.test('an issuer ends a session from its side', async t => {
  const { url, issuer, browser } = await signedIn(t)
  // The person signs out at the issuer, in another application.
  const asked = await browser.open(`${issuer.url}/session/end`)
  const xsrf = /name="xsrf" value="([^"]+)"/.exec(asked.body)?.[1] ?? ''
  t.equal((await browser.call(`${url}/a`)).status, 200)
  await browser.open(`${issuer.url}/session/end/confirm`, { method: 'POST', form: { xsrf, logout: 'yes' } })
  t.equal((await browser.call(`${url}/a`)).status, 401)
})

t.test('a logout token that is none gets 400, and changes nothing', async t => {
  const { url, browser, lines } = await signedIn(t)
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const forged = `${part({ alg: 'ES256', kid: 'one' })}.${part({ iss: 'x' })}.${'A'.repeat(86)}`
  for (const token of ['', 'a', 'a.b.c', forged, 'a'.repeat(17_000)]) {
    const answer = await browser.open(`${url}/oauth2/backchannel-logout`, {
      method: 'POST',
      form: { logout_token: token },
      headers: { accept: 'application/json' }
    })
    t.equal(answer.status, 400)
    t.equal(answer.headers['cache-control'], 'no-store')
    t.same(JSON.parse(answer.body), { error: 'invalid_request' })
  }
  t.equal((await browser.call(`${url}/a`)).status, 200)
  t.ok(lines.some(({ path, reason }) => path === '/oauth2/backchannel-logout' && reason === 'token.invalid'))
})

t.test('a sign-out closes the WebSockets of the session, and no others', async t => {
  const service = new WebSocketServer({ port: 0, host: '127.0.0.1' })
  await once(service, 'listening')
  t.teardown(() => service.close())
  const pages = await echoUpstream(t)
  const { time, advance } = movedTime()
  const { url } = await signInGateway(t, pages.url, {
    options: { time },
    upstreams: `\n  live: { url: "http://127.0.0.1:${(service.address() as AddressInfo).port}" }`,
    routes: `  pages: { match: { hosts: [127.0.0.1], path: /* }, upstream: backend, plugins: [oidc: { issuer: corp }] }
  live: { match: { hosts: [127.0.0.1], path: /live, protocol: websocket }, upstream: live, plugins: [oidc: { issuer: corp }] }
`
  })
  async function opened(): Promise<{ browser: Browser; socket: WebSocket }> {
    const browser = new Browser()
    await browser.open(`${url}/a`)
    const headers = { cookie: `sallyport=${browser.cookie(url, 'sallyport')}` }
    const socket = new WebSocket(`${url.replace('http', 'ws')}/live`, { headers, origin: url })
    t.teardown(() => socket.terminate())
    await once(socket, 'open')
    return { browser, socket }
  }
  const leaving = await opened()
  const staying = await opened()
  advance(10_000)
  const page = await leaving.browser.open(`${url}/oauth2/sign-out`)
  await signOut(leaving.browser, url, tokenOn(page))
  t.equal(leaving.socket.readyState, WebSocket.OPEN)
  const closed = once(leaving.socket, 'close')
  advance(5000)
  const [code] = await closed
  t.equal(code, 1008)
  t.equal(staying.socket.readyState, WebSocket.OPEN)
})

t.test('the issuer gets a refresh token back that would outlive the sign-out', async t => {
  const { url, issuer, browser, lines } = await signedIn(t)
  const given: string[] = []
  const asked = new Promise<void>(resolve => {
    issuer.before = async (request, response) => {
      if (request.url !== '/token/revocation') return false
      for await (const chunk of request) given.push(String(chunk))
      response.writeHead(503).end()
      resolve()
      return true
    }
  })
  const page = await browser.open(`${url}/oauth2/sign-out`)
  t.equal((await signOut(browser, url, tokenOn(page))).status, 200, 'nobody waits for it')
  await asked
  t.match(given.join(''), /(^|&)token=[\w-]+/)
  t.match(given.join(''), 'token_type_hint=refresh_token')
  await settled(() => lines.length)
  const told = lines.filter(({ msg }) => msg === 'an issuer has not taken a refresh token back')
  t.equal(told.length, 1)
  t.notOk(JSON.stringify(told).includes(new URLSearchParams(given.join('')).get('token') as string))
})
