import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { connect, type IncomingHttpHeaders } from 'node:http2'
import { request as requestHttps } from 'node:https'
import t, { type Test } from 'tap'
import WebSocket from 'ws'
import mtls, { type MtlsOptions } from '../../plugins/mtls.ts'
import type { ClientCertificate } from '../../src/gate/client-certificate.ts'
import { authority, type Issued } from '../fixtures/certificates.ts'
import { call, openSession, statusOf } from '../fixtures/grpc/raw-call.ts'
import { rawUpstream, succeed } from '../fixtures/grpc/raw-upstream.ts'
import { testRoute } from '../fixtures/route.ts'
import { socketUpstream } from '../fixtures/web-sockets.ts'
import { buildGateway, echo } from '../helper.ts'

interface Asking {
  ca: string
  cert?: string
  key?: string
  headers?: Record<string, string>
}

interface Answer {
  status: number
  headers: IncomingHttpHeaders
  body: { reason?: string; headers: Record<string, string> }
}

async function overHttp1(port: number, options: Asking): Promise<Answer> {
  const request = requestHttps({
    host: '127.0.0.1',
    port,
    servername: 'localhost',
    agent: false,
    path: '/a',
    ...options
  })
  request.end()
  const [response] = await once(request, 'response')
  let text = ''
  for await (const chunk of response) text += chunk
  return { status: response.statusCode, headers: response.headers, body: JSON.parse(text) }
}

async function overHttp2(t: Test, port: number, { headers = {}, ...options }: Asking): Promise<Answer> {
  const session = connect(`https://localhost:${port}`, options)
  session.on('error', () => undefined)
  t.teardown(() => session.destroy())
  const stream = session.request({ ':path': '/a', ...headers })
  const [got] = await once(stream, 'response')
  let text = ''
  for await (const chunk of stream.setEncoding('utf8')) text += chunk
  return { status: got[':status'], headers: got, body: JSON.parse(text) }
}

async function start(t: Test) {
  const [servers, people] = [await authority(t), await authority(t, '/O=corp/CN=people')]
  const server = await servers.leaf({ names: ['DNS:localhost', 'IP:127.0.0.1'] })
  const { url } = await echo(t)
  const calls: Record<string, unknown>[] = []
  const grpc = await rawUpstream(t, seen => {
    calls.push(seen.headers)
    succeed(seen)
  })
  const sockets = await socketUpstream(t)
  const { gateway } = await buildGateway(
    t,
    `listeners:
  http: { host: 127.0.0.1, port: 0 }
  https: { host: 127.0.0.1, port: 0, tls: { cert: { file: ${server.certPath} }, key: { file: ${server.keyPath} }, clientCa: { file: ${people.certPath} } } }
  admin: { host: 127.0.0.1, port: 0 }
upstreams:
  backend: { url: "${url}" }
  calls: { url: "${grpc.url}", protocol: h2c }
  live: { url: "${sockets.url}" }
routes:
  a: { match: { path: /a }, upstream: backend, plugins: [{ mtls: { san: ["spiffe://corp/*"] } }] }
  live: { match: { path: /live, protocol: websocket }, upstream: live, plugins: [{ mtls: { san: ["spiffe://corp/*"] } }] }
  calls: { match: { protocol: grpc }, upstream: calls, plugins: [{ mtls: { san: ["spiffe://corp/*"] } }] }
`
  )
  const { http, https } = gateway.addresses
  return {
    http: String(http),
    port: Number(new URL(String(https)).port),
    ca: servers.cert,
    people,
    calls,
    sockets
  }
}

