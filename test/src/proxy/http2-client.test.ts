import { once } from 'node:events'
import type { ClientHttp2Stream, ServerHttp2Stream } from 'node:http2'
import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { buildConnector } from 'undici'
import { Http2Client, type Http2ClientOptions, type SessionTaker } from '../../../src/proxy/http2/client.ts'
import { noStream, wasNotProcessed } from '../../../src/proxy/http2/errors.ts'
import type { UpstreamSession } from '../../../src/proxy/http2/session.ts'
import { frame, good, rawHttp2Upstream, setting, types, uint32 } from '../../fixtures/frame-upstream.ts'
import { http2Upstream } from '../../fixtures/http2-upstream.ts'
import { ManualTime } from '../../fixtures/manual-time.ts'

const headers = [':method', 'GET', ':scheme', 'http', ':authority', 'a', ':path', '/']
const noBody = { endStream: true }

interface Running {
  client: Http2Client
  time: ManualTime
  /** Connections begun, and calls on unproven ones. */
  unproven(): number
}

function clientTo(t: Test, origin: string, changes: Partial<Http2ClientOptions> = {}): Running {
  const time = new ManualTime()
  let unproven = 0
  const client = new Http2Client({
    origin,
    connector: buildConnector({ timeout: 2000 }),
    connectTimeout: 2000,
    maxSessions: 10,
    timers: time,
    onUnproven: () => void unproven++,
    ...changes
  })
  t.teardown(() => client.destroy())
  return { client, time, unproven: () => unproven }
}

/** Asks for a session and opens a stream on it. */
function ask(
  client: Http2Client,
  told: (error: Error | null, stream: ClientHttp2Stream | null) => void,
  fields = headers
): SessionTaker {
  const user = { gotHead() {}, gotTrailers() {}, gotClose() {} }
  const taker = {
    onSession(session: UpstreamSession) {
      let stream: ClientHttp2Stream
      try {
        stream = session.request(fields, noBody, user)
      } catch (error) {
        told(noStream(error as Error), null)
        return
      }
      told(null, stream)
    },
    onNoSession(error: Error) {
      told(error, null)
    }
  }
  client.acquire(taker)
  return taker
}

function open(client: Http2Client): Promise<ClientHttp2Stream> {
  return new Promise((resolve, reject) => {
    ask(client, (error, stream) => (stream === null ? reject(error) : resolve(stream)))
  })
}

/** The body of an answer; rejects when it breaks off. */
async function answer(stream: ClientHttp2Stream): Promise<string> {
  let body = ''
  for await (const chunk of stream) body += chunk
  return body
}

/** Streams that have come to a server and wait for their answer. */
function holding() {
  const held: ServerHttp2Stream[] = []
  return {
    held,
    hold: (stream: ServerHttp2Stream) => {
      stream.on('error', () => {})
      held.push(stream)
    },
    async arrived(count: number) {
      while (held.length < count) await turn()
    },
    answerAll() {
      for (const stream of held.splice(0)) {
        stream.respond({ ':status': 200 })
        stream.end('ok')
      }
    }
  }
}

t.test('requests share a session, which is there at once for all but the first', async t => {
  const { url, server, sessions } = await http2Upstream(t, (_request, response) => response.end('ok'))
  server.on('stream', () => {})
  const { client, unproven } = clientTo(t, url)
  t.equal(await answer(await open(client)), 'ok')
  t.equal(unproven(), 1)
  let isSync = true
  ask(client, (_error, stream) => {
    t.ok(isSync)
    stream?.resume()
  })
  isSync = false
  t.equal(unproven(), 1)
  await Promise.all(Array.from({ length: 50 }, async () => answer(await open(client))))
  t.equal(sessions.length, 1)
})

t.test('requests that come while a session is connected wait for it, and count as unproven', async t => {
  const { url, sessions } = await http2Upstream(t, (_request, response) => response.end('ok'))
  const { client, unproven } = clientTo(t, url)
  const streams = await Promise.all(Array.from({ length: 20 }, () => open(client)))
  t.equal(unproven(), 20)
  await Promise.all(streams.map(answer))
  t.equal(sessions.length, 1)
})

t.test('a request that is cancelled while it waits is never sent', async t => {
  let requests = 0
  const { url } = await http2Upstream(t, (_request, response) => {
    requests++
    response.end('ok')
  })
  const { client } = clientTo(t, url)
  client.release(ask(client, () => t.fail('it was cancelled')))
  t.equal(await answer(await open(client)), 'ok')
  t.equal(requests, 1)
})

