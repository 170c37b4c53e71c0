import t, { type Test } from 'tap'
import { Browser, type Visit } from '../fixtures/browser.ts'
import { echoUpstream } from '../fixtures/echo.ts'
import { rawUpstream } from '../fixtures/proxying.ts'
import { hostileReturnUrls } from '../fixtures/return-urls.ts'
import { ahead, issuerYaml, personalIssuer, type SignInGateway, signInGateway } from '../fixtures/sign-in.ts'

/** Goes to the issuer and stops in front of the way back. */
async function almostBack(browser: Browser, url: string, path = '/a'): Promise<URL> {
  const { headers } = await browser.open(`${url}${path}`, {
    until: next => next.startsWith(`${url}/oauth2/`)
  })
  return new URL(String(headers.location))
}

function isRefused(t: Test, page: Visit, what: string): void {
  t.equal(page.status, 400, what)
  t.match(page.headers['content-type'], 'text/html')
  t.match(page.body, 'The sign-in could not be completed')
  t.equal(
    page.headers['referrer-policy'],
    'no-referrer',
    'the code goes no further with the link to try again'
  )
  t.notOk(
    [page.headers['set-cookie'] ?? []].flat().some(line => /^sallyport=/.test(line)),
    'no session'
  )
}

async function isWell(t: Test, { url }: SignInGateway): Promise<void> {
  t.equal((await new Browser().open(`${url}/good`)).status, 200, 'a good sign-in works still')
}

t.test('what comes back through the browser is refused when anything of it was changed', async t => {
  const upstream = await echoUpstream(t)
  const gateway = await signInGateway(t, upstream.url)
  const { url, issuer } = gateway
  const rows: [string, (back: URL, browser: Browser) => void][] = [
    ['another state', back => back.searchParams.set('state', 'a'.repeat(43))],
    ['no state', back => back.searchParams.delete('state')],
    ['an endless state', back => back.searchParams.set('state', 'a'.repeat(5000))],
    ['two states', back => back.searchParams.append('state', String(back.searchParams.get('state')))],
    ['another code', back => back.searchParams.set('code', 'a'.repeat(43))],
    ['no code', back => back.searchParams.delete('code')],
    ['two codes', back => back.searchParams.append('code', 'b')],
    ['another issuer', back => back.searchParams.set('iss', 'https://evil.example')],
    ['the issuer with a slash', back => back.searchParams.set('iss', `${issuer.url}/`)],
    ['no issuer', back => back.searchParams.delete('iss')],
    ['an error beside the code', back => back.searchParams.set('error', 'server_error')],
    ['a token of the implicit flow', back => back.searchParams.set('id_token', 'e30.e30.e30')],
    ['another browser', (_back, browser) => browser.cookies.clear()],
    [
      'a cookie that is not the one that was given',
      (_back, browser) => {
        const own = browser.cookies.get('127.0.0.1') as Map<string, string>
        for (const name of own.keys()) if (name.includes('sign-in')) own.set(name, 'a'.repeat(43))
      }
    ],
    [
      'a cookie that was put beside the one that was given',
      (_back, browser) => {
        const own = browser.cookies.get('127.0.0.1') as Map<string, string>
        for (const name of [...own.keys()]) if (name.includes('sign-in')) own.set('x', `1; ${name}=b`)
      }
    ]
  ]
  for (const [what, change] of rows) {
    const browser = new Browser()
    const back = await almostBack(browser, url)
    change(back, browser)
    isRefused(t, await browser.open(back.href), what)
    t.equal((await browser.call(`${url}/a`)).status, 401)
  }
  t.equal(upstream.requests.length, 0)
  await isWell(t, gateway)
})

