import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { grpcGateway, openRoute, quiet } from '../fixtures/grpc/gateway.ts'
import {
  answerHead,
  block,
  endHeaders,
  endStream,
  frame,
  frames,
  hostileUpstream,
  type Script,
  uint32
} from '../fixtures/grpc/hostile-upstream.ts'
import { message } from '../fixtures/grpc/message.ts'
import { call, openSession, statusOf } from '../fixtures/grpc/raw-call.ts'
import { rawUpstream } from '../fixtures/grpc/raw-upstream.ts'

const method = '/shop.v1.Orders/Get'

t.test('an HTTP status without a gRPC status becomes one (http-grpc-status-mapping.md)', async t => {
  const upstream = await rawUpstream(t, seen => {
    seen.stream.resume()
    const [status, type] = (seen.headers['x-do'] as string).split(' ')
    seen.stream.respond({ ':status': Number(status), 'content-type': type })
    seen.stream.end('<html>c4nary</html>')
  })
  const gateway = await grpcGateway(t, openRoute(upstream.url))
  const session = openSession(t, gateway.h2c)
  const mapping: Record<number, number[]> = {
    400: [13],
    401: [16],
    403: [7],
    404: [12],
    429: [14],
    502: [14],
    503: [14],
    504: [14],
    405: [2],
    418: [2],
    500: [2],
    204: [2],
    302: [2],
    // Nothing is wrong with the HTTP of it: a client takes it for UNKNOWN, or for an answer that breaks gRPC.
    200: [2, 13]
  }
  for (const type of ['text/html', 'application/json']) {
    for (const [http, statuses] of Object.entries(mapping)) {
      const answer = await call(session, method, { 'x-do': `${http} ${type}` })
      t.ok(statuses.includes(statusOf(answer)), `${http} ${type} is ${statusOf(answer)}, wanted ${statuses}`)
      t.equal(answer.headers[':status'], 200)
      t.notMatch(answer.body.toString(), 'c4nary', 'a page is no message')
    }
  }
  await quiet(gateway, 'open')
})

/** 13 and 14: the answer breaks the protocol, or the connection broke; 2: no status came. */
const broken = [2, 13, 14]

const data = (stream: number, flags = 0) => frame(frames.data, flags, stream, message('x'))
const trailers = (stream: number, fields: Record<string, string> = { 'grpc-status': '0' }) =>
  frame(frames.headers, endHeaders | endStream, stream, block(fields))

