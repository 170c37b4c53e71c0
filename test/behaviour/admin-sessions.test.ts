import { request } from 'node:http'
import { networkInterfaces } from 'node:os'
import t, { type Test } from 'tap'
import { Browser } from '../fixtures/browser.ts'
import { echoUpstream } from '../fixtures/echo.ts'
import { startRedis } from '../fixtures/redis.ts'
import { env, type SignInGateway, signInGateway } from '../fixtures/sign-in.ts'
import { skipWithout } from '../fixtures/tool.ts'
import { buildGateway } from '../helper.ts'

interface Listed {
  readonly sessions: readonly Record<string, unknown>[]
  readonly cut: boolean
}

async function signIn({ url, issuer }: SignInGateway, person: string): Promise<Browser> {
  issuer.person = person
  const browser = new Browser()
  await browser.open(`${url}/a`)
  return browser
}

async function list(admin: string, query = ''): Promise<Listed> {
  return (await (await fetch(`${admin}/sessions${query}`)).json()) as Listed
}

function remove(admin: string, path: string): Promise<Response> {
  return fetch(`${admin}/sessions${path}`, { method: 'DELETE' })
}

/** Says whether there is a session for what the browser holds. */
async function isSignedIn({ url }: SignInGateway, browser: Browser): Promise<boolean> {
  return (await browser.call(`${url}/a`)).status === 200
}

async function start(t: Test, added = {}): Promise<SignInGateway> {
  return signInGateway(t, (await echoUpstream(t)).url, added)
}

function lists(t: Test, added: () => Promise<object | null>): void {
  t.test('who is signed in is listed, and nothing that would let anybody in', async t => {
    const options = await added()
    if (options === null) return skipWithout(t, 'redis-server')
    const gateway = await start(t, options)
    t.same(await list(gateway.admin), { sessions: [], cut: false })
    const before = Date.now()
    const ada = await signIn(gateway, 'ada')
    await signIn(gateway, 'bob')
    const answer = await fetch(`${gateway.admin}/sessions`)
    t.equal(answer.status, 200)
    t.equal(answer.headers.get('cache-control'), 'no-store')
    const text = await answer.text()
    const { sessions, cut } = JSON.parse(text) as Listed
    t.equal(cut, false)
    t.same(sessions.map(({ subject }) => subject).sort(), ['ada', 'bob'])
    const one = sessions.find(({ subject }) => subject === 'ada') as Record<string, unknown>
    t.match(one, { issuer: 'corp', email: 'ada@example.com', host: '127.0.0.1', idle: 3_600_000 })
    t.match(one.handle, /^[0-9a-f]{64}$/)
    t.ok(Date.parse(one.createdAt as string) >= before)
    t.ok(Date.parse(one.endsAt as string) > Date.parse(one.refreshAt as string))
    t.same(
      Object.keys(one).sort(),
      ['createdAt', 'email', 'endsAt', 'handle', 'host', 'idle', 'issuer', 'refreshAt', 'subject'],
      'and nothing else'
    )
    const cookie = decodeURIComponent(ada.cookie(gateway.url, 'sallyport') as string)
    const id = cookie.slice(0, cookie.indexOf('.'))
    t.notOk(text.includes(id), 'not the id')
    for (const forged of [one.handle as string, cookie.replace(id, one.handle as string)]) {
      const stolen = await fetch(`${gateway.url}/a`, {
        headers: { cookie: `sallyport=${encodeURIComponent(forged)}` }
      })
      t.equal(stolen.status, 401, 'a handle opens nothing')
    }
  })

  t.test('one session is ended by its handle, and all of a person by issuer and subject', async t => {
    const options = await added()
    if (options === null) return skipWithout(t, 'redis-server')
    const gateway = await start(t, options)
    const { admin, lines } = gateway
    const ada = [await signIn(gateway, 'ada'), await signIn(gateway, 'ada'), await signIn(gateway, 'ada')]
    const bob = await signIn(gateway, 'bob')
    const of = async (query: string) => (await list(admin, query)).sessions.length
    t.equal(await of('?issuer=corp&subject=ada'), 3)
    t.equal(await of('?issuer=corp'), 4)
    t.equal(await of('?subject=bob'), 1)
    t.match(await list(admin, '?limit=2'), { sessions: { length: 2 }, cut: true })
    t.match(await list(admin, '?limit=4'), { sessions: { length: 4 }, cut: false })

    const [{ handle } = { handle: '' }] = (await list(admin, '?issuer=corp&subject=bob')).sessions
    t.equal((await remove(admin, `/${handle}`)).status, 204)
    t.equal(await isSignedIn(gateway, bob), false)
    t.equal(await isSignedIn(gateway, ada[0] as Browser), true)
    t.equal((await remove(admin, `/${handle}`)).status, 404, 'once')

    const ended = await remove(admin, '?issuer=corp&subject=ada')
    t.equal(ended.status, 200)
    t.same(await ended.json(), { ended: 3 })
    for (const browser of ada) t.equal(await isSignedIn(gateway, browser), false)
    t.same(await (await remove(admin, '?issuer=corp&subject=ada')).json(), { ended: 0 })

    t.match(
      lines.filter(({ msg }) => String(msg).includes('by an admin')),
      [
        { issuer: 'corp', subject: 'bob', host: '127.0.0.1', handle, msg: 'a session was ended by an admin' },
        { issuer: 'corp', subject: 'ada', ended: 3 },
        { issuer: 'corp', subject: 'ada', ended: 0 }
      ]
    )
  })
}