t.test('a way back is used once, within ten minutes, and at the host that it began at', async t => {
  const upstream = await echoUpstream(t)
  const gateway = await signInGateway(t, upstream.url)
  const { url } = gateway
  const browser = new Browser()
  const back = await almostBack(browser, url)
  const cookies = structuredClone(browser.cookies.get('127.0.0.1'))
  t.equal((await browser.open(back.href)).status, 200)
  isRefused(t, await browser.open(back.href), 'again')
  const thief = new Browser()
  thief.cookies.set('127.0.0.1', cookies as Map<string, string>)
  isRefused(t, await thief.open(back.href), 'again, with the cookies of before')

  const late = new Browser()
  const tooLate = await almostBack(late, url)
  ahead(t, 601)
  isRefused(t, await late.open(tooLate.href), 'too late')

  const moved = new Browser()
  const elsewhere = await almostBack(moved, url)
  isRefused(t, await moved.open(elsewhere.href, { headers: { host: 'other.example' } }), 'another host')
  await isWell(t, gateway)
})

t.test('nobody is signed in as somebody else by a link', async t => {
  const upstream = await echoUpstream(t)
  const { url } = await signInGateway(t, upstream.url)
  const attacker = new Browser()
  const link = await almostBack(attacker, url)
  const victim = new Browser()
  isRefused(t, await victim.open(link.href), 'without a sign-in under way')
  await almostBack(victim, url)
  isRefused(t, await victim.open(link.href), 'with one of their own')
  t.equal((await victim.call(`${url}/a`)).status, 401)
})

t.test('the code of one person does not fit the sign-in of another', async t => {
  const upstream = await echoUpstream(t)
  const { url } = await signInGateway(t, upstream.url)
  const one = new Browser()
  const two = new Browser()
  const backOfOne = await almostBack(one, url)
  const backOfTwo = await almostBack(two, url)
  backOfTwo.searchParams.set('code', String(backOfOne.searchParams.get('code')))
  isRefused(t, await two.open(backOfTwo.href), 'PKCE and the nonce do not fit')
})

t.test('an issuer that sends people to another one gets no code of that one', async t => {
  const upstream = await echoUpstream(t)
  const evil = await personalIssuer(t)
  const gateway = await signInGateway(t, upstream.url, {
    issuers: () => issuerYaml('evil', evil.url),
    routes: `  a: { match: { hosts: [127.0.0.1], path: /a/* }, upstream: backend, plugins: [oidc: { issuer: corp }] }
  b: { match: { hosts: [127.0.0.1], path: /b/* }, upstream: backend, plugins: [oidc: { issuer: evil }] }
  good: { match: { hosts: [127.0.0.1], path: /good }, upstream: backend, plugins: [oidc: { issuer: corp }] }
`
  })
  const { url, issuer } = gateway
  await evil.serve([url])
  // The person chose `evil`; its authorization endpoint hands them on to `corp` with the same request.
  evil.before = (request, response) => {
    if (!request.url?.startsWith('/auth?')) return false
    response.writeHead(302, { location: `${issuer.url}${request.url}` }).end()
    return true
  }
  const isBack = (next: string) => next.startsWith(`${url}/oauth2/`)
  for (const [what, change] of [
    ['as it comes', () => {}],
    ['without iss', (back: URL) => back.searchParams.delete('iss')]
  ] as [string, (back: URL) => void][]) {
    const browser = new Browser()
    const { headers } = await browser.open(`${url}/b/1`, { until: isBack })
    const back = new URL(String(headers.location))
    t.equal(back.searchParams.get('iss'), issuer.url)
    change(back)
    isRefused(t, await browser.open(back.href), what)
  }
  t.equal(evil.asked.token, undefined, 'it never sees a code')
  await isWell(t, gateway)
})

