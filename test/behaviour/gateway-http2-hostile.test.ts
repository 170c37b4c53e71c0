import fc from 'fast-check'
import t, { type Test } from 'tap'
import { type Echo, echoUpstream } from '../fixtures/echo.ts'
import { hostileFrames } from '../fixtures/hostile-http2.ts'
import {
  data,
  type Fields,
  flag,
  frame,
  frameClient,
  head,
  headers,
  ping,
  reset,
  settings,
  type,
  windowUpdate
} from '../fixtures/http2-frames.ts'
import { buildGateway } from '../helper.ts'

/**
 * The whole gateway between hostile frames and an HTTP/1 upstream that records what reaches it: what HTTP/2 can carry and
 * HTTP/1 would read as something else.
 */

const forwardedByUs = /^(x-forwarded-(for|host|proto|port)|x-request-id|traceparent)$/
const ours = /^(x-forwarded-|forwarded$|x-real-ip|x-original-url|x-rewrite-url|x-sallyport)/

interface Hostile {
  port: number
  echo: Echo
  uncaught: unknown[]
  inFlight(): Promise<number | undefined>
}

async function hostileGateway(t: Test): Promise<Hostile> {
  const echo = await echoUpstream(t)
  const running = await buildGateway(
    t,
    `listeners: { h2c: { host: 127.0.0.1, port: 0 }, admin: { host: 127.0.0.1, port: 0 } }
upstreams: { echo: { url: "${echo.url}" } }
plugins: [access-log, metrics]
routes:
  all: { match: { path: /* }, public: true, upstream: echo }
`
  )
  const uncaught: unknown[] = []
  const note = (error: unknown): void => void uncaught.push(error)
  process.on('uncaughtExceptionMonitor', note)
  t.teardown(() => process.off('uncaughtExceptionMonitor', note))
  const port = Number(new URL(running.gateway.addresses.h2c as string).port)
  const series = 'sallyport_requests_in_flight{route="all"}'
  return { port, echo, uncaught, inFlight: () => running.metric(series) }
}

async function goodOne(port: number): Promise<string> {
  const client = frameClient(null, port)
  client.send(headers(1, head('/good')))
  const outcome = await client.outcome(1)
  client.destroy()
  return outcome
}

/** Nothing in what the upstream got comes from a client that claims to be somebody, or stands outside its own field. */
function assertForwarded(t: Test, echo: Echo, paths: RegExp): void {
  for (const { target, headers: fields } of echo.requests) {
    t.match(target, paths)
    const names = fields.map(([name]) => name.toLowerCase())
    t.same(
      names.filter(name => ours.test(name) && !forwardedByUs.test(name)),
      []
    )
    t.notOk(names.some(name => name.startsWith(':')))
    t.equal(names.filter(name => name === 'host').length, 1)
  }
}