t.test('with sessions in memory', async t => lists(t, async () => ({})))

t.test('with sessions in Redis', async t =>
  lists(t, async () => {
    const redis = await startRedis(t)
    if (redis === null) return null
    await redis.client.flushall()
    return {
      routes: `  console:
    match: { hosts: [127.0.0.1], path: /* }
    upstream: backend
    plugins: [oidc: { issuer: corp }]
redis: { url: { env: REDIS_URL } }
`,
      options: { env: { ...env, REDIS_URL: redis.url } }
    }
  })
)

t.test('a Redis that is down is said to be', async t => {
  const redis = await startRedis(t)
  if (redis === null) return skipWithout(t, 'redis-server')
  const gateway = await start(t, {
    routes: `  console: { match: { path: /* }, upstream: backend, plugins: [oidc: { issuer: corp }] }
redis: { url: { env: REDIS_URL } }
`,
    options: { env: { ...env, REDIS_URL: redis.url } }
  })
  redis.freeze()
  const answer = await fetch(`${gateway.admin}/sessions`)
  t.equal(answer.status, 503)
  t.same(await answer.json(), { error: 'the store of sessions does not answer' })
})

t.test('what is no question is told so, and ends nothing', async t => {
  const gateway = await start(t)
  const ada = await signIn(gateway, 'ada')
  const rows: [string, string, number][] = [
    ['GET', '?limit=0', 400],
    ['GET', '?limit=1001', 400],
    ['GET', '?limit=1e2', 400],
    ['GET', '?limit=-1', 400],
    ['GET', '?subject=', 400],
    ['GET', '?subject=ada&subject=bob', 400],
    ['GET', '?issuer=nobody', 400],
    ['GET', '?issuer=constructor', 400],
    ['GET', '?token=a', 400],
    ['GET', '?__proto__=a', 400],
    ['DELETE', '', 400],
    ['DELETE', '?issuer=corp', 400],
    ['DELETE', '?subject=ada', 400],
    ['DELETE', '?issuer=corp&subject=', 400],
    ['DELETE', '?issuer=corp&subject=ada&limit=1', 400],
    ['DELETE', '/', 404],
    ['DELETE', '/a', 404],
    ['DELETE', `/${'a'.repeat(64)}`, 404],
    ['DELETE', `/${'a'.repeat(5000)}`, 404],
    ['DELETE', '/*', 404],
    ['GET', `/${'a'.repeat(64)}`, 404],
    ['POST', '', 404]
  ]
  for (const [method, rest, status] of rows) {
    const answer = await fetch(`${gateway.admin}/sessions${rest}`, { method })
    t.equal(answer.status, status, `${method} /sessions${rest.slice(0, 60)}`)
  }
  t.equal(await isSignedIn(gateway, ada), true)
})

t.test('where nobody signs in there are no sessions, and it says so', async t => {
  const { url } = await echoUpstream(t)
  const { admin } = await buildGateway(
    t,
    `upstreams: { backend: { url: "${url}" } }
routes: { open: { match: { path: /* }, public: true, upstream: backend } }
`
  )
  for (const [method, path] of [
    ['GET', ''],
    ['DELETE', '?issuer=corp&subject=ada'],
    ['DELETE', `/${'a'.repeat(64)}`]
  ] as const) {
    const answer = await fetch(`${admin}/sessions${path}`, { method })
    t.equal(answer.status, 404)
    t.match(await answer.json(), { error: /no `session`/ })
  }
})

interface Call {
  readonly method?: string
  readonly path?: string
  readonly headers?: Record<string, string>
  /** Address to connect to. */
  readonly to?: string
  /** Address to connect from. */
  readonly from?: string
}

interface Answer {
  readonly status: number | undefined
  readonly headers: Record<string, unknown>
  readonly body: string
}

