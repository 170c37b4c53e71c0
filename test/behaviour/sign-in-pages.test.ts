import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { Browser, type Visit } from '../fixtures/browser.ts'
import { skipWithoutBrowser } from '../fixtures/chromium.ts'
import { openTab, type Tab } from '../fixtures/chromium-tab.ts'
import { ahead, issuerYaml, type SignInGateway, signInGateway } from '../fixtures/sign-in.ts'
import { echo, upstream } from '../helper.ts'

const hosts = 'hosts: [127.0.0.1]'
const routes = `  console: { match: { ${hosts}, path: /* }, upstream: backend, plugins: [oidc: { issuer: corp }] }
  admin: { match: { ${hosts}, path: /admin }, upstream: backend, plugins: [oidc: { issuer: corp }, authorize: { groups: [nobody] }] }
  scoped: { match: { ${hosts}, path: /scoped }, upstream: backend, plugins: [oidc: { issuer: corp }, authorize: { scopes: ["a:b"] }] }
  fenced: { match: { ${hosts}, path: /fenced }, upstream: backend, plugins: [ip-filter: { allow: [192.0.2.0/24] }, oidc: { issuer: corp }] }
  rare: { match: { ${hosts}, path: /rare }, upstream: backend, plugins: [oidc: { issuer: corp }, rate-limit: { limit: 1, window: 1h, by: identity.subject }] }
  gone: { match: { ${hosts}, path: /gone }, upstream: gone, plugins: [oidc: { issuer: corp }] }
  small: { match: { ${hosts}, path: /small }, upstream: backend, plugins: [oidc: { issuer: corp }, protocol: { methods: [GET] }] }
  both: { match: { ${hosts}, path: /both }, upstream: backend, plugins: [any: [jwt: { issuer: corp }, oidc: { issuer: corp }]] }
  api: { match: { ${hosts}, path: /api }, upstream: backend, plugins: [jwt: { issuer: corp }] }
`

async function gatewayWithPages(t: Test): Promise<SignInGateway> {
  const backend = await echo(t)
  return signInGateway(t, backend.url, { routes, upstreams: '\n  gone: { url: "http://127.0.0.1:9" }' })
}

/** What every page of the gateway has, whatever it says. */
function isPage(t: Test, page: Visit, status: number, title: string): void {
  t.equal(page.status, status, title)
  t.match(page.headers['content-type'], 'text/html')
  t.match(
    page.headers['content-security-policy'],
    /^default-src 'none'; style-src 'nonce-[\w-]{22}'; form-action /
  )
  t.match(page.headers['cache-control'], 'no-store')
  t.equal(page.headers['x-frame-options'], 'DENY')
  t.match(page.body, `<title>${title}</title>`)
  t.match(page.body, `<h1>${title}</h1>`)
  t.match(page.body, '<html lang="en">')
  t.notMatch(page.body, /<script|127\.0\.0\.1|Error|undefined|null/)
}

function linkOf({ body }: Visit): string | undefined {
  return /<p><a href="([^"]*)"/.exec(body)?.[1]?.replaceAll('&amp;', '&')
}

