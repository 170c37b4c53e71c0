import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { digestOfKey, makeKey } from '../../plugins/api-key/key.ts'
import { type Reason, reasons } from '../../src/errors.ts'
import { temporaryFolder } from '../fixtures/certificates.ts'
import { type Echo, echoUpstream } from '../fixtures/echo.ts'
import { rawUpstream, succeed } from '../fixtures/grpc/raw-upstream.ts'
import { type Forge, forgeFor, goodTokens, hostileTokens, type Made } from '../fixtures/hostile-tokens.ts'
import { type LocalIssuer, localIssuer } from '../fixtures/issuer.ts'
import {
  grpcDoor,
  http1Door,
  http2Door,
  isOneField,
  type TokenDoor,
  type Told,
  webSocketDoors
} from '../fixtures/token-doors.ts'
import { socketUpstream } from '../fixtures/web-sockets.ts'
import { buildGateway } from '../helper.ts'

t.setTimeout(240_000)

/** A server that nobody may call: how often somebody did, and with what. */
async function bait(t: Test): Promise<{ url: string; calls: string[] }> {
  const calls: string[] = []
  const server = createServer((request, response) => {
    calls.push(request.url ?? '')
    response.end('{}')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, calls }
}

/** An introspection endpoint that calls one token active, and remembers all that it was asked about. */
async function introspection(t: Test, issuer: LocalIssuer): Promise<{ active: string; asked: string[] }> {
  const known = { active: 'an-opaque-token', asked: [] as string[] }
  const server = createServer(async (request, response) => {
    let form = ''
    for await (const chunk of request) form += chunk
    const token = new URLSearchParams(form).get('token') ?? ''
    known.asked.push(token)
    const active = token === known.active
    response.end(
      JSON.stringify({ active, ...(active && { aud: 'orders-api', sub: 'alice', scope: 'orders:read' }) })
    )
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const introspection_endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
  issuer.metadata = document => ({ ...document, introspection_endpoint })
  return known
}

interface Guarded {
  forge: Forge
  issuer: LocalIssuer
  doors: TokenDoor[]
  echo: Echo
  bait: { calls: string[] }
  key: string
  port: number
  opaque: { active: string; asked: string[] }
  /** How much has come to all upstreams together. */
  reached(): number
}

const jwt = 'jwt: { issuer: corp, scopes: ["orders:read"] }'

/** A gateway with a door for each protocol, all of them with this plugin in them, and a key file for `KEYS`. */
async function guarded(t: Test, plugin: string): Promise<Guarded> {
  const issuer = await localIssuer(t)
  const trap = await bait(t)
  const forge = forgeFor(issuer, trap.url)
  const opaque = await introspection(t, issuer)
  const echo = await echoUpstream(t)
  const calls = await rawUpstream(t, succeed)
  const live = await socketUpstream(t)
  const { id, key } = makeKey()
  const keys = join(await temporaryFolder(t), 'keys.yaml')
  const hash = `sha256:${digestOfKey(key).toString('hex')}`
  await writeFile(
    keys,
    `keys:\n  - { id: ${id}, hash: "${hash}", owner: billing, scopes: ["orders:read"] }\n`
  )
  const guard = plugin.replace('KEYS', keys)
  const yaml = `listeners:
  http: { host: 127.0.0.1, port: 0 }
  h2c: { host: 127.0.0.1, port: 0 }
  admin: { host: 127.0.0.1, port: 0 }
issuers:
  corp:
    issuer: "${issuer.url}"
    audience: [orders-api]
    algorithms: [RS256, ES256]
    jwks: { refresh: 24h, cooldown: 1h }
    client: { id: gateway, secret: { env: CLIENT_SECRET } }
upstreams:
  echo: { url: "${echo.url}" }
  calls: { url: "${calls.url}", protocol: h2c }
  live: { url: "${live.url}" }
plugins: [access-log, metrics]
routes:
  orders: { match: { path: /orders/* }, upstream: echo, plugins: [${guard}] }
  calls: { match: { protocol: grpc }, upstream: calls, plugins: [${guard}] }
  live: { match: { path: /live, protocol: websocket }, upstream: live, plugins: [${guard}] }
  cookie:
    match: { path: /cookie, protocol: websocket }
    upstream: live
    plugins:
      - protocol: { origins: ["https://shop.example.com"] }
      - jwt: { issuer: corp, scopes: ["orders:read"], from: [{ cookie: token }] }
`
  const gateway = await buildGateway(t, yaml, { env: { CLIENT_SECRET: 'a secret of the client' } })
  const h2c = Number(new URL(gateway.gateway.addresses.h2c as string).port)
  return {
    forge,
    issuer,
    echo,
    bait: trap,
    key,
    port: gateway.port,
    opaque,
    doors: [
      http1Door(gateway.port, '/orders/7', () =>
        plugin.startsWith('introspection') ? opaque.active : forge.sign()
      ),
      http2Door(t, h2c, '/orders/7'),
      grpcDoor(t, h2c, '/shop.v1.Orders/Get'),
      ...webSocketDoors(t, gateway.port, '/live', '/cookie')
    ],
    reached: () => echo.requests.length + calls.calls.length + live.handshakes.length
  }
}

/** Statuses of gRPC that a client may get for a credential: UNAUTHENTICATED, PERMISSION_DENIED, and INTERNAL for what is no HTTP. */
const grpcStatus: Readonly<Record<number, number>> = { 401: 16, 403: 7, 400: 13, 431: 8 }

/** Of a route that takes tokens; of one that takes keys too, as long as there is nothing to say of a token. */
const challenges =
  /^Bearer realm="sallyport"(?:, ApiKey realm="sallyport"|, error="(?:invalid_token|insufficient_scope)", .+)?$/

/** What is wrong with how a hostile row was refused; null: nothing. */
function faultOf(door: TokenDoor, made: Made, told: Told, expect: readonly Reason[]): string | null {
  const { isIn, status, reason, challenge } = told
  const said = `${door.name}: ${status} ${reason ?? 'without a reason'}`
  if (isIn) return `${said}, and is in`
  // Bytes that no field may hold, or two fields: that is refused before anybody looks for a token.
  const isHttp = isOneField(made) || (typeof made === 'string' && door.name.includes('subprotocol'))
  if (!isHttp || reason === 'request.malformed') {
    // Node takes fields that break HTTP/2 away, and nothing is left to be judged: 401.
    const isRefusal = /^(?:400|401|431|13|reset 1|reset 2|goaway \d+|closed)$/.test(String(status))
    const isWithTrailers = door.name === 'gRPC' && status === '200'
    return isRefusal || isWithTrailers ? null : `${said}, wanted a refusal of HTTP`
  }
  if (reason === null || !expect.includes(reason)) return `${said}, wanted ${expect.join(' or ')}`
  const documented = reasons[reason].status
  if (status !== (door.name === 'gRPC' ? grpcStatus[documented] : documented))
    return `${said}, wanted ${documented}`
  if (!challenges.test(challenge ?? '')) return `${said} with the challenge ${challenge}`
  return null
}

/** The same, and whether anything of it came to an upstream. */
async function sendThrough(
  { reached }: Guarded,
  door: TokenDoor,
  made: Made,
  expect: readonly Reason[]
): Promise<string[]> {
  const before = reached()
  const fault = faultOf(door, made, await door.send(made), expect)
  // The good request that follows on the same connection.
  const own = door.name === 'HTTP/1' ? 1 : 0
  const isUntouched = reached() - before <= own
  return [
    ...(fault === null ? [] : [fault]),
    ...(isUntouched ? [] : [`${door.name}: it came to the upstream`])
  ]
}

/** Runs the whole table through each door, with a good credential after each row. */
async function runTable(
  t: Test,
  guarded: Guarded,
  doors: readonly TokenDoor[],
  good: () => Made
): Promise<void> {
  const { forge } = guarded
  let sent = 0
  for (const { name, make, expect } of hostileTokens) {
    const made = await make(forge)
    const faults: string[] = []
    for (const door of doors) {
      if (!door.fits(made)) continue
      sent++
      faults.push(...(await sendThrough(guarded, door, made, expect)))
      if (door.name === 'HTTP/1') continue
      const next = await door.send(good())
      if (!next.isIn) faults.push(`${door.name}: then a good one: ${next.status}`)
    }
    t.same(faults, [], name)
  }
  t.comment(`${hostileTokens.length} hostile tokens, sent in ${sent} ways`)
}

function nobodyAsked(t: Test, { issuer, bait }: Guarded): void {
  t.same(bait.calls, [], 'no address in a token was called')
  t.same(issuer.asked.other, [])
  t.ok(issuer.asked.keys <= 2, `one fetch of keys, and one more for all unknown kids: ${issuer.asked.keys}`)
}

t.test('the table has 120 rows and more, no two of them alike', async t => {
  const issuer = await localIssuer(t)
  const forge = forgeFor(issuer, 'http://127.0.0.1:1')
  const made = new Set<string>()
  for (const { name, make } of hostileTokens) {
    const text = JSON.stringify(await make(forge))
    t.notOk(made.has(text), `${name} is a row of its own`)
    made.add(text)
  }
  const names = new Set(hostileTokens.map(({ name }) => name))
  t.comment(`${made.size} hostile tokens, ${goodTokens.length} good ones`)
  t.equal(names.size, hostileTokens.length)
  t.ok(made.size >= 120)
})

t.test('a hostile token lets nobody in, whatever the protocol', async t => {
  const all = await guarded(t, jwt)
  await runTable(t, all, all.doors, () => all.forge.sign())
  nobodyAsked(t, all)
})

t.test('a good token lets somebody in, and nothing in it becomes a header', async t => {
  const all = await guarded(t, jwt)
  const { echo } = all
  for (const { name, make } of goodTokens) {
    const made = make(all.forge)
    const faults: string[] = []
    for (const door of all.doors) {
      if (!door.fits(made)) continue
      const reached = all.reached()
      const from = echo.requests.length
      const { isIn, status, reason } = await door.send(made)
      if (!isIn || all.reached() === reached) faults.push(`${door.name}: ${status} ${reason}`)
      for (const { headers } of echo.requests.slice(from))
        if (isForged(headers)) faults.push(`${door.name}: ${headers}`)
    }
    t.same(faults, [], name)
  }
  nobodyAsked(t, all)
})

/** Whether what the upstream got has more than one user, or a field that only a claim speaks of. */
function isForged(headers: readonly [name: string, value: string][]): boolean {
  const users = headers.filter(([name]) => name.toLowerCase() === 'x-forwarded-user')
  const isPlain = headers.every(
    ([name, value]) => name.toLowerCase() !== 'x-a' && /^[\x20-\x7e]*$/.test(value)
  )
  return users.length !== 1 || users[0]?.[1] === 'root' || !isPlain
}

t.test('a hostile token does not fall through to an API key', async t => {
  const all = await guarded(t, `any: [{ ${jwt} }, { api-key: { keys: { file: KEYS } } }]`)
  const doors = all.doors.filter(({ name }) => /^HTTP.1|gRPC|encoded/.test(name))
  await runTable(t, all, doors, () => all.forge.sign())
  nobodyAsked(t, all)
  const [http1] = doors as [TokenDoor]
  t.ok((await http1.send([`ApiKey ${all.key}`])).isIn, 'the key itself is good')
})

t.test('a good API key beside a hostile token lets nobody in', async t => {
  const all = await guarded(t, `any: [{ ${jwt} }, { api-key: { keys: { file: KEYS } } }]`)
  const beside = http1Door(all.port, '/orders/7', () => all.forge.sign(), `X-API-Key: ${all.key}\r\n`)
  const faults: string[] = []
  for (const { name, make } of hostileTokens) {
    const { isIn, status } = await beside.send(await make(all.forge))
    if (isIn || Number(status) >= 500) faults.push(`${name}: ${status}`)
  }
  t.same(faults, [])
  nobodyAsked(t, all)
})

t.test('as opaque tokens none of them is active, and none does anything else to the issuer', async t => {
  const all = await guarded(t, 'introspection: { issuer: corp }')
  const { opaque } = all
  const doors = all.doors.filter(({ name }) => /^(?:HTTP|gRPC)/.test(name))
  const expect: Reason[] = ['token.invalid', 'token.missing']
  for (const { name, make } of hostileTokens) {
    const made = await make(all.forge)
    const faults: string[] = []
    for (const door of doors) faults.push(...(await sendThrough(all, door, made, expect)))
    t.same(faults, [], name)
  }
  for (const door of doors) t.ok((await door.send(opaque.active)).isIn, `${door.name}: then a good one`)
  t.ok(
    opaque.asked.every(token => /^[A-Za-z0-9\-._~+/]+=*$/.test(token) && token.length <= 16_384),
    'the issuer is asked about what has the form of a token (RFC 6750, 2.1)'
  )
  t.same(all.bait.calls, [])
})