t.test('an issuer that does not say who answers has a way back of its own beside another one', async t => {
  const upstream = await echoUpstream(t)
  const silent = await personalIssuer(t)
  const gateway = await signInGateway(t, upstream.url, {
    issuers: () => issuerYaml('silent', silent.url),
    routes: `  a: { match: { hosts: [127.0.0.1], path: /a/* }, upstream: backend, plugins: [oidc: { issuer: corp }] }
  b: { match: { hosts: [127.0.0.1], path: /b/* }, upstream: backend, plugins: [oidc: { issuer: silent }] }
  good: { match: { hosts: [127.0.0.1], path: /good }, upstream: backend, plugins: [oidc: { issuer: corp }] }
`
  })
  const { url, issuer } = gateway
  await silent.serve([url])
  const discovery = '/.well-known/openid-configuration'
  const metadata = (await (await fetch(silent.url + discovery)).json()) as object
  const saying = JSON.stringify({ ...metadata, authorization_response_iss_parameter_supported: undefined })
  let forwards = false
  silent.before = (request, response) => {
    if (request.url === discovery) response.writeHead(200, { 'content-type': 'application/json' }).end(saying)
    else if (forwards && request.url?.startsWith('/auth?')) {
      const location = `${issuer.url}${request.url}`
      response.writeHead(302, { location: location.replace('%2Fcallback%2Fsilent', '%2Fcallback') }).end()
    } else return false
    return true
  }
  const rows: [string, string, string, number][] = [
    ['its own', '/b/1', '/oauth2/callback/silent', 200],
    ['that of all', '/b/1', '/oauth2/callback', 400],
    ['that of another', '/b/1', '/oauth2/callback/corp', 400],
    ['its own, otherwise spelled', '/b/1', '/oauth2/callback/Silent', 404],
    ['its own, for the answer of another that is silent too', '/a/1', '/oauth2/callback/silent', 400],
    ['that of all, for another that is silent too', '/a/1', '/oauth2/callback', 400],
    ['a name of its own, where it should say who answers', '/a/1', '/oauth2/callback/corp', 400]
  ]
  for (const [what, page, path, status] of rows) {
    const browser = new Browser()
    const back = await almostBack(browser, url, page)
    t.equal(back.pathname, page === '/b/1' ? '/oauth2/callback/silent' : '/oauth2/callback')
    back.searchParams.delete('iss')
    back.pathname = path
    t.equal((await browser.open(back.href)).status, status, what)
  }
  forwards = true
  const asked = silent.asked.token
  const browser = new Browser()
  const back = await almostBack(browser, url, '/b/1')
  t.equal(back.pathname, '/oauth2/callback', 'the answer of the one that it has passed the person on to')
  back.searchParams.delete('iss')
  isRefused(t, await browser.open(back.href), 'without a word of who answers')
  t.equal(silent.asked.token, asked, 'it never sees the code')
  await isWell(t, gateway)
})

t.test('ID tokens that do not fit are refused', async t => {
  const upstream = await echoUpstream(t)
  const gateway = await signInGateway(t, upstream.url)
  const { url, issuer } = gateway
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const now = Math.floor(Date.now() / 1000)
  const claims = { iss: issuer.url, aud: 'gateway', sub: 'ada', iat: now, exp: now + 60 }
  const rows: [string, string | null][] = [
    ['none', null],
    ['unsigned', `${part({ alg: 'none' })}.${part(claims)}.`],
    ['signed by nobody', `${part({ alg: 'ES256', kid: 'one' })}.${part(claims)}.${'A'.repeat(86)}`],
    ['HMAC with the secret', `${part({ alg: 'HS256' })}.${part(claims)}.${'A'.repeat(43)}`],
    ['of another algorithm', `${part({ alg: 'RS256', kid: 'one' })}.${part(claims)}.${'A'.repeat(86)}`]
  ]
  for (const [what, idToken] of rows) {
    issuer.before = (request, response) => {
      if (request.url !== '/token') return false
      const answer = {
        access_token: 'secret-access-token',
        token_type: 'Bearer',
        expires_in: 60,
        ...(idToken && { id_token: idToken })
      }
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer))
      return true
    }
    const browser = new Browser()
    const back = await almostBack(browser, url)
    isRefused(t, await browser.open(back.href), what)
  }
  issuer.before = null
  t.notMatch(JSON.stringify(gateway.lines), 'secret-access-token', 'no log holds a token')
  await isWell(t, gateway)
})

