import { rm, writeFile } from 'node:fs/promises'
import { request as httpRequest } from 'node:http'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { digestOfKey, makeKey } from '../../plugins/api-key/key.ts'
import { parseKeyFile } from '../../plugins/api-key/key-file.ts'
import { builtins } from '../../plugins/index.ts'
import { loadConfig } from '../../src/config/load.ts'
import type { GatewayOptions } from '../../src/gateway.ts'
import { temporaryFolder } from '../fixtures/certificates.ts'
import { ConfigMapVolume } from '../fixtures/config-map.ts'
import { RawClient } from '../fixtures/frames.ts'
import { grpcGateway } from '../fixtures/grpc/gateway.ts'
import { call, openSession, statusOf } from '../fixtures/grpc/raw-call.ts'
import { rawUpstream, succeed } from '../fixtures/grpc/raw-upstream.ts'
import { socketUpstream } from '../fixtures/web-sockets.ts'
import { buildGateway, echo, withListeners } from '../helper.ts'

function entry({ id, key }: { id: string; key: string }, more = ''): string {
  return `  - { id: ${id}, hash: "sha256:${digestOfKey(key).toString('hex')}", owner: billing${more} }\n`
}

function yaml(url: string, keys: string, plugins = ''): string {
  return `upstreams: { backend: { url: "${url}" } }
plugins: [access-log]
routes:
  feed:
    match: { path: /* }
    upstream: backend
    allowUnderscores: true
    plugins: [{ api-key: { keys: { file: ${keys} } } }${plugins}]
`
}

async function start(t: Test, entries: string, plugins = '', options: Partial<GatewayOptions> = {}) {
  const folder = await temporaryFolder(t)
  const file = join(folder, 'keys.yaml')
  await writeFile(file, `keys:\n${entries}`)
  const { url } = await echo(t)
  const gateway = await buildGateway(t, yaml(url, file, plugins), options)
  return { ...gateway, file, upstream: url }
}

interface Answer {
  status: number
  headers: Record<string, string | string[] | undefined>
  body: { reason?: string; headers: Record<string, string> }
}

/** Header by header, as `fetch` would not send them. */
async function ask(url: string, headers: readonly string[] = [], path = '/feed'): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>()
  const { host } = new URL(url)
  const request = httpRequest(url + path, { headers: ['host', host, ...headers], agent: false }, response => {
    let text = ''
    response.on('data', chunk => {
      text += chunk
    })
    response.on('end', () =>
      resolve({ status: response.statusCode ?? 0, headers: response.headers, body: JSON.parse(text) })
    )
  })
  request.on('error', reject).end()
  return promise
}

t.test('a key opens the route, and the upstream learns whose it is but not the key', async t => {
  const made = makeKey()
  const { url, lines } = await start(
    t,
    entry(made, ', scopes: [feed:read], groups: [partners]'),
    ', { authorize: { scopes: ["feed:read"] } }'
  )
  for (const headers of [
    ['X-API-Key', made.key],
    ['x-api-key', made.key],
    ['Authorization', `ApiKey ${made.key}`],
    ['authorization', `apikey ${made.key}`]
  ]) {
    const { status, body } = await ask(url, headers)
    t.equal(status, 200, String(headers[0]))
    t.equal(body.headers['x-forwarded-user'], 'billing')
    t.equal(body.headers['x-forwarded-groups'], 'partners')
    t.notMatch(JSON.stringify(body), made.key.slice(-43))
  }
  t.notMatch(JSON.stringify(lines), made.key.slice(-43), 'no line of the log has it')
})

