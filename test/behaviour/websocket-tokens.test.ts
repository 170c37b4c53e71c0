import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { RawClient } from '../fixtures/frames.ts'
import { type LocalIssuer, localIssuer } from '../fixtures/issuer.ts'
import { type SocketUpstream, socketUpstream } from '../fixtures/web-sockets.ts'
import { buildGateway, type RunningGateway } from '../helper.ts'

t.setTimeout(120_000)

interface Guarded {
  gateway: RunningGateway
  issuer: LocalIssuer
  upstream: SocketUpstream
  token: string
}

async function guarded(t: Test, jwt = '', protocol = ''): Promise<Guarded> {
  const issuer = await localIssuer(t)
  const upstream = await socketUpstream(t, { server: { handleProtocols: chooseChat } })
  const gateway = await buildGateway(t, yaml(issuer, upstream.url, jwt, protocol))
  return { gateway, issuer, upstream, token: await issuer.sign() }
}

function yaml(issuer: LocalIssuer, url: string, jwt: string, protocol: string): string {
  return `upstreams: { backend: { url: "${url}" } }
issuers: { corp: { issuer: "${issuer.url}", audience: [orders-api], algorithms: [ES256] } }
plugins: [access-log]
routes:
  live:
    match: { path: /*, protocol: websocket }
    upstream: backend
    plugins: [jwt: { issuer: corp${jwt} }${protocol}]
`
}

function chooseChat(offers: Set<string>): string | false {
  return offers.has('chat') ? 'chat' : false
}

const encoded = (token: string) =>
  `base64url.bearer.authorization.k8s.io.${Buffer.from(token).toString('base64url')}`

t.test('tokens in the offered subprotocols', async t => {
  const { gateway, upstream, token } = await guarded(t)
  const rows: [
    name: string,
    offer: string,
    status: number,
    forwarded: string | undefined,
    answer: string | undefined
  ][] = [
    ['a marker and the token', `bearer, ${token}`, 101, undefined, 'bearer'],
    ['and a subprotocol', `chat, bearer, ${token}`, 101, 'chat', 'chat'],
    ['and a subprotocol behind it', `bearer, ${token}, chat`, 101, 'chat', 'chat'],
    ['one that the upstream does not know', `bearer, ${token}, other`, 101, 'other', undefined],
    ['as Kubernetes has it', `${encoded(token)}, chat`, 101, 'chat', 'chat'],
    ['as Kubernetes has it, alone', encoded(token), 101, undefined, undefined],
    ['no token behind the marker', 'chat, bearer', 401, undefined, undefined],
    ['no token', 'chat', 401, undefined, undefined],
    ['a subprotocol in place of the token', 'bearer, chat', 401, undefined, undefined],
    ['a forged token', `bearer, ${token.slice(0, -4)}AAAA`, 401, undefined, undefined],
    ['not base64url', 'base64url.bearer.authorization.k8s.io.a~b, chat', 401, undefined, undefined],
    ['two tokens', `bearer, ${token}, ${encoded(token)}`, 400, undefined, undefined],
    ['the same token twice', `bearer, ${token}, bearer, ${token}`, 400, undefined, undefined]
  ]
  for (const [name, offer, status, forwarded, answer] of rows) {
    const before = upstream.handshakes.length
    const answered = await new RawClient(t, gateway.port).open({
      headers: { 'sec-websocket-protocol': offer }
    })
    t.equal(answered.status, status, name)
    t.equal(answered.headers['sec-websocket-protocol'], answer, name)
    t.notOk(JSON.stringify(answered).includes(token), 'not in the answer')
    if (status !== 101) {
      t.equal(upstream.handshakes.length, before, `${name}: not dialled`)
      continue
    }
    const handshake = upstream.handshakes.at(-1)!
    t.equal(handshake.headers['sec-websocket-protocol'], forwarded, name)
    t.notOk(handshake.rawHeaders.join().includes(token.slice(-20)), 'not at the upstream')
    t.ok(handshake.headers['x-forwarded-user'])
  }
  t.notOk(JSON.stringify(gateway.lines).includes(token), 'not in the log')
})

t.test('a header is a credential too, and two are one too many', async t => {
  const { gateway, token } = await guarded(t)
  const open = async (headers: Record<string, string>) =>
    (await new RawClient(t, gateway.port).open({ headers })).status
  t.equal(await open({ authorization: `Bearer ${token}` }), 101)
  t.equal(await open({ authorization: `Bearer ${token}`, 'sec-websocket-protocol': 'chat' }), 101)
  t.equal(await open({ authorization: `Bearer ${token}`, 'sec-websocket-protocol': `bearer, ${token}` }), 400)
  t.equal(await open({ authorization: 'Basic YTpi', 'sec-websocket-protocol': `bearer, ${token}` }), 400)
  t.equal(await open({}), 401)
})