t.test('the upstream says how many streams it takes, and further sessions take the rest', async t => {
  const { held, hold, arrived, answerAll } = holding()
  const { url, server, sessions } = await http2Upstream(t, null, { settings: { maxConcurrentStreams: 2 } })
  server.on('stream', hold)
  const { client } = clientTo(t, url)
  const known = await open(client)
  await arrived(1)
  answerAll()
  await answer(known)
  const streams = await Promise.all(Array.from({ length: 5 }, () => open(client)))
  await arrived(5)
  t.equal(sessions.length, 3)
  const perSession = new Map<unknown, number>()
  for (const stream of held) perSession.set(stream.session, (perSession.get(stream.session) ?? 0) + 1)
  t.same([...perSession.values()].sort(), [1, 2, 2])
  answerAll()
  await Promise.all(streams.map(answer))
  while (client.streams > 0) await turn()
  const more = [await open(client), await open(client), await open(client)]
  await arrived(3)
  t.equal(new Set(held.map(({ session }) => session)).size, 3, 'each gets the session with the fewest')
  answerAll()
  await Promise.all(more.map(answer))
})

t.test('there are never more sessions than are allowed, and who waits gets the room of who ends', async t => {
  const { hold, arrived, answerAll, held } = holding()
  const { url, server, sessions } = await http2Upstream(t, null, { settings: { maxConcurrentStreams: 1 } })
  server.on('stream', hold)
  const { client } = clientTo(t, url, { maxSessions: 2 })
  const known = await open(client)
  await arrived(1)
  answerAll()
  await answer(known)
  const first = await open(client)
  await arrived(1)
  const second = await open(client)
  await arrived(2)
  const third = open(client)
  await turn()
  t.equal(sessions.length, 2)
  t.equal(held.length, 2)
  answerAll()
  t.same(await Promise.all([answer(first), answer(second)]), ['ok', 'ok'])
  const late = await third
  await arrived(1)
  answerAll()
  t.equal(await answer(late), 'ok')
  t.equal(sessions.length, 2)
})

t.test('an upstream that takes no streams is not asked again and again', async t => {
  const upstream = await rawHttp2Upstream(t, (socket, id) => void socket.write(good(id)), setting(3, 0))
  const { client } = clientTo(t, upstream.url, { connectTimeout: 300 })
  await answer(await open(client)) // It was sent before the SETTINGS came.
  await t.rejects(open(client), { code: 'UND_ERR_CONNECT_TIMEOUT' })
  t.equal(upstream.connections.length, 1)
})

t.test('after a GOAWAY those under way end, and the next goes elsewhere', async t => {
  const { held, hold, arrived, answerAll } = holding()
  const { url, server, sessions } = await http2Upstream(t, null)
  server.on('stream', hold)
  const { client } = clientTo(t, url)
  const before = await open(client)
  await arrived(1)
  held[0]?.session?.goaway(0, 2 ** 31 - 1)
  for (let i = 0; i < 50; i++) await turn() // Until it has come.
  const after = await open(client)
  await arrived(2)
  t.equal(sessions.length, 2)
  answerAll()
  t.same(await Promise.all([before, after].map(answer)), ['ok', 'ok'])
})

t.test('a stream that the upstream refused was not processed, one that it reset was', async t => {
  const upstream = await rawHttp2Upstream(t, (socket, id, index) => {
    if (index === 0) socket.write(frame(types.reset, 0, id, uint32(7)))
    else if (index === 1) socket.write(frame(types.reset, 0, id, uint32(2)))
    else socket.write(frame(types.goaway, 0, 0, Buffer.concat([uint32(id - 2), uint32(0)])))
  })
  const { client } = clientTo(t, upstream.url)
  for (const expected of [true, false, true]) {
    const stream = await open(client)
    stream.on('error', () => {})
    await new Promise(resolve => stream.once('close', resolve))
    t.equal(wasNotProcessed(stream), expected)
  }
  const { client: alone } = clientTo(t, 'http://127.0.0.1:1')
  const error = await open(alone).catch((error: Error) => error as Error)
  t.match(error, { code: 'ECONNREFUSED' })
  t.ok(wasNotProcessed(error as Error))
})