t.test(
  'a certificate opens the route over HTTP/1, HTTP/2 and gRPC, and no header stands for one',
  async t => {
    const { http, port, ca, people, calls } = await start(t)
    const leaf = (name: string) =>
      people.leaf({ use: 'clientAuth', names: [name], subject: '/O=corp/CN=orders' })
    const good = await leaf('URI:spiffe://corp/ns/shop/sa/orders')
    const foreign = await leaf('URI:spiffe://other/orders')
    const own = ({ cert, key }: Issued) => ({ ca, cert, key })
    const xfcc = 'By=x;Hash=y;URI=spiffe://corp/orders;Subject="CN=orders"'
    const headers = { 'x-forwarded-client-cert': xfcc, 'x-forwarded-user': 'root', 'x-client-cert': 'x' }

    for (const [name, ask] of [
      ['HTTP/1', (options: Asking) => overHttp1(port, options)],
      ['HTTP/2', (options: Asking) => overHttp2(t, port, options)]
    ] as const) {
      const accepted = await ask({ ...own(good), headers })
      t.equal(accepted.status, 200, name)
      t.equal(accepted.body.headers['x-forwarded-user'], 'spiffe://corp/ns/shop/sa/orders', name)
      t.equal(accepted.body.headers['x-forwarded-client-cert'], undefined, name)
      const none = await ask({ ca, headers })
      t.match(none, { status: 401, body: { reason: 'token.missing' } }, name)
      t.match(none.headers['www-authenticate'], /realm="sallyport"/, name)
      const other = await ask({ ...own(foreign), headers })
      t.match(other, { status: 401, body: { reason: 'token.invalid' } }, name)
    }
    t.equal((await fetch(`${http}/a`, { headers })).status, 401, 'nor on the listener without TLS')

    const door = { name: 'https', port, tls: null }
    const session = (options: object) =>
      openSession(
        t,
        { ...door, tls: { ca: Buffer.from(ca), caFile: '', certFile: '', keyFile: '' } },
        {
          servername: 'localhost',
          ...options
        }
      )
    t.equal(statusOf(await call(session({}), '/shop.Orders/Get', headers)), 16)
    t.equal(statusOf(await call(session(own(foreign)), '/shop.Orders/Get')), 16)
    t.same(calls, [])
    t.equal(statusOf(await call(session(own(good)), '/shop.Orders/Get', headers)), 0)
    t.match(calls, [
      { 'x-forwarded-user': 'spiffe://corp/ns/shop/sa/orders', 'x-forwarded-client-cert': undefined }
    ])
  }
)

t.test('a WebSocket opens with the certificate of its connection', async t => {
  const { port, ca, people, sockets } = await start(t)
  const good = await people.leaf({ use: 'clientAuth', names: ['URI:spiffe://corp/prices'] })
  const options = { ca, servername: 'localhost' }
  const refused = new WebSocket(`wss://127.0.0.1:${port}/live`, options)
  refused.on('error', () => undefined)
  const [, response] = await once(refused, 'unexpected-response')
  t.equal(response.statusCode, 401)
  response.destroy()
  const accepted = new WebSocket(`wss://127.0.0.1:${port}/live`, {
    ...options,
    cert: good.cert,
    key: good.key
  })
  t.teardown(() => accepted.terminate())
  await once(accepted, 'open')
  t.equal(sockets.handshakes.length, 1)
  t.equal(sockets.handshakes[0]?.headers['x-forwarded-user'], 'spiffe://corp/prices')
})

function certificate(names: Partial<ClientCertificate>): ClientCertificate {
  const empty = {
    dns: [],
    uri: [],
    email: [],
    subject: '',
    issuer: 'O=corp\nCN=people',
    fingerprint256: 'AB',
    serial: '1'
  }
  return { ...empty, notAfter: new Date(Date.now() + 60_000), ...names }
}

async function subjectOf(t: Test, options: MtlsOptions, names: Partial<ClientCertificate>) {
  const route = await testRoute(t, [[mtls, options]], {
    wrapRequest: request => Object.assign(request, { clientCertificate: certificate(names) }),
    handler: request => request.gateway.identity
  })
  const answer = await fetch(`${route.url}/a`)
  return (await answer.json()) as { subject?: string; reason?: string; issuer?: string; expiresAt?: number }
}

