import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { digestOfKey, makeKey } from '../../plugins/api-key/key.ts'
import { temporaryFolder } from '../fixtures/certificates.ts'
import { RawClient } from '../fixtures/frames.ts'
import { grpcGateway } from '../fixtures/grpc/gateway.ts'
import { call, openSession, statusOf } from '../fixtures/grpc/raw-call.ts'
import { rawUpstream, succeed } from '../fixtures/grpc/raw-upstream.ts'
import { type LocalIssuer, localIssuer } from '../fixtures/issuer.ts'
import { socketUpstream } from '../fixtures/web-sockets.ts'
import { buildGateway, echo, upstream } from '../helper.ts'

type Headers = Record<string, string>

async function keyFile(t: Test): Promise<{ key: string; plugin: string }> {
  const { id, key } = makeKey()
  const file = join(await temporaryFolder(t), 'keys.yaml')
  const hash = `sha256:${digestOfKey(key).toString('hex')}`
  await writeFile(file, `keys: [{ id: ${id}, hash: "${hash}", owner: billing }]`)
  return { key, plugin: `{ api-key: { keys: { file: ${file} } } }` }
}

function issuersOf({ url }: LocalIssuer): string {
  return `issuers: { corp: { issuer: "${url}", audience: [orders-api], algorithms: [ES256] } }\n`
}

const jwt = '{ jwt: { issuer: corp } }'

/** A gateway with one route that takes what the list says, and what a request with these headers gets. */
async function open(t: Test, list: (key: string) => string) {
  const { key, plugin } = await keyFile(t)
  const issuer = await localIssuer(t)
  const backend = await echo(t)
  const { url } = await buildGateway(
    t,
    `${issuersOf(issuer)}upstreams: { backend: { url: "${backend.url}" } }
routes:
  open: { match: { path: /* }, upstream: backend, allowUnderscores: true, plugins: [{ any: ${list(plugin)} }] }
`
  )
  const ask = async (headers: Headers, path = '/a') => {
    const answer = await fetch(url + path, { headers })
    const body = (await answer.json()) as { headers: Headers; url: string; reason?: string }
    return { status: answer.status, challenge: answer.headers.get('www-authenticate'), ...body }
  }
  return { ask, key, token: await issuer.sign() }
}

t.test('whoever shows something is not taken for nobody', async t => {
  const { ask, key, token } = await open(t, keys => `[${jwt}, ${keys}, anonymous]`)
  const rows: [what: string, headers: Headers, status: number, path?: string][] = [
    ['nothing', {}, 200],
    ['a scheme that nobody here reads', { authorization: 'Basic abc' }, 200],
    ['a token that is no JWT', { authorization: 'Bearer abc' }, 401],
    ['a token cut short', { authorization: `Bearer ${token.slice(0, token.lastIndexOf('.'))}` }, 401],
    ['two blanks before the token', { authorization: `Bearer  ${token}` }, 401],
    ['a tab before the token', { authorization: `Bearer\t${token}` }, 401],
    ['something behind the token', { authorization: `Bearer ${token},` }, 401],
    ['the scheme alone', { authorization: 'bearer' }, 401],
    ['the scheme of keys alone', { authorization: 'ApiKey' }, 401],
    ['an empty key', { 'x-api-key': '' }, 401],
    ['a key in another spelling', { 'x.api.key': key }, 400],
    ['a key with underscores', { x_api_key: key }, 400],
    ['a key in the query', {}, 400, `/a?k=${key}`],
    ['a key in the query by name', {}, 400, '/a?api_key=x']
  ]
  for (const [what, headers, status, path] of rows) {
    const answer = await ask(headers, path)
    t.equal(answer.status, status, what)
    if (status === 200) t.equal(answer.headers['x-forwarded-user'], 'anonymous', what)
    else t.match(answer.challenge, /realm="sallyport"/, what)
  }
})

t.test('what another plugin would have read does not reach the upstream', async t => {
  const { ask, key, token } = await open(t, keys => `[${jwt}, ${keys}]`)
  const authorization = `Bearer ${token}`
  for (const name of ['x-api-key', 'X.API.Key', 'x_api_key']) {
    const { status, headers } = await ask({ authorization, [name]: key })
    t.equal(status, 200, name)
    t.equal(headers['x-forwarded-user'], 'alice', name)
    t.notMatch(JSON.stringify(headers), key, name)
    t.equal(headers.authorization, authorization, 'what was judged goes on')
  }
  const both = await open(t, keys => `[${keys}, ${jwt}]`)
  const answer = await both.ask({ authorization: `Bearer ${both.token}`, 'x-api-key': both.key })
  t.equal(answer.status, 400, 'a key beside another credential is nobody in particular')
})

t.test('a token beside what has let the request in stays here', async t => {
  const folder = await temporaryFolder(t)
  await writeFile(
    join(folder, 'badge.mjs'),
    `export default { phase: 'authenticate', schema: { type: 'object' }, carries: () => r => r.headers['x-badge'] !== undefined,
      register (route) { route.addHook('onRequest', async request => {
        request.gateway.identity = { kind: 'custom', subject: 'ann', issuer: 'badge', email: null, scopes: [], groups: [], roles: [], claims: {}, expiresAt: null }
      }) } }`
  )
  const issuer = await localIssuer(t)
  const backend = await echo(t)
  const { url } = await buildGateway(
    t,
    `${issuersOf(issuer)}upstreams: { backend: { url: "${backend.url}" } }
routes:
  open: { match: { path: /* }, upstream: backend, plugins: [{ any: [badge, ${jwt}] }] }
`,
    { plugins: folder }
  )
  for (const [authorization, received] of [
    [`Bearer ${await issuer.sign()}`, undefined],
    ['bearer opaque', undefined],
    ['Basic abc', 'Basic abc']
  ] as const) {
    const answer = await fetch(url, { headers: { 'x-badge': '1', authorization } })
    const { headers } = (await answer.json()) as { headers: Headers }
    t.match(headers, { 'x-forwarded-user': 'ann', authorization: received })
  }
})