t.test('what is no good key is refused, and the answers for all of them are alike', async t => {
  const made = makeKey()
  const other = makeKey()
  const gone = makeKey()
  const { url, lines } = await start(t, entry(made) + entry(gone, ', expires: 2020-01-01'))
  const swapped = `sp_${made.id}_${other.key.slice(-43)}`
  const rows: [what: string, headers: string[], status: number, reason: string, path?: string][] = [
    ['nothing', [], 401, 'token.missing'],
    ['a token', ['authorization', 'Bearer abc'], 401, 'token.missing'],
    ['the scheme alone', ['authorization', 'ApiKey'], 401, 'token.missing'],
    ['no key behind the scheme', ['authorization', 'ApiKey x'], 401, 'token.invalid'],
    ['two blanks', ['authorization', `ApiKey  ${made.key}`], 401, 'token.invalid'],
    ['an empty header', ['x-api-key', ''], 401, 'token.invalid'],
    ['another key', ['x-api-key', other.key], 401, 'token.invalid'],
    ['the secret of another key', ['x-api-key', swapped], 401, 'token.invalid'],
    ['a key cut short', ['x-api-key', made.key.slice(0, -1)], 401, 'token.invalid'],
    ['a key and more', ['x-api-key', `${made.key}A`], 401, 'token.invalid'],
    ['the last character changed', ['x-api-key', `${made.key.slice(0, -1)}!`], 401, 'token.invalid'],
    [
      'the id in capitals',
      ['x-api-key', `sp_${made.id.toUpperCase()}_${made.key.slice(-43)}x`],
      401,
      'token.invalid'
    ],
    ['the hash', ['x-api-key', digestOfKey(made.key).toString('hex')], 401, 'token.invalid'],
    ['a name of Object', ['x-api-key', `sp_constructor_${made.key.slice(-43)}`], 401, 'token.invalid'],
    ['an expired key', ['x-api-key', gone.key], 401, 'token.expired'],
    ['a very long one', ['x-api-key', `sp_${'a'.repeat(8000)}`], 401, 'token.invalid'],
    ['both headers', ['x-api-key', made.key, 'authorization', `ApiKey ${made.key}`], 400, 'token.invalid'],
    ['a token beside it', ['x-api-key', made.key, 'authorization', 'Bearer abc'], 400, 'token.invalid'],
    ['two of one header', ['x-api-key', made.key, 'x-api-key', made.key], 400, 'token.invalid'],
    ['good and bad', ['x-api-key', 'bad', 'x-api-key', made.key], 400, 'token.invalid'],
    ['another spelling', ['x_api_key', made.key], 400, 'token.invalid'],
    ['another spelling beside it', ['x-api-key', made.key, 'X.API.Key', other.key], 400, 'token.invalid'],
    ['in the query', [], 400, 'token.invalid', `/feed?key=${made.key}`],
    ['in the query, encoded', [], 400, 'token.invalid', `/feed?key=%73p_${made.key.slice(3)}`],
    ['in the query, by name', [], 400, 'token.invalid', '/feed?a=1&api_key=x'],
    ['in the query and the header', ['x-api-key', made.key], 400, 'token.invalid', '/feed?X-Api-Key=x']
  ]
  for (const [what, headers, status, reason, path] of rows) {
    const answer = await ask(url, headers, path)
    t.equal(answer.status, status, what)
    t.equal(answer.body.reason, reason, what)
    t.match(answer.headers['www-authenticate'], /^ApiKey realm="sallyport"/, what)
  }
  t.notMatch(JSON.stringify(lines), made.key.slice(-43), 'no line of the log has the key')
  t.equal((await ask(url, ['x-api-key', made.key], '/feed?page=2&key=blue')).status, 200)
})