t.test('a person reads a page where a program gets a problem document', async t => {
  const { url, lines } = await gatewayWithPages(t)
  const browser = new Browser()
  await browser.open(`${url}/a`)
  await browser.open(`${url}/rare`)
  const mayNot = 'You may not open this page'
  const rows: [string, string, Record<string, string>, number, string, string, string | undefined][] = [
    ['GET', '/admin', {}, 403, mayNot, 'policy.denied', '/oauth2/sign-out'],
    ['GET', '/scoped', {}, 403, mayNot, 'scope.missing', '/oauth2/sign-out'],
    ['GET', '/fenced', {}, 403, mayNot, 'policy.denied', undefined],
    ['GET', '/rare', {}, 429, 'Too many requests', 'rate.exceeded', '/rare'],
    [
      'GET',
      '/gone?a=b',
      {},
      502,
      'This page is not available at the moment',
      'upstream.connect',
      '/gone?a=b'
    ],
    ['POST', '/gone', {}, 502, 'This page is not available at the moment', 'upstream.connect', undefined],
    ['POST', '/small', {}, 405, 'Method not allowed', 'protocol.method', undefined],
    [
      'GET',
      '/both?a=b',
      { authorization: 'Bearer a.b.c' },
      401,
      'Please sign in',
      'token.invalid',
      '/oauth2/sign-in?return_to=%2Fboth%3Fa%3Db&issuer=corp'
    ],
    [
      'GET',
      '/a',
      { cookie: 'sallyport=a; sallyport=b' },
      400,
      'This site cannot read the request',
      'request.malformed',
      undefined
    ],
    [
      'GET',
      '/oauth2/sign-out',
      { cookie: 'sallyport=a; sallyport=b' },
      400,
      'This site cannot read the request',
      'request.malformed',
      undefined
    ]
  ]
  for (const [method, path, headers, status, title, reason, link] of rows) {
    const page = await browser.open(`${url}${path}`, { method, headers })
    isPage(t, page, status, title)
    t.match(page.body, `Reason: ${reason}`)
    t.match(page.body, `Request: ${page.headers['x-request-id']}`)
    t.equal(linkOf(page), link, `${method} ${path}: what to do next`)
    t.ok(lines.some(line => line.msg !== 'request' || line.reason === reason))
    const call = await fetch(`${url}${path}`, {
      method,
      headers: {
        accept: 'application/json',
        cookie: `sallyport=${browser.cookie(url, 'sallyport')}`,
        ...headers
      }
    })
    t.equal(call.status, status, 'the same for a program')
    t.match(await call.json(), { status, reason })
  }
  t.match((await browser.open(`${url}/admin`)).body, 'You are signed in as ada@example.com')
  t.match((await browser.open(`${url}/rare`)).body, /in \d+ seconds/)
})

t.test('what is no page of a person stays a problem document', async t => {
  const { url } = await gatewayWithPages(t)
  const browser = new Browser()
  await browser.open(`${url}/a`)
  const rows: [string, string, Record<string, string>][] = [
    ['a script', '/admin', { 'sec-fetch-mode': 'cors' }],
    ['an image', '/admin', { 'sec-fetch-mode': 'no-cors' }],
    ['whatever takes anything', '/admin', { accept: '*/*' }],
    ['a page that nobody has opened yet', '/admin', { 'sec-purpose': 'prefetch' }],
    ['a route that is for programs alone', '/api', {}]
  ]
  for (const [what, path, headers] of rows) {
    const answer = await browser.open(`${url}${path}`, { headers })
    t.match(answer.headers['content-type'], 'application/problem+json', what)
    t.match(JSON.parse(answer.body), { status: answer.status })
  }
  const head = await browser.open(`${url}/admin`, { method: 'HEAD' })
  t.match([head.status, head.body], [403, ''])
  t.match(head.headers['content-type'], 'text/html')
})

t.test('an upstream that refuses a person keeps its own page', async t => {
  const backend = await upstream(t, (_request, response) => {
    response.writeHead(403, { 'content-type': 'text/html' }).end('<p>of the service</p>')
  })
  const { url } = await signInGateway(t, backend.url)
  const page = await new Browser().open(`${url}/a`)
  t.match([page.status, page.body], [403, '<p>of the service</p>'])
})

t.test('a session that cannot be judged at the moment is said on a page', async t => {
  const { url, issuer } = await gatewayWithPages(t)
  issuer.tokenLife = 100
  const browser = new Browser()
  await browser.open(`${url}/a`)
  issuer.up = false
  ahead(t, 200)
  const page = await browser.open(`${url}/a?b=c`)
  isPage(t, page, 503, 'Signing in is not possible at the moment')
  t.match(page.body, 'Reason: session.unavailable')
  t.equal(linkOf(page), '/a?b=c')
  t.match(await (await browser.call(`${url}/a`)).json(), { reason: 'session.unavailable' })
})