t.test('patterns take what they say and nothing else', async t => {
  const corp = { san: ['spiffe://corp/*'] }
  const web = { san: ['spiffe://corp/ns/*/sa/web'] }
  const rows: [options: MtlsOptions, names: Partial<ClientCertificate>, subject: string | undefined][] = [
    [corp, { uri: ['spiffe://corp/a'] }, 'spiffe://corp/a'],
    [corp, { uri: ['spiffe://corp/a/b/c'] }, 'spiffe://corp/a/b/c'],
    [corp, { uri: ['https://x', 'spiffe://corp/b'] }, 'spiffe://corp/b'],
    [corp, { uri: ['spiffe://corp'] }, undefined],
    [corp, { uri: ['spiffe://corp/'] }, undefined],
    [corp, { uri: ['spiffe://corp/a/'] }, undefined],
    [corp, { uri: ['spiffe://corp//a'] }, undefined],
    [corp, { uri: ['spiffe://corp/../a'] }, undefined],
    [corp, { uri: ['spiffe://corp/./a'] }, undefined],
    [corp, { uri: ['spiffe://corp/%2e%2e/a'] }, undefined],
    [corp, { uri: ['spiffe://corp/a?b'] }, undefined],
    [corp, { uri: ['spiffe://corp/a#b'] }, undefined],
    [corp, { uri: ['spiffe://corp/a b'] }, undefined],
    [corp, { uri: ['spiffe://corp/a\nb'] }, undefined],
    [corp, { uri: ['spiffe://corp.evil/a'] }, undefined],
    [corp, { uri: ['spiffe://CORP/a'] }, undefined],
    [corp, { uri: ['SPIFFE://corp/a'] }, undefined],
    [corp, { uri: ['xspiffe://corp/a'] }, undefined],
    [corp, { uri: ['https://evil/?spiffe://corp/a'] }, undefined],
    [corp, { dns: ['spiffe://corp/a'], email: ['spiffe://corp/a'] }, undefined],
    [corp, { subject: 'CN=spiffe://corp/a' }, undefined],
    [web, { uri: ['spiffe://corp/ns/shop/sa/web'] }, 'spiffe://corp/ns/shop/sa/web'],
    [web, { uri: ['spiffe://corp/ns/shop/x/sa/web'] }, undefined],
    [web, { uri: ['spiffe://corp/ns//sa/web'] }, undefined],
    [web, { uri: ['spiffe://corp/ns/../sa/web'] }, undefined],
    [web, { uri: ['spiffe://corp/ns/shop/sa/web/more'] }, undefined],
    [{ san: ['spiffe://corp/a'] }, { uri: ['spiffe://corp/a'] }, 'spiffe://corp/a'],
    [{ san: ['spiffe://corp/a'] }, { uri: ['spiffe://corp/a/b'] }, undefined],
    [{ san: ['urn:uuid:1'] }, { uri: ['urn:uuid:1'] }, 'urn:uuid:1'],
    [{ san: ['*.corp.example'] }, { dns: ['A.Corp.Example'] }, 'a.corp.example'],
    [{ san: ['*.corp.example'] }, { dns: ['a.b.corp.example'] }, undefined],
    [{ san: ['*.corp.example'] }, { dns: ['corp.example', '.corp.example', 'acorp.example'] }, undefined],
    [{ san: ['*.corp.example'] }, { dns: ['*.corp.example'] }, undefined],
    [{ san: ['*.corp.example'] }, { uri: ['a.corp.example'], email: ['a.corp.example'] }, undefined],
    [{ san: ['a.corp.example'] }, { dns: ['a.corp.example'] }, 'a.corp.example'],
    [{ san: ['a.corp.example'] }, { dns: ['a.corp.example.', 'a.corp.example.evil'] }, undefined],
    [{ san: ['*@corp.example'] }, { email: ['ann@Corp.Example'] }, 'ann@Corp.Example'],
    [
      { san: ['*@corp.example'] },
      { email: ['@corp.example', 'a@b@corp.example', 'a b@corp.example'] },
      undefined
    ],
    [{ san: ['*@corp.example'] }, { email: ['a@corp.example.evil', 'a@xcorp.example'] }, undefined],
    [{ san: ['ann@corp.example'] }, { email: ['Ann@corp.example'] }, undefined],
    [{ cn: ['orders'] }, { subject: 'O=corp\nCN=orders' }, 'orders'],
    [{ cn: ['orders'] }, { subject: 'O=corp\nCN=Orders' }, undefined],
    [{ cn: ['orders-*'] }, { subject: 'CN=orders-7' }, 'orders-7'],
    [{ cn: ['orders-*'] }, { subject: 'CN=orders-' }, undefined],
    [{ cn: ['orders'] }, { subject: 'CN=orders\nCN=admin' }, undefined],
    [{ cn: ['orders'] }, { subject: 'CN=admin + CN=orders' }, undefined],
    [{ cn: ['orders'] }, { subject: 'O=x + CN=orders' }, undefined],
    [{ cn: ['*'] }, { subject: 'CN=a\\0ACN=b' }, undefined],
    [{ cn: ['*'] }, { subject: 'CN=' }, undefined],
    [{ cn: ['*'] }, { subject: 'O=corp' }, undefined],
    [{ cn: ['orders'] }, { subject: 'OU=CN=orders' }, undefined],
    [{ cn: ['orders'] }, { dns: ['orders'] }, undefined],
    [{ san: ['b.example', 'a.example'] }, { dns: ['a.example', 'b.example'] }, 'b.example'],
    [{ san: ['a.example'], cn: ['orders'] }, { subject: 'CN=orders', dns: ['a.example'] }, 'a.example'],
    [{ san: ['a.example'], cn: ['orders'] }, { subject: 'CN=orders', dns: ['b.example'] }, 'orders']
  ]
  for (const [options, names, subject] of rows) {
    const answer = await subjectOf(t, options, names)
    const what = `${JSON.stringify(options)} ${JSON.stringify(names)}`
    t.equal(answer.subject, subject, what)
    if (subject === undefined) t.equal(answer.reason, 'token.invalid', what)
    else t.match(answer, { kind: 'mtls', issuer: 'O=corp, CN=people', claims: { fingerprint: 'AB' } })
  }
})