t.test('nobody says in the name of the service that was not asked', async t => {
  const service = await upstream(t, (_request, response) => {
    response.writeHead(200, { 'x-user': 'ann' }).end()
  })
  const forward = `{ forward-auth: { url: "${service.url}", headers: [x-user], subject: x-who } }`
  const { ask, token } = await open(t, () => `[${jwt}, ${forward}]`)
  const { status, headers } = await ask({
    authorization: `Bearer ${token}`,
    'x-user': 'root',
    'X.User': 'root',
    x_user: 'root',
    'x-who': 'root'
  })
  t.equal(status, 200)
  t.equal(headers['x-forwarded-user'], 'alice')
  t.notMatch(JSON.stringify(headers), 'root')
})

t.test('who brings nothing hears of every way in', async t => {
  const { ask } = await open(t, keys => `[${jwt}, ${keys}]`)
  for (const headers of [{}, { authorization: 'Basic abc' }] as Headers[]) {
    const { status, reason, challenge } = await ask(headers)
    t.match({ status, reason }, { status: 401, reason: 'token.missing' })
    t.equal(challenge, 'Bearer realm="sallyport", ApiKey realm="sallyport"')
  }
})

t.test('a WebSocket brings its token where nobody looks, and it does not reach the upstream', async t => {
  const { key, plugin } = await keyFile(t)
  const issuer = await localIssuer(t)
  const sockets = await socketUpstream(t)
  const { port } = await buildGateway(
    t,
    `${issuersOf(issuer)}upstreams: { live: { url: "${sockets.url}" } }
routes:
  offered: { match: { path: /offered, protocol: websocket }, upstream: live, plugins: [{ any: [${plugin}, ${jwt}] }] }
  twice:
    match: { path: /twice, protocol: websocket }
    upstream: live
    plugins:
      - protocol: { origins: ["https://shop.example.com"] }
      - any: [${plugin}, { jwt: { issuer: corp, from: [{ cookie: t }, { query: t }] } }, { jwt: { issuer: corp, from: [{ cookie: t }] } }]
`
  )
  const token = await issuer.sign()
  const dial = async (path: string, headers: Headers) => {
    const origin = 'https://shop.example.com'
    const { status, headers: got } = await new RawClient(t, port).open({
      path,
      headers: { origin, ...headers }
    })
    const { url, headers: sent } = sockets.handshakes.at(-1) ?? {}
    return { status, chosen: got['sec-websocket-protocol'], url, sent, all: JSON.stringify([url, sent]) }
  }
  const offered = await dial('/offered', {
    'x-api-key': key,
    'sec-websocket-protocol': `chat, bearer, ${token}`
  })
  t.match(offered, { status: 101, sent: { 'x-forwarded-user': 'billing' } })
  t.notMatch(offered.all, token)
  const alone = await dial('/offered', { 'x-api-key': key, 'sec-websocket-protocol': `bearer, ${token}` })
  t.match(alone, { status: 101, chosen: 'bearer', sent: { 'sec-websocket-protocol': undefined } })
  const elsewhere = await dial(`/twice?a=1&t=${token}&b=2`, { 'x-api-key': key, cookie: `t=${token}; c=3` })
  t.match(elsewhere, {
    status: 101,
    url: '/twice?a=1&b=2',
    sent: { 'x-forwarded-user': 'billing', cookie: 'c=3' }
  })
  const shared = await dial('/twice', { cookie: `t=${token}` })
  t.match(shared, { status: 101, sent: { 'x-forwarded-user': 'alice', cookie: undefined } })
})

t.test('metadata of a gRPC call is judged as headers are', async t => {
  const { key, plugin } = await keyFile(t)
  const issuer = await localIssuer(t)
  const seen: Record<string, unknown>[] = []
  const backend = await rawUpstream(t, one => {
    seen.push(one.headers)
    succeed(one)
  })
  const { h2c } = await grpcGateway(
    t,
    `${issuersOf(issuer)}upstreams: { calls: { url: "${backend.url}", protocol: h2c } }
routes:
  calls: { match: { protocol: grpc }, upstream: calls, plugins: [{ any: [${jwt}, ${plugin}] }] }
`
  )
  const session = openSession(t, h2c)
  const ask = async (metadata: Headers) => statusOf(await call(session, '/shop.Orders/Get', metadata))
  t.equal(await ask({}), 16)
  t.equal(await ask({ authorization: 'Bearer abc' }), 16)
  t.equal(await ask({ 'x-api-key': key }), 0)
  t.equal(seen.length, 1)
  t.match(seen[0], { 'x-forwarded-user': 'billing', 'x-api-key': undefined })
  t.equal(await ask({ authorization: `Bearer ${await issuer.sign()}`, 'x-api-key': key }), 0)
  t.match(seen[1], { 'x-forwarded-user': 'alice', 'x-api-key': undefined })
})