t.test('cookies that nobody was given let nobody in', async t => {
  const upstream = await echoUpstream(t)
  const gateway = await signInGateway(t, upstream.url)
  const { url } = gateway
  const browser = new Browser()
  await browser.open(`${url}/a`)
  const good = browser.cookie(url, 'sallyport') as string
  const [id = '', signature = ''] = decodeURIComponent(good).split('.')
  const rows: [string, string, number][] = [
    ['empty', 'sallyport=', 401],
    ['made up', `sallyport=${'a'.repeat(43)}`, 401],
    ['without its signature', `sallyport=${id}`, 401],
    ['with an empty signature', `sallyport=${id}.`, 401],
    ['with a signature of another', `sallyport=${'a'.repeat(43)}.${signature}`, 401],
    ['another id', `sallyport=${encodeURIComponent(`${id.slice(0, -1)}.${signature}`)}`, 401],
    ['under another name', `Sallyport=${good}`, 401],
    ['a sign-in as a session', `sallyport-sign-in-0123456789abcdef=${good}`, 401],
    ['badly encoded', 'sallyport=%zz', 401],
    ['endless', `sallyport=${'a'.repeat(8000)}`, 401],
    ['beside another one', `sallyport=${good}; sallyport=${good}`, 400],
    ['behind one of an attacker', `sallyport=evil; sallyport=${good}`, 400],
    ['of another host of the domain, behind a space of Unicode', `\u00a0sallyport=${good}`, 401],
    ['in front of a space of Unicode', `sallyport\u00a0=${good}`, 401],
    ['in quotes', `sallyport="${good}"`, 401],
    ['in the value of another one', `a="b; sallyport=${good}"`, 401],
    ['without a name of its own', `=sallyport=${good}`, 401],
    ['in the words of RFC 2965', `$Version=1, sallyport=${good}`, 401],
    ['as it is', `a=b; sallyport=${good}`, 200]
  ]
  for (const [what, cookie, status] of rows)
    t.equal((await fetch(`${url}/a`, { headers: { cookie } })).status, status, what)
  t.equal(
    (await fetch(`${url}/a`, { headers: { cookie: `sallyport=${good}` }, method: 'POST' })).status,
    200,
    'fixation: a session that was known before is replaced at sign-in, see sign-in.test.ts'
  )
})

t.test('a session is for the host that it was made at', async t => {
  const upstream = await echoUpstream(t)
  const { url } = await signInGateway(t, upstream.url, {
    routes: `  one: { match: { hosts: [127.0.0.1], path: /* }, upstream: backend, plugins: [oidc: { issuer: corp }] }
  two: { match: { hosts: [two.example], path: /* }, upstream: backend, plugins: [oidc: { issuer: corp }] }
`
  })
  const browser = new Browser()
  await browser.open(`${url}/a`)
  const headers = { accept: 'application/json', host: 'two.example' }
  t.equal((await browser.open(`${url}/a`, { headers })).status, 401)
})

t.test('no return URL leads away from this host, and none breaks anything', async t => {
  const upstream = await echoUpstream(t)
  const gateway = await signInGateway(t, upstream.url)
  const { url } = gateway
  const browser = new Browser()
  t.ok(new Set(hostileReturnUrls).size >= 60, `${hostileReturnUrls.length} return URLs`)
  for (const [row, hostile] of hostileReturnUrls.entries()) {
    const start = `${url}/oauth2/sign-in?return_to=${encodeURIComponent(hostile.toWellFormed())}`
    const found = await browser.open(start)
    t.equal(found.url, `${url}/`, `row ${row}`)
    t.equal(found.status, 200)
    // From the query into the sign-in that is under way, and from there into the Location of the callback.
    const origins = new Set(found.way.map(each => new URL(each).origin))
    t.same(origins, new Set([url, gateway.issuer.url]), 'nobody else was on the way')
    t.match(found.way.at(-2), `${url}/oauth2/callback?`, 'through a sign-in')
  }
  t.equal(
    (await browser.open(`${url}/oauth2/sign-in?return_to=${encodeURIComponent('/a?b=c')}`)).url,
    `${url}/a?b=c`
  )
  for (const query of [
    'return_to=//evil.example&return_to=/a',
    'issuer=corp&issuer=evil',
    'return_to',
    '',
    '%',
    'issuer=nobody',
    'issuer=__proto__'
  ]) {
    const found = await browser.open(`${url}/oauth2/sign-in?${query}`)
    t.ok(found.status < 500 && new URL(found.url).origin === url, query)
  }
})

