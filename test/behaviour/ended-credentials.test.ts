import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { digestOfKey, makeKey } from '../../plugins/api-key/key.ts'
import type { GatewayOptions } from '../../src/gateway.ts'
import { Browser } from '../fixtures/browser.ts'
import { temporaryFolder } from '../fixtures/certificates.ts'
import { arrivals, http1Client, http2Client, type OpenAnswer } from '../fixtures/events.ts'
import { message } from '../fixtures/grpc/message.ts'
import { begin, openSession, statusOf } from '../fixtures/grpc/raw-call.ts'
import { rawUpstream } from '../fixtures/grpc/raw-upstream.ts'
import { localIssuer } from '../fixtures/issuer.ts'
import { plugin, pluginsFolder, type Recorder, recorder } from '../fixtures/proxying.ts'
import { startRedis } from '../fixtures/redis.ts'
import { env, issuerYaml, personalIssuer } from '../fixtures/sign-in.ts'
import { skipWithout } from '../fixtures/tool.ts'
import { movedTime } from '../fixtures/watch-time.ts'
import { socketUpstream } from '../fixtures/web-sockets.ts'
import { buildGateway, type RunningGateway, upstream } from '../helper.ts'

type Headers = Record<string, string>

interface Open extends RunningGateway {
  readonly recorder: Recorder
  /** Requests that wait at the service for what the test answers. */
  readonly arrived: ReturnType<typeof arrivals>
  advance(milliseconds: number): void
  /** Ten seconds, and a moment for who is asked after the first five. */
  twoLooks(): Promise<void>
}

/** A gateway with a route for each protocol and this plugin on all of them. */
async function start(
  t: Test,
  uses: string,
  {
    top = '',
    files = {},
    options = {}
  }: { top?: string; files?: Headers; options?: Partial<GatewayOptions> } = {}
): Promise<Open> {
  const arrived = arrivals()
  const pages = await upstream(t, arrived.take)
  const calls = await rawUpstream(t, seen => {
    seen.stream.resume()
    seen.respond()
    seen.stream.write(message('one'))
  })
  const sockets = await socketUpstream(t)
  const record = recorder()
  const plugins = await pluginsFolder(t, { 'record.mjs': record.source, ...files })
  const { time, advance } = movedTime()
  const running = await buildGateway(
    t,
    `listeners:
  http: { host: 127.0.0.1, port: 0 }
  h2c: { host: 127.0.0.1, port: 0 }
  admin: { host: 127.0.0.1, port: 0 }
${top}
upstreams:
  pages: { url: "${pages.url}" }
  calls: { url: "${calls.url}", protocol: h2c }
  sockets: { url: "${sockets.url}" }
plugins: [record, ${uses}]
routes:
  events: { match: { hosts: [127.0.0.1], path: "/events/*" }, upstream: pages }
  rpcs: { match: { hosts: [127.0.0.1], protocol: grpc, service: shop.v1.Orders }, upstream: calls }
  live: { match: { hosts: [127.0.0.1], protocol: websocket, path: /live }, upstream: sockets }
`,
    { plugins, time, ...options }
  )
  async function twoLooks(): Promise<void> {
    advance(5000)
    await new Promise(setImmediate)
    advance(5000)
  }
  return { ...running, recorder: record, arrived, advance, twoLooks }
}

interface Stream {
  readonly name: string
  readonly isOpen: () => boolean
  /** What its client was told. */
  readonly end: Promise<unknown>
  /** What it should be told. */
  readonly told: unknown
}

/** One of each kind, open. */
async function openAll(t: Test, open: Open, headers: Headers): Promise<Stream[]> {
  const { gateway, url } = open
  const h2c = gateway.addresses.h2c as string
  return [
    await openEvents(t, open, 'events over HTTP/1.1', http1Client, url, headers),
    await openEvents(t, open, 'events over HTTP/2', http2Client, h2c, headers),
    await openCall(t, h2c, headers),
    await openSocket(t, url, headers)
  ]
}

async function openEvents(
  t: Test,
  { arrived }: Open,
  name: string,
  client: typeof http1Client,
  origin: string,
  headers: Headers
): Promise<Stream> {
  const asked = client(t, origin, '/events/all', { accept: 'text/event-stream', ...headers })
  const { response } = await arrived.next()
  response.writeHead(200, { 'content-type': 'text/event-stream' })
  response.write('data: one\n\n')
  const answer: OpenAnswer = await asked
  t.equal(String(await answer.next()), 'data: one\n\n')
  const left = once(response, 'close')
  const end = answer.ended.then(async how => [how, (await left).length])
  return { name, told: ['broken', 0], ...ending(end) }
}