t.test('a removed key is dead, a bad file changes nothing, and a reload keeps what was read', async t => {
  const [one, two] = [makeKey(), makeKey()]
  const folder = await temporaryFolder(t)
  const volume = await ConfigMapVolume.mount(folder, { 'keys.yaml': `keys:\n${entry(one)}${entry(two)}` })
  const { url: upstream } = await echo(t)
  const { url, lines, gateway } = await buildGateway(t, yaml(upstream, join(folder, 'keys.yaml')), {
    watch: true
  })
  const status = async ({ key }: { key: string }) => (await ask(url, ['x-api-key', key])).status
  const said = async (msg: string, count = 1) => {
    while (lines.filter(line => line.msg === msg).length < count) await new Promise(setImmediate)
    return lines.findLast(line => line.msg === msg)
  }
  t.same([await status(one), await status(two)], [200, 200])

  await volume.update({ 'keys.yaml': `keys:\n${entry(two)}` })
  await said('the file has changed and is in force')
  t.same([await status(one), await status(two)], [401, 200], 'the first is revoked')

  await volume.update({ 'keys.yaml': 'keys:\n  - id: a\n    owner: ann\n    secret: sp_canary\n' })
  const line = await said('the new content of the file is refused, the old one stays in force')
  t.match(line, { level: 'error', plugin: 'api-key' })
  const errors = String(line?.errors)
  t.match(errors, /keys\.yaml:2:5 {2}keys\[0\]\.hash {2}is no hash/)
  t.match(errors, /keys\.yaml:4:5 {2}keys\[0\]\.secret {2}is not a known key/)
  t.notMatch(JSON.stringify(lines), 'canary')
  t.same([await status(one), await status(two)], [401, 200])

  await gateway.reload()
  t.same([await status(one), await status(two)], [401, 200], 'a reload does not take the bad file either')
  await rm(join(folder, 'keys.yaml'))
  await said('the new content of the file is refused, the old one stays in force', 2)
  t.same([await status(one), await status(two)], [401, 200], 'nor a missing one')
})

t.test('a file that changes all the time never keeps out whose key is in each of them', async t => {
  const [kept, other] = [makeKey(), makeKey()]
  const { url, file } = await start(t, entry(kept), '', { watch: true })
  let changes = 0
  let refused = 0
  let isOver = false
  async function load(): Promise<void> {
    while (!isOver) if ((await ask(url, ['x-api-key', kept.key])).status !== 200) refused++
  }
  const loads = [load(), load(), load(), load()]
  while (changes < 10) {
    const isThere = changes++ % 2 === 0
    await writeFile(file, `keys:\n${entry(kept)}${isThere ? entry(other) : ''}`)
    while (((await ask(url, ['x-api-key', other.key])).status === 200) !== isThere);
  }
  isOver = true
  await Promise.all(loads)
  t.equal(refused, 0)
})

t.test(
  'a reload goes on with the file that is followed already, and follows it no more when no route does',
  async t => {
    const [one, two] = [makeKey(), makeKey()]
    const { url, lines, config, file, gateway, upstream } = await start(t, entry(one), '', { watch: true })
    const reloaded = async (content: string) => {
      await writeFile(config, withListeners(content))
      await gateway.reload()
    }
    const status = async ({ key }: { key: string }) => (await ask(url, ['x-api-key', key])).status
    const changes = () => lines.filter(({ msg }) => msg === 'the file has changed and is in force').length

    await reloaded(
      `${yaml(upstream, file)}  more: { match: { path: /more }, public: true, upstream: backend }\n`
    )
    t.equal(await status(one), 200)
    await writeFile(file, `keys:\n${entry(two)}`)
    while ((await status(one)) !== 401) await new Promise(setImmediate)
    t.equal(await status(two), 200)
    // None where the reload that the changed configuration asks for has come first.
    t.ok(changes() <= 1, 'one reader')

    await reloaded(`upstreams: { backend: { url: "${upstream}" } }
routes: { open: { match: { path: /* }, public: true, upstream: backend } }
`)
    t.equal(await status(one), 200, 'the route is public now')
    await writeFile(file, 'broken')
    await reloaded(yaml(upstream, file))
    t.equal(await status(one), 200, 'a bad file is no good for a new configuration')
    t.notOk(
      lines.some(({ msg }) => msg === 'the new content of the file is refused, the old one stays in force')
    )
  }
)