t.test('nothing else is below /oauth2/, and no route is asked for it', async t => {
  const upstream = await echoUpstream(t)
  const { url } = await signInGateway(t, upstream.url)
  const browser = new Browser()
  await browser.open(`${url}/a`)
  const before = upstream.requests.length
  for (const path of ['/oauth2/', '/oauth2/x', '/oauth2/callback/', '/oauth2/Callback', '/oauth2/sign-in/x'])
    t.equal((await browser.call(`${url}${path}`)).status, 404, path)
  t.equal(
    (await browser.open(`${url}/oauth2/callback`, { method: 'POST', form: { state: 'a' } })).status,
    404
  )
  t.equal(upstream.requests.length, before)
})

t.test('many tabs that are never finished do not fill the header of a browser', async t => {
  const { url } = await signInGateway(t, 'http://127.0.0.1:9')
  const browser = new Browser()
  for (let i = 0; i < 30; i++) {
    await browser.open(`${url}/a`, { until: () => true })
    t.ok((browser.cookies.get('127.0.0.1')?.size ?? 0) <= 9)
  }
})

t.test('cookies with names that nobody can write are no obstacle to a sign-in', async t => {
  const { url } = await signInGateway(t, 'http://127.0.0.1:9')
  const names = Array.from({ length: 12 }, (_, index) => `sallyport-sign-in-\u00e9 ${index}`)
  const headers = { cookie: names.map(name => `${name}=1`).join('; ') }
  const away = await new Browser().open(`${url}/a`, { headers, until: () => true })
  t.equal(away.status, 302)
})

t.test('no upstream sets the cookie of a session, however it is spelled', async t => {
  const theirs = ['theirs=1; Path=/', 'a-sallyport=1', 'xsallyport=2']
  const ours = [
    'sallyport=x',
    'Sallyport=x; Path=/',
    ' sallyport=x',
    '=sallyport=x',
    ' =\tsallyport=x',
    'sallyport-sign-in-0=x'
  ]
  const raw = await rawUpstream(t, socket => {
    const lines = [...ours, ...theirs].map(value => `Set-Cookie: ${value}\r\n`).join('')
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 0\r\n${lines}\r\n`)
  })
  const { url } = await signInGateway(t, raw.url)
  const page = await new Browser().open(`${url}/a`)
  t.equal(page.status, 200)
  t.same(page.headers['set-cookie'], theirs)
})

t.test('neither does a service that is asked who may come in', async t => {
  const upstream = await echoUpstream(t)
  for (const status of ['200 OK', '401 Unauthorized']) {
    const service = await rawUpstream(t, socket => {
      socket.write(
        `HTTP/1.1 ${status}\r\nContent-Length: 0\r\nSet-Cookie: Sallyport=x\r\nSet-Cookie: theirs=1\r\n\r\n`
      )
    })
    const { url } = await signInGateway(t, upstream.url, {
      routes: `  people: { match: { path: /people }, upstream: backend, plugins: [oidc: { issuer: corp }] }
  asked: { match: { path: /a }, upstream: backend, plugins: [forward-auth: { url: "${service.url}", setCookies: true }] }
`
    })
    t.same((await fetch(`${url}/a`)).headers.getSetCookie(), ['theirs=1'], status)
  }
})