async function openCall(t: Test, origin: string, headers: Headers): Promise<Stream> {
  const door = { name: 'h2c', port: Number(new URL(origin).port), tls: null }
  const call = begin(openSession(t, door), '/shop.v1.Orders/Watch', headers)
  call.stream.write(message(''))
  await call.head
  const end = call.answer().then(answer => [statusOf(answer), String(answer.trailers['grpc-message'])])
  return { name: 'a call', told: [16, 'The token has expired (token.expired)'], ...ending(end) }
}

async function openSocket(t: Test, url: string, headers: Headers): Promise<Stream> {
  const socket = new WebSocket(`${url.replace('http', 'ws')}/live`, { headers })
  t.teardown(() => socket.terminate())
  await once(socket, 'open')
  return { name: 'a WebSocket', told: 1008, ...ending(once(socket, 'close').then(([code]) => code)) }
}

function ending(end: Promise<unknown>): { isOpen: () => boolean; end: Promise<unknown> } {
  let isOpen = true
  const noted = end.then(how => {
    isOpen = false
    return how
  })
  return { isOpen: () => isOpen, end: noted }
}

async function allEnd(t: Test, streams: readonly Stream[]): Promise<void> {
  for (const { name, end, told } of streams) t.same(await end, told, name)
}

function allOpen(t: Test, streams: readonly Stream[], when: string): void {
  for (const { name, isOpen } of streams) t.ok(isOpen(), `${name} is open ${when}`)
}

/** Redis answers in its own time. */
async function lookUntil({ advance }: Open, streams: readonly Stream[]): Promise<void> {
  while (streams.some(({ isOpen }) => isOpen())) {
    advance(5000)
    await new Promise(setImmediate)
  }
}

/** A request of HTTP/1.1 and what became of it. */
function ask(t: Test, url: string, headers: Headers, body?: string) {
  const call = httpRequest(url, { headers, agent: false, method: body === undefined ? 'GET' : 'POST' })
  t.teardown(() => call.destroy())
  const answered = once(call, 'response') as Promise<[IncomingMessage]>
  if (body === undefined) call.end()
  else call.write(body)
  return { call, answer: answered.then(([answer]) => answer) }
}

async function whole(answer: IncomingMessage): Promise<string | null> {
  try {
    return (await answer.toArray()).join('')
  } catch {
    return null
  }
}

async function signingIssuer(t: Test) {
  const issuer = await localIssuer(t)
  return {
    issuer,
    top: `issuers: { corp: { issuer: "${issuer.url}", audience: [orders-api], clockTolerance: 30s } }`
  }
}

t.test('what a token has opened ends with the token and the tolerance, whatever its protocol', async t => {
  const { issuer, top } = await signingIssuer(t)
  const open = await start(t, 'jwt: { issuer: corp }', { top })
  const exp = Math.floor(Date.now() / 1000) + 60
  const bearer = async (claims: object) => ({ authorization: `Bearer ${await issuer.sign({ ...claims })}` })
  const ending = await openAll(t, open, await bearer({ sub: 'ann', exp }))
  const staying = await openAll(t, open, await bearer({ sub: 'bob', exp: exp + 600 }))
  open.advance(65_000)
  allOpen(t, ending, 'within the tolerance')
  open.advance(30_000)
  await allEnd(t, ending)
  allOpen(t, staying, 'with another token')
  const outcomes = await open.recorder.ended(4)
  for (const { reason, detail, identity } of outcomes)
    t.match([reason, detail, identity?.subject], ['token.expired', 'the credential has run out', 'ann'])
  t.same(outcomes.map(({ status, grpcStatus, closeCode }) => [status, grpcStatus, closeCode]).sort(), [
    [101, null, 1008],
    [200, null, null],
    [200, null, null],
    [200, 16, null]
  ])
})

t.test('a token that runs out does not break what has an end of its own', async t => {
  const { issuer, top } = await signingIssuer(t)
  const { url, arrived, advance, recorder } = await start(t, 'jwt: { issuer: corp }', { top })
  const exp = Math.floor(Date.now() / 1000) + 60
  const headers = { authorization: `Bearer ${await issuer.sign({ exp })}` }

  const download = ask(t, `${url}/events/file`, headers)
  const file = await arrived.next()
  file.response.writeHead(200, { 'content-length': 6 }).write('abc')
  const upload = ask(t, `${url}/events/upload`, headers, 'begun')
  const slow = ask(t, `${url}/events/slow`, headers)
  const [taken, late] = [await arrived.next(), await arrived.next()]
  await download.answer
  advance(200_000)

  file.response.end('def')
  t.equal(await whole(await download.answer), 'abcdef')
  upload.call.end('done')
  taken.response.end('taken')
  t.equal(await whole(await upload.answer), 'taken')

  late.response.writeHead(200, { 'content-type': 'text/event-stream' })
  late.response.write('data: one\n\n')
  const answer = await slow.answer
  await once(answer, 'data')
  advance(5000)
  t.equal(await whole(answer), null, 'but a stream that begins after it is broken off')
  t.match(
    (await recorder.ended(3)).map(({ reason }) => reason),
    [null, null, 'token.expired']
  )
})