const rows: Record<string, Script & { allowed?: number[] }> = {
  'closes at once': { greeting: null, allowed: [14] },
  'sends no HTTP/2': { greeting: Buffer.from('SSH-2.0-OpenSSH_9.9\r\n') },
  'answers in HTTP/1': { greeting: Buffer.from('HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n') },
  'closes when a call comes': { onCall: () => null, allowed: [14] },
  'ends the connection after the head': {
    onCall: (stream, socket) => {
      socket.end(answerHead(stream))
      return Buffer.alloc(0)
    }
  },
  'ends the connection in the middle of a message': {
    onCall: (stream, socket) => {
      socket.end(
        Buffer.concat([answerHead(stream), frame(frames.data, 0, stream, message('long').subarray(0, 7))])
      )
      return Buffer.alloc(0)
    }
  },
  'says GOAWAY with an error': {
    onCall: () => frame(frames.goaway, 0, 0, uint32(0, 2)),
    allowed: [13, 14]
  },
  'resets before the head': { onCall: stream => frame(frames.reset, 0, stream, uint32(2)) },
  'refuses the stream': { onCall: stream => frame(frames.reset, 0, stream, uint32(7)), allowed: [14] },
  'resets after the head': {
    onCall: stream => Buffer.concat([answerHead(stream), frame(frames.reset, 0, stream, uint32(2))])
  },
  'resets after a message': {
    onCall: stream =>
      Buffer.concat([answerHead(stream), data(stream), frame(frames.reset, 0, stream, uint32(2))])
  },
  'resets with a code that nobody knows': {
    onCall: stream => frame(frames.reset, 0, stream, uint32(0xffff)),
    allowed: [2, 13, 14]
  },
  'sends no trailers': { onCall: stream => Buffer.concat([answerHead(stream), data(stream, endStream)]) },
  'ends with the head, without a status': { onCall: stream => answerHead(stream, endHeaders | endStream) },
  'sends trailers without a status': {
    onCall: stream => Buffer.concat([answerHead(stream), data(stream), trailers(stream, { 'x-a': 'b' })])
  },
  'sends a status that is none': {
    onCall: stream => Buffer.concat([answerHead(stream), trailers(stream, { 'grpc-status': 'fine' })])
  },
  'sends an empty status': {
    onCall: stream => Buffer.concat([answerHead(stream), trailers(stream, { 'grpc-status': '' })])
  },
  'sends DATA before the head': { onCall: stream => data(stream) },
  'sends DATA on stream 0': { onCall: stream => Buffer.concat([answerHead(stream), data(0)]) },
  'sends DATA on a stream that nobody opened': {
    onCall: stream => Buffer.concat([answerHead(stream), data(stream + 20)])
  },
  'sends HEADERS on a stream of its own': { onCall: () => answerHead(2) },
  pushes: {
    onCall: stream =>
      frame(
        frames.push,
        endHeaders,
        stream,
        Buffer.concat([uint32(2), block({ ':method': 'GET', ':path': '/' })])
      )
  },
  'sends a frame larger than allowed': {
    onCall: stream => frame(frames.data, 0, stream, Buffer.alloc(100_000))
  },
  'sends a header block that is garbage': {
    onCall: stream => frame(frames.headers, endHeaders, stream, Buffer.alloc(40, 0xff))
  },
  'sends header names in upper case': {
    onCall: stream => answerHead(stream, endHeaders, { 'X-Upper': 'a' })
  },
  'sends a line break in a header': {
    onCall: stream => answerHead(stream, endHeaders, { 'x-a': 'b\r\nc: d' })
  },
  'sends connection headers': { onCall: stream => answerHead(stream, endHeaders, { connection: 'close' }) },
  'sends no :status': {
    onCall: stream => frame(frames.headers, endHeaders, stream, block({ 'content-type': 'application/grpc' }))
  },
  'sends a :status that is none': { onCall: stream => answerHead(stream, endHeaders, { ':status': 'abc' }) },
  'sends pseudo-headers in trailers': {
    onCall: stream =>
      Buffer.concat([answerHead(stream), trailers(stream, { ':status': '200', 'grpc-status': '0' })])
  },
  'sends headers of 1 MB': {
    onCall: stream =>
      Buffer.concat([
        frame(frames.headers, 0, stream, block({ ':status': '200', 'content-type': 'application/grpc' })),
        ...Array.from({ length: 70 }, () =>
          frame(frames.continuation, 0, stream, block({ 'x-a': 'a'.repeat(15_000) }))
        ),
        frame(frames.continuation, endHeaders, stream)
      ])
  },
  'sends 2,000 headers': {
    onCall: stream =>
      Buffer.concat([
        frame(frames.headers, 0, stream, block({ ':status': '200', 'content-type': 'application/grpc' })),
        ...Array.from({ length: 2000 }, (_, i) =>
          frame(frames.continuation, 0, stream, block({ [`x-${i}`]: 'a' }))
        ),
        frame(frames.continuation, endHeaders, stream)
      ])
  },
  'sends CONTINUATION without HEADERS': { onCall: stream => frame(frames.continuation, endHeaders, stream) },
  'overflows the window': {
    onCall: stream => Buffer.concat([frame(frames.window, 0, stream, uint32(0x7fffffff)), answerHead(stream)])
  },
  'opens the window by nothing': { onCall: () => frame(frames.window, 0, 0, uint32(0)) },
  'sends more than the window': {
    onCall: stream =>
      Buffer.concat([
        answerHead(stream),
        ...Array.from({ length: 4000 }, () => frame(frames.data, 0, stream, Buffer.alloc(16_384)))
      ])
  },
  'floods with SETTINGS': {
    onCall: () => Buffer.concat(Array.from({ length: 20_000 }, () => frame(frames.settings, 0, 0)))
  },
  'floods with PING': {
    onCall: () =>
      Buffer.concat(Array.from({ length: 20_000 }, () => frame(frames.ping, 0, 0, Buffer.alloc(8))))
  },
  'switches protocols': { onCall: stream => answerHead(stream, endHeaders, { ':status': '101' }) },
  'answers with interim heads for ever': {
    onCall: stream =>
      Buffer.concat(
        Array.from({ length: 1000 }, () =>
          frame(frames.headers, endHeaders, stream, block({ ':status': '103' }))
        )
      )
  }
}