t.test('what OpenSSL lets a subject hold makes no common name that it is not', async t => {
  const ca = await authority(t)
  const rows: [subject: string, plain: boolean][] = [
    ['/O=corp/CN=orders', true],
    ['/O=CN=orders/CN=orders', true],
    ['/CN=admin, CN=orders', false],
    ['/CN=admin\\, CN=orders', false],
    ['/CN=admin+CN=orders', false],
    ['/CN=admin\\+CN=orders', false],
    ['/CN=admin/CN=orders', false],
    ['/O=x\nCN=orders/CN=admin', false],
    ['/O=x\\0ACN=orders/CN=admin', false],
    ['/CN= orders', false],
    ['/CN=orders ', false]
  ]
  for (const [subject, plain] of rows) {
    const { cert } = await ca.leaf({ subject })
    const read = { subject: new X509Certificate(cert).subject }
    t.equal((await subjectOf(t, { cn: ['orders'] }, read)).subject, plain ? 'orders' : undefined, subject)
  }
  // No tool writes these, and nobody asks a forger for tools.
  const { cert } = await ca.leaf({ subject: '/O=corp/CN=orders~admin' })
  for (const byte of [0x00, 0x0a, 0x0d, 0x1b]) {
    const der = new X509Certificate(cert).raw
    der[der.indexOf('orders~admin') + 'orders'.length] = byte
    const read = { subject: new X509Certificate(der).subject }
    for (const cn of ['orders', 'orders*', '*'])
      t.equal((await subjectOf(t, { cn: [cn] }, read)).subject, undefined, `${cn}, byte ${byte}`)
  }
})

t.test('a certificate that has expired since the handshake is refused', async t => {
  const answer = await subjectOf(
    t,
    { san: ['a.example'] },
    { dns: ['a.example'], notAfter: new Date(Date.now() - 1) }
  )
  t.equal(answer.reason, 'token.expired')
})

t.test('patterns that say nothing clear are refused where they are written', async t => {
  const config = { listeners: { https: { tls: { clientCa: {} } } } } as never
  const bad = [
    '*',
    '*.*.example',
    'a.*.example',
    'a*.example',
    'spiffe://*/a',
    'spiffe://corp/a*',
    'spiffe://corp/*x/b'
  ]
  for (const san of [
    ...bad,
    'spiffe://corp//*',
    '*://corp/a',
    'urn:*',
    '*@*',
    'a*@b.example',
    '*@b@c.example',
    'a b'
  ])
    t.match(mtls.check({ san: [san] }, config), [{ path: ['san', 0], message: /may have \*|is no/ }], san)
  for (const cn of ['*a', 'a*b', '**']) t.match(mtls.check({ cn: [cn] }, config), [{ path: ['cn', 0] }], cn)
  for (const san of ['spiffe://corp/*', '*.corp.example', '*@corp.example'])
    t.same(mtls.check({ san: [san] }, config), [], san)
  t.match(mtls.check({ cn: ['a'] }, { listeners: {} } as never), [
    { message: 'no listener asks clients for certificates' }
  ])
})