t.test('where a plugin sees the answers it is the same', async t => {
  const made = makeKey()
  const { open, change } = await keyed(t, [made], {
    'sees.mjs': plugin('transform', "route.addHook('onSend', async (_request, _reply, payload) => payload)")
  })
  const headers = { 'x-api-key': made.key }
  const events = await openEvents(t, open, 'events', http1Client, open.url, headers)
  const waiting = ask(t, `${open.url}/events/next`, headers)
  await open.arrived.next()
  await change([])
  await open.twoLooks()
  t.same(await events.end, events.told)
  t.equal((await waiting.answer).statusCode, 401)
})

interface Made {
  id: string
  key: string
}

function entry({ id, key }: Made, more = ''): string {
  return `  - { id: ${id}, hash: "sha256:${digestOfKey(key).toString('hex')}", owner: ${id}${more} }\n`
}

async function keyed(t: Test, keys: readonly Made[], files: Headers = {}) {
  const file = join(await temporaryFolder(t), 'keys.yaml')
  const write = (entries: readonly string[]) =>
    writeFile(file, entries.length === 0 ? 'keys: []\n' : `keys:\n${entries.join('')}`)
  await write(keys.map(key => entry(key)))
  const more = Object.keys(files).map(name => `, ${name.replace('.mjs', '')}`)
  const open = await start(t, `api-key: { keys: { file: ${file} } }${more.join('')}`, {
    files,
    options: { watch: true, poll: 50 }
  })
  async function change(entries: readonly string[]): Promise<void> {
    const before = open.lines.filter(isChange).length
    await write(entries)
    while (open.lines.filter(isChange).length === before) await new Promise(setImmediate)
  }
  return { open, change }
}

function isChange({ msg }: Record<string, unknown>): boolean {
  return msg === 'the file has changed and is in force'
}

t.test('a key that is taken out of its file ends what it has opened, and nothing of others', async t => {
  const [one, two] = [makeKey(), makeKey()]
  const { open, change } = await keyed(t, [one, two])
  const leaving = await openAll(t, open, { 'x-api-key': one.key })
  const staying = await openAll(t, open, { authorization: `ApiKey ${two.key}` })
  open.advance(10_000)
  await change([entry(two, ', scopes: [more]')])
  allOpen(t, leaving, 'until somebody looks')
  open.advance(5000)
  await allEnd(t, leaving)
  open.advance(60_000)
  await new Promise(setImmediate)
  allOpen(t, staying, 'with another key')
  for (const { reason, detail } of await open.recorder.ended(4))
    t.match([reason, detail], ['token.expired', 'the credential was withdrawn'])
})

t.test('the same for a key that gets another secret, and for one that gets an end', async t => {
  for (const next of [
    (made: Made) => entry({ ...makeKey(), id: made.id }),
    (made: Made) => entry(made, ', expires: 2020-01-01')
  ]) {
    const made = makeKey()
    const { open, change } = await keyed(t, [made])
    const streams = await openAll(t, open, { 'x-api-key': made.key })
    await change([next(made)])
    await open.twoLooks()
    await allEnd(t, streams)
  }
})

t.test('a key that is withdrawn ends downloads, and what waits for its answer gets 401', async t => {
  const made = makeKey()
  const { open, change } = await keyed(t, [made])
  const headers = { 'x-api-key': made.key }
  const download = ask(t, `${open.url}/events/file`, headers)
  const file = await open.arrived.next()
  file.response.writeHead(200, { 'content-length': 6 }).write('abc')
  const answer = await download.answer
  const waiting = ask(t, `${open.url}/events/next`, headers)
  const asked = await open.arrived.next()
  await change([])
  await open.twoLooks()
  t.equal(await whole(answer), null)
  const refused = await waiting.answer
  t.equal(refused.statusCode, 401)
  t.match(refused.headers['www-authenticate'], /^ApiKey /)
  t.match(JSON.parse((await whole(refused)) ?? ''), { reason: 'token.expired' })
  if (!asked.response.destroyed) await once(asked.response, 'close')
})