function ask(port: number, { method, path = '/sessions', headers = {}, to, from }: Call): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const host = to ?? '127.0.0.1'
    const options = { method, port, host, path, headers, localAddress: from, agent: false }
    const call = request(options, async response => {
      const { date: _, ...rest } = response.headers
      const body = (await response.toArray()).join('')
      resolve({ status: response.statusCode, headers: rest, body })
    })
    call.once('error', reject)
    call.end()
  })
}

/** An address of this machine that is not loopback. */
function outerAddress(): string | null {
  const all = Object.values(networkInterfaces()).flatMap(list => list ?? [])
  return all.find(({ family, internal }) => family === 'IPv4' && !internal)?.address ?? null
}

t.test('only a caller on this machine finds them; to others there is no such path', async t => {
  const gateway = await start(t, {
    listeners: `listeners:
  http: { host: 127.0.0.1, port: 0 }
  admin: { host: 0.0.0.0, port: 0 }
`
  })
  const ada = await signIn(gateway, 'ada')
  const port = Number(new URL(gateway.admin).port)
  const [{ handle } = { handle: '' }] = (await list(`http://127.0.0.1:${port}`)).sessions
  const nowhere = await ask(port, { path: '/nowhere' })
  t.equal(nowhere.status, 404)

  const outer = outerAddress()
  const strangers: [string, Call][] = [
    ['from another loopback address, as a mesh has one', { from: '127.0.0.6' }],
    ['to another loopback address', { to: '127.0.0.2', headers: { host: '127.0.0.1' } }],
    ['by a name that points here (DNS rebinding)', { headers: { host: 'evil.example' } }],
    ['by a name that points here, with a port', { headers: { host: `evil.example:${port}` } }],
    ['by a name that begins as ours', { headers: { host: 'localhost.evil.example' } }],
    ['by a name that ends as ours', { headers: { host: 'evil.localhost' } }],
    ['by the address of another', { headers: { host: '127.0.0.11' } }],
    ['by no name', { headers: { host: '.' } }],
    ['from a page', { headers: { origin: 'http://evil.example' } }],
    ['from a page of this very address', { headers: { origin: `http://127.0.0.1:${port}` } }],
    ['from a page without a name', { headers: { origin: 'null' } }],
    ['from a script of another site', { headers: { 'sec-fetch-site': 'cross-site' } }],
    ['from a script of this machine', { headers: { 'sec-fetch-site': 'same-site' } }],
    ['from a script of this very address', { headers: { 'sec-fetch-site': 'same-origin' } }],
    ['through a proxy', { headers: { 'x-forwarded-for': '127.0.0.1' } }],
    ['through a proxy that says nothing', { headers: { 'x-forwarded-for': '' } }],
    ['through a proxy that is new', { headers: { 'X-Forwarded-Anything': 'a' } }],
    ['through a proxy of RFC 7239', { headers: { forwarded: 'for=127.0.0.1' } }],
    ['through a proxy that says Via', { headers: { via: '1.1 a' } }],
    ['through nginx', { headers: { 'x-real-ip': '127.0.0.1' } }],
    ['through Envoy', { headers: { 'x-envoy-external-address': '192.0.2.1' } }],
    ['through Linkerd', { headers: { 'l5d-client-id': 'a' } }],
    ...(outer === null
      ? []
      : [['from outside', { to: outer, headers: { host: '127.0.0.1' } }] as [string, Call]])
  ]
  for (const [who, call] of strangers) {
    for (const [method, path] of [
      ['GET', '/sessions'],
      ['DELETE', `/sessions/${handle}`],
      ['DELETE', '/sessions?issuer=corp&subject=ada'],
      ['DELETE', `/sessions/${'a'.repeat(200)}`]
    ] as const)
      t.same(await ask(port, { ...call, method, path }), nowhere, `${method} ${who}`)
  }
  t.equal(await isSignedIn(gateway, ada), true)

  const locals: [string, Call][] = [
    ['as localhost', { headers: { host: `localhost:${port}` } }],
    ['through a forwarded port of another number', { headers: { host: '127.0.0.1:1234' } }],
    ['by the address of IPv6', { headers: { host: `[::1]:${port}` } }],
    ['by hand in a browser', { headers: { 'sec-fetch-site': 'none' } }]
  ]
  for (const [who, call] of locals) t.equal((await ask(port, call)).status, 200, who)
})

t.test('a gateway that is told to proxy to itself does not get there', async t => {
  const { url } = await echoUpstream(t)
  const { admin } = await start(t)
  const other = await buildGateway(
    t,
    `upstreams: { backend: { url: "${url}" }, loop: { url: "${admin}" } }
routes: { loop: { match: { path: /* }, public: true, upstream: loop } }
`
  )
  t.equal((await fetch(`${other.url}/readyz`)).status, 200)
  t.equal((await fetch(`${other.url}/sessions`)).status, 404)
})