t.test('a missing or bad file stops the start, where it is written', async t => {
  const folder = await temporaryFolder(t)
  const file = join(folder, 'keys.yaml')
  const config = join(folder, 'gateway.yaml')
  const plugins = new Map(builtins.map(plugin => [plugin.name, plugin]))
  const hash = `hash: "sha256:${'0'.repeat(64)}"`
  const rows: [content: string | null, problem: RegExp][] = [
    [null, /gateway\.yaml:8:\d+ .*keys {2}file \S+keys\.yaml cannot be read \(ENOENT\)/],
    ['', /is empty/],
    ['keys', /keys\.yaml:1:1 {2}keys {2}is not a list/],
    ['keys: {}', /keys {2}is not a list/],
    ['- a', /keys {2}is not a list/],
    ['keys: [', /is not YAML that can be read/],
    ['keys: []\nkeys: []', /keys\.yaml:2:1 {2}\(yaml\) {2}is written twice/],
    ['keys: []\nmore: 1', /keys\.yaml:2:1 {2}more {2}is not a known key/],
    ['keys: [sp_canary]', /keys\.yaml:1:8 {2}keys\[0\] {2}is not a key/],
    ['keys: [*canary]', /is not YAML that can be read|expands aliases/],
    [`keys:\n  - { id: a, owner: ann, hash: sp_canary }`, /keys\.yaml:2:26 {2}keys\[0\]\.hash {2}is no hash/],
    [`keys:\n  - { id: a_b, owner: ann, ${hash} }`, /keys\[0\]\.id {2}is no id/],
    [`keys:\n  - { id: a, ${hash} }`, /keys\[0\]\.owner {2}names nobody/],
    [`keys:\n  - { id: a, owner: 7, ${hash} }`, /keys\[0\]\.owner {2}names nobody/],
    [`keys:\n  - { id: a, owner: b, ${hash}, scopes: x }`, /keys\[0\]\.scopes {2}is no list/],
    [`keys:\n  - { id: a, owner: b, ${hash}, groups: [1] }`, /keys\[0\]\.groups {2}is no list/],
    [`keys:\n  - { id: a, owner: b, ${hash}, expires: 2027-13-01 }`, /keys\[0\]\.expires {2}is no date/],
    [`keys:\n  - { id: a, owner: b, ${hash}, expires: 1800000000 }`, /keys\[0\]\.expires {2}is no date/],
    [
      `keys:\n  - { id: a, owner: b, ${hash} }\n  - { id: a, owner: c, ${hash} }`,
      /keys\[1\]\.id {2}is the id of another/
    ]
  ]
  await writeFile(config, yaml('http://127.0.0.1:1', file))
  for (const [content, problem] of rows) {
    if (content !== null) await writeFile(file, content)
    const error = await loadConfig(config, { plugins, env: {} }).catch(error => error)
    t.match(error.message, problem, String(content))
    t.match(error.message, /gateway\.yaml:8:\d+ /, 'at the line of the configuration')
    t.notMatch(error.message, 'canary')
  }
  for (const [options, problem] of [
    ['{ env: KEYS }', /write \{ file: PATH \}/],
    ['sp_canary', /write \{ file: PATH \}/],
    ['{}', /write \{ file: PATH \}/]
  ] as const) {
    await writeFile(config, yaml('http://127.0.0.1:1', file).replace(`{ file: ${file} }`, options))
    const error = await loadConfig(config, { plugins, env: {} }).catch(error => error)
    t.match(error.message, problem)
    t.notMatch(error.message, 'canary')
  }
})

t.test('dates are read as they are written, and a day begins in UTC', async t => {
  const key = (expires: string) => {
    const text = `keys: [{ id: a, owner: b, hash: "sha256:${'0'.repeat(64)}", expires: ${expires} }]`
    return parseKeyFile(text, '/etc/keys.yaml').get('a')?.identity
  }
  t.equal(key('2027-01-31')?.expiresAt, Date.UTC(2027, 0, 31))
  t.equal(key('"2027-01-31T12:00:00+02:00"')?.expiresAt, Date.UTC(2027, 0, 31, 10))
  t.match(key('2027-01-31'), { kind: 'api-key', subject: 'b', issuer: 'keys.yaml', claims: { key: 'a' } })
})