t.test('a token in a cookie, from pages of listed origins', async t => {
  const origin = 'https://a.example.com'
  const { gateway, upstream, token } = await guarded(
    t,
    ', from: [{ cookie: session }]',
    `, protocol: { origins: ["${origin}"] }`
  )
  const open = async (headers: Record<string, string>) =>
    (await new RawClient(t, gateway.port).open({ headers })).status
  t.equal(await open({ origin, cookie: `a=1; session=${token}; b=2` }), 101)
  t.equal(upstream.handshakes[0]?.headers.cookie, 'a=1; b=2')
  t.equal(await open({ origin, cookie: `session="${token}"` }), 101)
  t.equal(upstream.handshakes[1]?.headers.cookie, undefined)
  t.equal(await open({ origin: 'https://evil.net', cookie: `session=${token}` }), 403)
  t.equal(await open({ cookie: `session=${token}` }), 403)
  t.equal(await open({ origin, cookie: `session=${token}; session=${token}` }), 400)
  t.equal(await open({ origin, cookie: `session=${token}`, authorization: `Bearer ${token}` }), 400)
  t.equal(await open({ origin, authorization: `Bearer ${token}` }), 401, 'the header is not listed')
  t.equal(await open({ origin, cookie: 'other=1' }), 401)
})

t.test('a token in the query, where a route says so', async t => {
  const { gateway, upstream, token } = await guarded(t, ', from: [{ query: access_token }]')
  const open = async (path: string) => (await new RawClient(t, gateway.port).open({ path })).status
  t.equal(await open(`/a?x=1&access_token=${token}&y=%20z`), 101)
  t.equal(upstream.handshakes[0]?.url, '/a?x=1&y=%20z')
  t.equal(await open(`/a?access%5ftoken=${token}`), 101)
  t.equal(upstream.handshakes[1]?.url, '/a')
  t.equal(await open(`/a?access_token=${token}&access_token=${token}`), 400)
  t.equal(await open('/a?access_token=x'), 401)
  t.equal(await open('/a'), 401)
  t.notOk(JSON.stringify(gateway.lines).includes(token), 'not in the log')
  const other = await guarded(t)
  t.equal(
    (await new RawClient(t, other.gateway.port).open({ path: `/a?access_token=${other.token}` })).status,
    401
  )
})

t.test('configurations that would let other sites in, or mean nothing', async t => {
  const issuer = await localIssuer(t)
  const rows: [jwt: string, protocol: string, message: RegExp][] = [
    [', from: [{ cookie: session }]', '', /lets pages of any site in/],
    [', from: [{ cookie: session }]', ', protocol: { subprotocols: [a] }', /lets pages of any site in/],
    [', from: [elsewhere]', '', /from/]
  ]
  for (const [jwt, protocol, message] of rows)
    await t.rejects(buildGateway(t, yaml(issuer, 'http://127.0.0.1:1', jwt, protocol)), { message })
  const http = yaml(issuer, 'http://127.0.0.1:1', ', from: [header, subprotocol]', '').replace(
    ', protocol: websocket',
    ''
  )
  await t.rejects(buildGateway(t, http), { message: /needs a route with protocol: websocket/ })
})

const browser = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync)

t.test('a browser signs in with a subprotocol', { skip: browser === undefined && 'no browser' }, async t => {
  const { gateway, upstream, token } = await guarded(t)
  let report: (text: string) => void = () => {}
  const reported = new Promise<string>(resolve => (report = resolve))
  const page = createServer((request, response) => {
    if (request.url?.startsWith('/report')) report(decodeURIComponent(request.url.slice(8)))
    response.setHeader('content-type', 'text/html')
    response.end(`<script>
      const socket = new WebSocket('ws://127.0.0.1:${gateway.port}/live', ['bearer', '${token}'])
      const say = text => fetch('/report?' + encodeURIComponent(text))
      socket.onopen = () => socket.send('from a browser')
      socket.onmessage = ({ data }) => say(socket.protocol + ': ' + data)
      socket.onerror = () => say('error')
    </script>`)
  })
  page.listen(0, '127.0.0.1')
  await once(page, 'listening')
  t.teardown(() => {
    page.closeAllConnections()
    page.close()
  })
  const profile = await mkdtemp(join(tmpdir(), 'sallyport-browser-'))
  const url = `http://127.0.0.1:${(page.address() as AddressInfo).port}/`
  const options = ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage']
  const child = execFile(browser as string, [
    ...options,
    `--user-data-dir=${profile}`,
    '--remote-debugging-port=0',
    url
  ])
  t.teardown(async () => {
    child.kill('SIGKILL')
    await rm(profile, { recursive: true, force: true, maxRetries: 5 })
  })
  t.equal(await reported, 'bearer: from a browser')
  t.match(upstream.handshakes[0]?.headers, { origin: url.slice(0, -1) })
})