t.test('a hostile upstream costs its own call only', async t => {
  const good = await rawUpstream(t)
  const names = Object.keys(rows)
  const urls = await Promise.all(Object.values(rows).map(script => hostileUpstream(t, script)))
  const upstreams = urls.map(
    (url, i) => `  hostile-${i}: { url: "${url}", protocol: h2c, timeouts: { response: 2s, idle: 2s } }\n`
  )
  const routes = urls.map(
    (_, i) =>
      `  hostile-${i}: { match: { protocol: grpc, service: hostile.S${i} }, public: true, upstream: hostile-${i}, timeout: 2s }\n`
  )
  const gateway = await grpcGateway(
    t,
    `upstreams:
  good: { url: "${good.url}", protocol: h2c }
${upstreams.join('')}
routes:
  good: { match: { protocol: grpc }, public: true, upstream: good }
${routes.join('')}`
  )
  const session = openSession(t, gateway.h2c)
  for (const [i, name] of names.entries()) {
    const allowed = rows[name]?.allowed ?? [...broken, 4]
    const answer = await call(session, `/hostile.S${i}/Get`, { 'grpc-timeout': '5S' })
    t.ok(allowed.includes(statusOf(answer)), `${name}: ${statusOf(answer)} of ${allowed}`)
    t.equal(statusOf(await call(session, method)), 0, 'a good call on the same connection')
    await quiet(gateway, `hostile-${i}`)
  }
  t.notOk(session.destroyed)
  await quiet(gateway, 'good')
})

t.test('a head that has no end does not end the process, whatever the collector takes first', async t => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const url = await hostileUpstream(t, {
    onCall: stream =>
      Buffer.concat([
        frame(frames.headers, 0, stream, block({ ':status': '200' })),
        ...Array.from({ length: 20 }, (_, i) =>
          frame(frames.continuation, 0, stream, block({ [`x-${i}`]: 'a'.repeat(15_000) }))
        )
      ])
  })
  const gateway = await grpcGateway(t, openRoute(url))
  const session = openSession(t, gateway.h2c)
  for (let round = 0; round < 8; round++) {
    const answers = await Promise.all(Array.from({ length: 20 }, () => call(session, method)))
    t.ok(answers.every(answer => statusOf(answer) === 14))
    for (let turn = 0; turn < 2; turn++) {
      await new Promise(setImmediate)
      collect()
    }
  }
  await quiet(gateway, 'open')
})

t.test('an upstream that takes connections and says nothing costs a call its deadline', async t => {
  const sockets: Socket[] = []
  const server = createServer(socket => {
    sockets.push(socket)
    socket.on('error', () => {})
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const gateway = await grpcGateway(
    t,
    `upstreams: { silent: { url: "${url}", protocol: h2c } }
routes:
  open: { match: { protocol: grpc, service: shop.Patient }, public: true, upstream: silent }
  short: { match: { protocol: grpc, service: shop.Short }, public: true, upstream: silent, timeout: 300ms }
`
  )
  const session = openSession(t, gateway.h2c)
  t.equal(statusOf(await call(session, '/shop.Patient/Get', { 'grpc-timeout': '300m' })), 4, "the client's")
  t.equal(statusOf(await call(session, '/shop.Short/Get')), 4, "the route's")
  await quiet(gateway, 'open')
  await quiet(gateway, 'short')
})