t.test('in `any` a key is judged by itself, and tokens by others', async t => {
  const made = makeKey()
  const folder = await temporaryFolder(t)
  const file = join(folder, 'keys.yaml')
  await writeFile(file, `keys:\n${entry(made)}`)
  const { url: upstream } = await echo(t)
  await writeFile(
    join(folder, 'never.mjs'),
    `export default { phase: 'authenticate', schema: { type: 'object' }, carries: () => r => r.headers.authorization?.startsWith('Bearer') ?? false,
      register (route) { route.addHook('onRequest', async () => { route.gateway.deny('token.issuer') }) } }`
  )
  const { url } = await buildGateway(
    t,
    `upstreams: { backend: { url: "${upstream}" } }
routes:
  feed: { match: { path: /* }, upstream: backend, plugins: [{ any: [{ api-key: { keys: { file: ${file} } } }, never] }] }
`,
    { plugins: folder }
  )
  const reason = async (...headers: string[]) => (await ask(url, headers)).body.reason
  t.equal(await reason('x-api-key', made.key), undefined)
  t.equal(await reason('authorization', `ApiKey ${made.key}`), undefined)
  t.equal(await reason('authorization', 'Bearer abc'), 'token.issuer')
  t.equal(await reason('x-api-key', 'bad'), 'token.invalid')
  t.equal(await reason(), 'token.missing')
})

t.test('a WebSocket opens with a key, and the upstream does not get it', async t => {
  const made = makeKey()
  const folder = await temporaryFolder(t)
  const file = join(folder, 'keys.yaml')
  await writeFile(file, `keys:\n${entry(made)}`)
  const upstream = await socketUpstream(t)
  const { port } = await buildGateway(
    t,
    yaml(upstream.url, file).replace('path: /*', 'path: /*, protocol: websocket')
  )
  const open = async (headers: Record<string, string>) =>
    (await new RawClient(t, port).open({ path: '/live', headers })).status
  t.equal(await open({}), 401)
  t.equal(await open({ 'x-api-key': 'bad' }), 401)
  t.equal(upstream.handshakes.length, 0)
  t.equal(await open({ 'x-api-key': made.key }), 101)
  const { headers } = upstream.handshakes[0] as { headers: Record<string, unknown> }
  t.match(headers, { 'x-forwarded-user': 'billing', 'x-api-key': undefined })
})

t.test('gRPC calls carry keys as metadata, and are refused in their own words', async t => {
  const made = makeKey()
  const folder = await temporaryFolder(t)
  const file = join(folder, 'keys.yaml')
  await writeFile(file, `keys:\n${entry(made)}`)
  const seen: Record<string, unknown>[] = []
  const upstream = await rawUpstream(t, call => {
    seen.push(call.headers)
    succeed(call)
  })
  const { h2c } = await grpcGateway(
    t,
    `upstreams: { calls: { url: "${upstream.url}", protocol: h2c } }
routes:
  calls: { match: { protocol: grpc }, upstream: calls, plugins: [{ api-key: { keys: { file: ${file} } } }] }
`
  )
  const session = openSession(t, h2c)
  t.equal(statusOf(await call(session, '/shop.Orders/Get')), 16)
  t.equal(statusOf(await call(session, '/shop.Orders/Get', { 'x-api-key': 'bad' })), 16)
  t.equal(seen.length, 0)
  t.equal(statusOf(await call(session, '/shop.Orders/Get', { 'x-api-key': made.key })), 0)
  t.match(seen, [{ 'x-forwarded-user': 'billing', 'x-api-key': undefined }])
})
