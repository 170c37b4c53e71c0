import t, { type Test } from 'tap'
import { type Reason, reasons } from '../../src/errors.ts'
import { type Guarded, guarded } from '../fixtures/guarded-gateway.ts'
import { forgeFor, goodTokens, hostileTokens, type Made } from '../fixtures/hostile-tokens.ts'
import { localIssuer } from '../fixtures/issuer.ts'
import { http1Door, isOneField, type TokenDoor, type Told } from '../fixtures/token-doors.ts'

t.setTimeout(240_000)

const jwt = 'jwt: { issuer: corp, scopes: ["orders:read"] }'

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
  if (!isHttp || (reason === 'request.malformed' && expect.includes(reason))) {
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

/** Runs the whole table through each door; behind each row a good credential follows on the same connection, if it lives on. */
async function runTable(t: Test, all: Guarded, doors: readonly TokenDoor[], good: () => Made): Promise<void> {
  const { forge } = all
  let sent = 0
  for (const { name, make, expect } of hostileTokens) {
    const made = await make(forge)
    const faults: string[] = []
    for (const door of doors) {
      if (!door.fits(made)) continue
      sent++
      faults.push(...(await sendThrough(all, door, made, expect)))
      if (!/^(?:HTTP.2|gRPC)$/.test(door.name)) continue
      const next = await door.send(good())
      if (!next.isIn) faults.push(`${door.name}: then a good one: ${next.status}`)
    }
    t.same(faults, [], name)
  }
  for (const door of doors) t.ok((await door.send(good())).isIn, `${door.name}: then a good one`)
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

t.test('white space behind a field is none of it (RFC 9110, 5.5)', async t => {
  const { doors, forge } = await guarded(t, jwt)
  const [http1] = doors as [TokenDoor]
  for (const space of [' ', '\t', ' \t  '])
    t.ok((await http1.send([`Bearer ${forge.sign()}${space}`])).isIn, JSON.stringify(space))
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
  const refusals: Reason[] = ['token.invalid', 'token.missing']
  for (const { name, make, expect: asJwt } of hostileTokens) {
    // What HTTP refuses, it refuses whoever judges tokens.
    const expect = [...asJwt.filter(reason => reason === 'request.malformed'), ...refusals]
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