t.test('a sign-in that fails says what to do, and leads back to where the person was', async t => {
  const { url, issuer } = await gatewayWithPages(t)
  const failed = 'The sign-in could not be completed'
  const strange = await new Browser().open(`${url}/oauth2/callback?code=a&state=b`)
  isPage(t, strange, 400, failed)
  t.match(strange.body, 'keeps no cookies')
  t.equal(linkOf(strange), '/')

  const browser = new Browser()
  issuer.person = null
  const cancelled = await browser.open(`${url}/reports?month=11`)
  isPage(t, cancelled, 400, failed)
  t.match(cancelled.body, 'It was cancelled')
  t.equal(linkOf(cancelled), '/reports?month=11')
  t.equal((await browser.open(cancelled.url)).status, 400, 'the same address again')

  issuer.person = 'ada'
  issuer.before = (request, response) => {
    if (request.url !== '/token') return false
    response.writeHead(503).end()
    return true
  }
  const down = await browser.open(`${url}/reports?month=12`)
  isPage(t, down, 503, 'Signing in is not possible at the moment')
  t.equal(linkOf(down), '/reports?month=12')
})

t.test('where there are several issuers a person chooses', async t => {
  const backend = await echo(t)
  const other = await signInGateway(t, backend.url)
  const { url } = await signInGateway(t, backend.url, {
    issuers: corp => `${issuerYaml('partners', other.issuer.url)}
  ${issuerYaml('staff', corp)}
  ${issuerYaml('machines', 'https://machines.example.com')}`,
    routes: `  a: { match: { ${hosts}, path: /a/* }, upstream: backend, plugins: [oidc: { issuer: corp }] }
  a2: { match: { ${hosts}, path: /a2/* }, upstream: backend, plugins: [any: [jwt: { issuer: machines }, oidc: { issuer: corp }]] }
  b: { match: { ${hosts}, path: /b/* }, upstream: backend, plugins: [oidc: { issuer: partners }] }
  c: { match: { hosts: ["*.127.0.0.1.example"], path: /c/* }, upstream: backend, plugins: [oidc: { issuer: staff }] }
  d: { match: { hosts: [one.example, two.example], path: /d/* }, upstream: backend, plugins: [oidc: { issuer: staff }] }
  e: { match: { hosts: [two.example], path: /e/* }, upstream: backend, plugins: [oidc: { issuer: corp }] }
`
  })
  const browser = new Browser()
  const page = await browser.open(`${url}/oauth2/sign-in?return_to=/a/1?b=c%26d`)
  isPage(t, page, 200, 'Sign in')
  const choices = ({ body }: Visit) =>
    [...body.matchAll(/<li><a href="([^"]*)">([^<]*)<\/a><\/li>/g)].map(([, href = '', text]) => [
      text,
      href.replaceAll('&amp;', '&')
    ])
  t.same(choices(page), [
    ['corp', '/oauth2/sign-in?issuer=corp&return_to=%2Fa%2F1%3Fb%3Dc%26d'],
    ['partners', '/oauth2/sign-in?issuer=partners&return_to=%2Fa%2F1%3Fb%3Dc%26d']
  ])
  const [[, href] = []] = choices(page)
  const done = await browser.open(`${url}${href}`)
  t.match([done.status, done.url], [200, `${url}/a/1?b=c&d`], 'and gets back to the page')

  const at = (host: string, query = '') =>
    new Browser().open(`${url}/oauth2/sign-in${query}`, { headers: { host }, until: () => true })
  const two = await at('two.example', '?return_to=//evil.example')
  t.same(choices(two), [
    ['staff', '/oauth2/sign-in?issuer=staff&return_to=%2F'],
    ['corp', '/oauth2/sign-in?issuer=corp&return_to=%2F']
  ])
  t.notMatch(two.body, 'partners', 'an issuer of another host')
  const one = await at('one.example')
  t.match([one.status, one.headers.location], [302, '/auth?'], 'where there is one, nobody is asked')
  const none = await at('three.example')
  isPage(t, none, 400, 'The sign-in could not be completed')
  t.notMatch(none.body, /corp|partners|staff/)

  for (const name of ['nobody', '__proto__', '<script>', '']) {
    const wrong = await browser.open(`${url}/oauth2/sign-in?issuer=${name}&return_to=/a/2`)
    isPage(t, wrong, 400, 'The sign-in could not be completed')
    t.equal(linkOf(wrong), '/oauth2/sign-in?return_to=%2Fa%2F2')
  }
})