t.test('an opaque token that its issuer has revoked ends what it has opened', async t => {
  const revoked = new Set<string>()
  let isUp = true
  const issuer = await upstream(t, async (request, response) => {
    if (!isUp) return response.destroy()
    const token = new URLSearchParams((await request.toArray()).join('')).get('token') ?? ''
    const answer =
      request.method === 'GET'
        ? { issuer: issuer.url, introspection_endpoint: `${issuer.url}/introspect`, jwks_uri: issuer.url }
        : { active: !revoked.has(token), sub: 'app', iss: issuer.url, aud: 'orders-api', client_id: 'app' }
    return response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer))
  })
  const open = await start(t, 'introspection: { issuer: corp, cache: 1ms }', {
    top: `issuers:
  corp: { issuer: "${issuer.url}", audience: [orders-api], client: { id: gateway, secret: { env: SECRET } } }`,
    options: { env: { SECRET: 'a-secret' } }
  })
  const leaving = await openAll(t, open, { authorization: 'Bearer one' })
  const staying = await openAll(t, open, { authorization: 'Bearer two' })
  isUp = false
  await open.twoLooks()
  allOpen(t, leaving, 'while the issuer does not answer')
  isUp = true
  revoked.add('one')
  await lookUntil(open, leaving)
  await allEnd(t, leaving)
  allOpen(t, staying, 'with another token')
})

interface SignedIn {
  readonly open: Open
  readonly person: (name: string) => Promise<{ browser: Browser; headers: Headers }>
}

async function signedIn(t: Test, redisUrl?: string): Promise<SignedIn> {
  const issuer = await personalIssuer(t)
  const open = await start(t, 'oidc: { issuer: corp }', {
    top: `externalUrl: http://127.0.0.1
session: { secret: { env: SESSION_SECRET } }
issuers:
  ${issuerYaml('corp', issuer.url)}
${redisUrl === undefined ? '' : 'redis: { url: { env: REDIS_URL } }'}`,
    options: { env: { ...env, ...(redisUrl !== undefined && { REDIS_URL: redisUrl }) } }
  })
  await issuer.serve([open.url])
  async function person(name: string) {
    issuer.person = name
    const browser = new Browser()
    const visit = browser.open(`${open.url}/events/page`)
    const { response } = await open.arrived.next()
    response.end('a page')
    await visit
    return { browser, headers: { cookie: `sallyport=${browser.cookie(open.url, 'sallyport')}` } }
  }
  return { open, person }
}

t.test('a sign-out ends what the session has opened, and nothing of others', async t => {
  const { open, person } = await signedIn(t)
  const [ada, bob] = [await person('ada'), await person('bob')]
  const leaving = await openAll(t, open, ada.headers)
  const staying = await openAll(t, open, bob.headers)
  open.advance(20_000)
  await new Promise(setImmediate)
  allOpen(t, leaving, 'while she is signed in')
  const { body } = await ada.browser.open(`${open.url}/oauth2/sign-out`)
  const token = /name="token" value="([^"]+)"/.exec(body)?.[1] ?? ''
  const form = { method: 'POST', form: { token }, headers: { 'sec-fetch-site': 'same-origin' } }
  t.match(await ada.browser.open(`${open.url}/oauth2/sign-out`, form), { body: /Signed out/ })
  open.advance(5000)
  await allEnd(t, leaving)
  open.advance(20_000)
  await new Promise(setImmediate)
  allOpen(t, staying, 'of another person')
})

t.test('so does an admin, also where sessions are in Redis', async t => {
  const redis = await startRedis(t)
  if (redis === null) return skipWithout(t, 'redis-server')
  const { open, person } = await signedIn(t, redis.url)
  const ada = await person('ada')
  const streams = await openAll(t, open, ada.headers)
  const ended = await fetch(`${open.admin}/sessions?issuer=corp&subject=ada`, { method: 'DELETE' })
  t.same(await ended.json(), { ended: 1 })
  await lookUntil(open, streams)
  await allEnd(t, streams)
})

t.test('a store that does not answer ends nothing', async t => {
  const redis = await startRedis(t)
  if (redis === null) return skipWithout(t, 'redis-server')
  const { open, person } = await signedIn(t, redis.url)
  const ada = await person('ada')
  const streams = await openAll(t, open, ada.headers)
  redis.freeze()
  for (let i = 0; i < 3; i++) {
    open.advance(10_000)
    t.equal((await fetch(`${open.url}/events/all`, { headers: ada.headers })).status, 503)
  }
  allOpen(t, streams, 'without Redis')
  redis.thaw()
  let isBack = false
  while (!isBack) isBack = (await fetch(`${open.admin}/sessions`)).status === 200
  await fetch(`${open.admin}/sessions?issuer=corp&subject=ada`, { method: 'DELETE' })
  await lookUntil(open, streams)
  await allEnd(t, streams)
})