t.test('no hostile row gets past the gateway in another shape', async t => {
  const { port, echo, uncaught, inFlight } = await hostileGateway(t)
  for (const { name, frames, outcomes } of hostileFrames) {
    echo.requests.length = 0
    const client = frameClient(null, port)
    client.send(...frames)
    if (outcomes[0] !== 'none') {
      const outcome = await client.outcome(1)
      t.ok(outcomes.includes(outcome), `${name}: ${outcome}, one of ${outcomes.join(', ')}`)
      if (outcome !== '200') t.same(echo.requests, [], `${name}: nothing whole was sent upstream`)
    } else {
      client.send(ping())
      await client.find(each => each.type === type.ping && each.flags === 1)
    }
    assertForwarded(t, echo, /^\//)
    client.destroy()
    t.equal(await goodOne(port), '200', `${name}: then a good one`)
  }
  while ((await inFlight()) !== 0) t.comment('waiting for the last to end')
  t.same(uncaught, [])
})

const identityRows: Fields = [
  ['x-forwarded-user', 'root'],
  ['x-forwarded-groups', 'admins'],
  ['x-forwarded-for', '203.0.113.9'],
  ['x-forwarded-proto', 'https'],
  ['forwarded', 'for=203.0.113.9'],
  ['x-real-ip', '203.0.113.9'],
  ['x-original-url', '/admin'],
  ['x-rewrite-url', '/admin'],
  ['x-http-method-override', 'DELETE'],
  ['x-sallyport-identity', 'e30.e30.e30'],
  ['x.forwarded.user', 'root'],
  ['traceparent', 'evil'],
  ['x-request-id', 'evil'],
  ['proxy-authorization', 'Basic eDp5'],
  ['te', 'trailers'],
  ['trailer', 'x-forwarded-user']
]

t.test('nobody says over HTTP/2 who they are or where they come from', async t => {
  const { port, echo } = await hostileGateway(t)
  for (const [name, value] of identityRows) {
    echo.requests.length = 0
    const client = frameClient(null, port)
    client.send(headers(1, head('/who', 'GET', [name, value])))
    t.equal(await client.outcome(1), '200', name)
    client.destroy()
    const [request] = echo.requests
    t.notOk(
      request?.headers.some(([, sent]) => sent === value),
      `${name}: ${value} is not forwarded`
    )
  }
})

t.test('trailers of a request end with it: they never become fields of another', async t => {
  const { port, echo } = await hostileGateway(t)
  const client = frameClient(t, port)
  client.send(
    headers(1, head('/trailers', 'POST'), flag.endHeaders),
    data(1, 'body'),
    headers(1, [['x-forwarded-user', 'root']])
  )
  t.equal(await client.outcome(1), '200')
  t.notMatch(echo.requests[0]?.head, /root/)
  t.notMatch(echo.connections.join(''), /root/)
})

const seed = Number(process.env.FUZZ_SEED ?? 20_261_123)
const runs = Number(process.env.FUZZ_RUNS ?? 3000)

t.test(`${runs} connections with mutated frames: nobody else notices`, { timeout: 200_000 }, async t => {
  const { port, echo, uncaught, inFlight } = await hostileGateway(t)
  const perBatch = 30
  const batches = fc.array(mutatedFrames(), { minLength: perBatch, maxLength: perBatch })

  const result = await fc.check(
    fc.asyncProperty(batches, async batch => {
      await Promise.all(batch.map(frames => throwAt(port, frames)))
      const outcome = await goodOne(port)
      if (outcome !== '200') throw new Error(`a good request got ${outcome}`)
    }),
    {
      numRuns: Math.ceil(runs / perBatch),
      seed,
      interruptAfterTimeLimit: 150_000,
      markInterruptAsFailure: true
    }
  )
  t.equal(result.failed, false, `seed ${seed}: ${result.errorInstance}`)
  t.ok(echo.requests.length > runs / 10, `${echo.requests.length} requests were good enough for the upstream`)
  assertForwarded(t, echo, /^\/[\x21-\x7e]*$/)
  while ((await inFlight()) !== 0) t.comment('waiting for the last to end')
  t.same(uncaught, [])
})

/** Sends, waits until the server has read it all (it answers the PING, or ends the connection), and goes. */
async function throwAt(port: number, frames: readonly Buffer[]): Promise<void> {
  const client = frameClient(null, port)
  client.send(...frames, frame(type.ping, 0, 0, 'the last'))
  const pong = client.find(
    each => each.type === type.ping && each.flags === 1 && each.payload.toString() === 'the last'
  )
  // A frame that lost its length makes the server wait for more.
  const timer = setTimeout(() => client.destroy(), 300)
  await pong
  clearTimeout(timer)
  client.destroy()
}

/** A sound exchange of several frames, some of which are cut, bent, doubled or put elsewhere. */
function mutatedFrames(): fc.Arbitrary<Buffer[]> {
  const values = fc.constantFrom('a', 'root', '%0d%0aX: y', 'a\r\nx-forwarded-user: root', '\0', 'é', '')
  const names = fc.constantFrom(
    'x-a',
    'cookie',
    'x-forwarded-user',
    'host',
    'content-length',
    'transfer-encoding',
    'X-A',
    'x a',
    ':path',
    'te'
  )
  const paths = fc.constantFrom('/ok', '/a/b?c=d', '/..', '//', '/%2e', '/a b', '/a\r\nx: y', '*', '', '/%00')
  const fields = fc
    .tuple(paths, fc.constantFrom('GET', 'POST', 'HEAD'), fc.array(fc.tuple(names, values), { maxLength: 2 }))
    .map(([path, method, more]) => head(path, method, ...more))
  const stream = fc.constantFrom(1, 3, 5)
  const one = fc.oneof(
    { weight: 6, arbitrary: fc.tuple(stream, fc.constantFrom('/ok', '/a?b'), fc.constant('GET')).map(good) },
    { weight: 4, arbitrary: fc.tuple(stream, fields).map(([id, list]) => headers(id, list)) },
    {
      weight: 3,
      arbitrary: fc.tuple(stream, fields).map(([id, list]) => headers(id, list, flag.endHeaders))
    },
    { weight: 3, arbitrary: fc.tuple(stream, fc.constantFrom(0, flag.endStream)).map(dataOf) },
    { weight: 1, arbitrary: stream.map(id => reset(id)) },
    { weight: 1, arbitrary: fc.constant(settings([4, 65_535])) },
    { weight: 1, arbitrary: fc.tuple(stream, fc.integer({ min: 0, max: 2 ** 31 - 1 })).map(windowOf) },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 40 }).map(bytes => Buffer.from(bytes)) }
  )
  const mutation = fc.tuple(fc.nat(), fc.nat(), fc.integer({ min: 0, max: 255 }))
  return fc
    .tuple(fc.array(one, { minLength: 1, maxLength: 5 }), fc.array(mutation, { maxLength: 2 }))
    .map(([frames, mutations]) => {
      for (const [which, at, byte] of mutations) {
        const chosen = frames[which % frames.length] as Buffer
        if (chosen.length > 0) chosen[at % chosen.length] = byte
      }
      return frames
    })
}

function good([id, path, method]: [number, string, string]): Buffer {
  return headers(id, head(path, method))
}

function dataOf([id, flags]: [number, number]): Buffer {
  return data(id, 'abc', flags)
}

function windowOf([id, size]: [number, number]): Buffer {
  return windowUpdate(id, size)
}