/** SCREENSHOTS=FOLDER keeps what the pages look like, for people. */
async function keepScreenshot(tab: Tab, name: string): Promise<void> {
  const folder = process.env.SCREENSHOTS
  if (folder !== undefined) await writeFile(join(folder, `${name}.png`), await tab.screenshot())
}

/** In the page: what cannot be read, by the formula of WCAG 2.2 (1.4.3), and whether it has to be scrolled sideways. */
const judge = `(() => {
  const light = text => {
    const [r, g, b] = text.match(/[\\d.]+/g).map(Number).map(c => c / 255).map(c => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
    return .2126 * r + .7152 * g + .0722 * b
  }
  const ground = element => {
    for (let at = element; at; at = at.parentElement) {
      const { backgroundColor } = getComputedStyle(at)
      if (!/, 0\\)$/.test(backgroundColor)) return backgroundColor
    }
    return 'rgb(255, 255, 255)'
  }
  const faults = []
  for (const element of document.querySelectorAll('h1, p, a, button')) {
    const [low, high] = [light(getComputedStyle(element).color), light(ground(element))].sort((a, b) => a - b)
    if ((high + .05) / (low + .05) < 4.5) faults.push(element.outerHTML)
  }
  if (document.documentElement.scrollWidth > innerWidth) faults.push('scrolls sideways')
  if (document.querySelectorAll('h1').length !== 1 || document.querySelector('main') === null) faults.push('structure')
  return faults
})()`

t.test(
  'every page can be read: on a telephone and a large screen, light and dark',
  { skip: skipWithoutBrowser },
  async t => {
    const backend = await echo(t)
    const long = 'an-issuer-whose-name-is-longer-than-telephones-are-wide-in-2026'
    const { url, issuer } = await signInGateway(t, backend.url, {
      issuers: corp => issuerYaml(long, corp),
      upstreams: '\n  gone: { url: "http://127.0.0.1:9" }',
      routes: `${routes}  long: { match: { ${hosts}, path: /long }, upstream: backend, plugins: [oidc: { issuer: ${long} }] }\n`
    })
    const tab = await openTab(t)
    const look = async (name: string) => {
      for (const width of [320, 1200]) {
        for (const scheme of ['light', 'dark'] as const) {
          await tab.onScreen(width, scheme)
          t.same(await tab.evaluate(judge), [], `${name}, ${width} pixels, ${scheme}`)
          await keepScreenshot(tab, `${name}-${width}-${scheme}`)
        }
      }
    }
    await tab.goto(`${url}/oauth2/sign-in`)
    await look('choice')
    await tab.goto(`${url}/a`)
    t.match(await tab.evaluate('document.body.textContent'), 'x-forwarded-user', 'signed in')
    for (const path of ['/admin', '/gone', '/oauth2/sign-out', '/oauth2/callback?state=a']) {
      await tab.goto(`${url}${path}`)
      await look(path.replaceAll(/\W+/g, '-').slice(1))
    }
    await tab.goto(`${url}/oauth2/sign-out`)
    // The page that goes on to the issuer stays, when that does not answer.
    issuer.before = (request, response) =>
      request.url?.startsWith('/session/end') === true && response.writeHead(204).end() !== null
    await tab.evaluate("document.querySelector('button').click()")
    await tab.at('/oauth2/sign-out')
    await look('signed-out-there-too')
    await tab.goto(`${url}/oauth2/sign-out`)
    await look('signed-out')
  }
)