t.test('a connection that cannot be made fails everybody who waits for it', async t => {
  const { client } = clientTo(t, 'http://127.0.0.1:1')
  const errors = await Promise.all([open(client), open(client)].map(one => one.catch(error => error.code)))
  t.same(errors, ['ECONNREFUSED', 'ECONNREFUSED'])
})

t.test('a header that cannot be said fails its own request', async t => {
  const { url, sessions } = await http2Upstream(t, (_request, response) => response.end('ok'))
  const { client } = clientTo(t, url)
  const error = await new Promise<Error | null>(resolve =>
    ask(client, resolve, [...headers, 'connection', 'close'])
  )
  t.match(error, { code: 'ERR_HTTP2_INVALID_CONNECTION_HEADERS' })
  t.equal(await answer(await open(client)), 'ok')
  t.equal(sessions.length, 1)
})

t.test('a session from which nothing comes is asked, and ends when it does not answer', async t => {
  const upstream = await rawHttp2Upstream(t, () => {})
  const { client, time } = clientTo(t, upstream.url)
  const stream = await open(client)
  while (!upstream.frames.some(({ type }) => type === types.headers)) await turn()
  const pings = () => upstream.frames.filter(({ type }) => type === types.ping).length
  // What came since the session began counts once.
  time.advance(20_000)
  time.advance(20_000)
  while (pings() === 0) await turn()
  const failed = once(stream, 'error')
  time.advance(10_000)
  t.match(await failed, [{ code: 'ETIMEDOUT' }])
  t.equal(wasNotProcessed(stream), false)
  while (client.size > 0) await turn()
})

t.test('a session that answers is asked again after five minutes only', async t => {
  let pings = 0
  const { held, hold, arrived, answerAll } = holding()
  const { url, server } = await http2Upstream(t, null)
  server.on('stream', hold)
  server.on('session', session => session.on('ping', () => pings++))
  const { client, time } = clientTo(t, url)
  const stream = await open(client)
  await arrived(1)
  time.advance(20_000)
  time.advance(20_000)
  while (pings === 0) await turn()
  for (let i = 0; i < 50; i++) await turn() // Until its answer has come.
  for (let i = 0; i < 14; i++) {
    time.advance(20_000)
    await turn()
  }
  t.equal(pings, 1)
  t.equal(held.length, 1)
  answerAll()
  t.equal(await answer(stream), 'ok')
})

t.test('a session that nobody uses is closed after a minute', async t => {
  const { url, sessions } = await http2Upstream(t, (_request, response) => response.end('ok'))
  const { client, time } = clientTo(t, url)
  await answer(await open(client))
  await turn()
  time.advance(60_000)
  t.equal(client.size, 1)
  time.advance(20_000)
  while (client.size > 0) await turn()
  t.equal(await answer(await open(client)), 'ok')
  t.equal(sessions.length, 2)
})

t.test('closing lets those under way end, and takes no more', async t => {
  const { hold, arrived, answerAll } = holding()
  const { url, server } = await http2Upstream(t, null)
  server.on('stream', hold)
  const { client } = clientTo(t, url)
  const stream = await open(client)
  await arrived(1)
  const closed = client.close()
  await t.rejects(open(client), { code: 'UND_ERR_CLOSED' })
  answerAll()
  t.equal(await answer(stream), 'ok')
  await closed
})

t.test('destroying ends everything', async t => {
  const { hold, arrived } = holding()
  const { url, server } = await http2Upstream(t, null)
  server.on('stream', hold)
  const { client } = clientTo(t, url)
  const stream = await open(client)
  await arrived(1)
  const ended = once(stream, 'close')
  await client.destroy()
  await ended
  t.equal(client.size, 0)
})

t.test('ten thousand requests, a third of them cancelled, leave nothing behind', async t => {
  const { url, sessions } = await http2Upstream(t, (_request, response) => response.end('ok'))
  const { client } = clientTo(t, url)
  await answer(await open(client))
  for (let i = 0; i < 200; i++) {
    await Promise.all(
      Array.from({ length: 50 }, async (_, index) => {
        const stream = await open(client)
        if (index % 3 > 0) return answer(stream)
        stream.resume()
        const closed = once(stream, 'close')
        stream.close(8)
        return closed
      })
    )
  }
  while (client.streams > 0 || client.size > 1) await turn()
  t.ok(sessions.length > 1, 'no session is cancelled on so often that the server would break it')
})
