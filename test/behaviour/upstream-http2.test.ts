import { once } from 'node:events'
import { request as httpRequest, type IncomingMessage, type RequestListener } from 'node:http'
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2'
import t from 'tap'
import {
  endHeaders,
  endStream,
  fields,
  frame,
  good,
  type RawHttp2Upstream,
  rawHttp2Upstream,
  setting,
  types,
  uint32
} from '../fixtures/frame-upstream.ts'
import { http2Upstream } from '../fixtures/http2-upstream.ts'
import { plugin, proxying } from '../fixtures/proxying.ts'
import { rawClient } from '../fixtures/raw.ts'
import { settled } from '../fixtures/settled.ts'

const h2c = 'protocol: h2c'
const secret = 'upstream-secret'

function tick(): Promise<void> {
  return new Promise(resolve => setImmediate(resolve))
}

function repeated(count: number, bytes: Buffer): Buffer {
  return Buffer.concat(Array.from({ length: count }, () => bytes))
}

/** A head without END_STREAM. */
function head(stream: number, ...list: [string, string][]): Buffer {
  return frame(types.headers, endHeaders, stream, fields(...list))
}

type Bytes = (stream: number) => Buffer

/** What an upstream may send instead of an answer; each is 502 `upstream.protocol`, and the next request is answered. */
const hostile: Record<string, Bytes> = {
  'no HTTP/2 at all': () => Buffer.from(`HTTP/1.1 200 OK\r\nx: ${secret}\r\ncontent-length: 2\r\n\r\nok`),
  'a frame larger than it may be': () => frame(types.data, 0, 1, Buffer.alloc(20_000)),
  'a frame on a stream that is not there': id => frame(types.data, 0, id + 100, Buffer.from('x')),
  'a pushed stream': id =>
    frame(types.pushPromise, endHeaders, id, Buffer.concat([uint32(2), fields([':path', '/'])])),
  'a header that is no HPACK': id =>
    frame(types.headers, endHeaders, id, Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff, 0xff])),
  'a header without a status': id => head(id, ['x-a', 'b']),
  'a status that is none': id => head(id, [':status', 'abc']),
  'status 99': id => head(id, [':status', '099']),
  'status 600': id => head(id, [':status', '600']),
  'two statuses': id => head(id, [':status', '200'], [':status', '200']),
  'a pseudo-header of requests': id => head(id, [':status', '200'], [':path', '/']),
  'an unsolicited 101': id => head(id, [':status', '101']),
  'an upper-case name': id => head(id, [':status', '200'], ['X-A', 'b']),
  'a connection field': id => head(id, [':status', '200'], ['connection', 'close']),
  'a transfer coding': id => head(id, [':status', '200'], ['transfer-encoding', 'chunked']),
  'two lengths': id => head(id, [':status', '200'], ['content-length', '2'], ['content-length', '3']),
  'a length that is none': id => head(id, [':status', '200'], ['content-length', '-1']),
  'a body on 204': id =>
    Buffer.concat([
      head(id, [':status', '204'], ['content-length', '2']),
      frame(types.data, endStream, id, Buffer.from('no'))
    ]),
  'a body before the head': id => frame(types.data, 0, id, Buffer.from('x')),
  'a flood of 103': id => repeated(1000, head(id, [':status', '103'], ['link', '</a>'])),
  'a header without end': id =>
    Buffer.concat([
      frame(types.headers, 0, id, fields([':status', '200'])),
      repeated(1000, frame(types.continuation, 0, id, fields(['x-a', 'a'.repeat(1000)])))
    ]),
  'a header over 64 KiB': id =>
    Buffer.concat([
      frame(types.headers, 0, id, fields([':status', '200'])),
      repeated(4, frame(types.continuation, 0, id, fields(['x-a', 'a'.repeat(16_000)]))),
      frame(types.continuation, endHeaders, id, fields(['x-b', 'b'.repeat(16_000)]))
    ]),
  'a flood of PING': () => repeated(20_000, frame(types.ping, 0, 0, Buffer.alloc(8))),
  'a flood of SETTINGS': () => repeated(20_000, frame(types.settings, 0, 0, setting(3, 100))),
  'a window beyond all bounds': () => repeated(3, frame(types.windowUpdate, 0, 0, uint32(0x7fff_ffff))),
  'a reset with PROTOCOL_ERROR': id => frame(types.reset, 0, id, uint32(1)),
  'a reset that asks for HTTP/1.1': id => frame(types.reset, 0, id, uint32(13))
}

for (const [name, bytes] of Object.entries(hostile)) {
  t.test(`an upstream that sends ${name} costs its own requests only`, async t => {
    const upstream = await rawHttp2Upstream(t, (socket, stream, index) => {
      socket.write(index === 0 ? bytes(stream) : good(stream))
    })
    const { url, recorder, metric } = await proxying(t, upstream.url, { more: h2c, uses: 'metrics' })
    const response = await fetch(`${url}/first`, { method: 'POST' })
    const text = await response.text()
    t.equal(response.status, 502)
    t.match(JSON.parse(text), { reason: 'upstream.protocol' })
    t.notMatch(JSON.stringify([...response.headers]) + text, /upstream-secret|HTTP2|NGHTTP2|x-a/)
    t.equal(await (await fetch(`${url}/second`)).text(), 'ok')
    t.match(await recorder.ended(2), [{ status: 502, reason: 'upstream.protocol' }, { status: 200 }])
    t.equal(await metric('sallyport_requests_in_flight{route="all"}'), 0)
  })
}

/** Faults that show only when the head has gone out: the client sees a broken connection, not a short 200. */
const midway: Record<string, [reason: string, Bytes]> = {
  'less than it announced': [
    'upstream.protocol',
    id =>
      Buffer.concat([
        head(id, [':status', '200'], ['content-length', '9']),
        frame(types.data, endStream, id, Buffer.from('x'))
      ])
  ],
  'more than it announced': [
    'upstream.protocol',
    id =>
      Buffer.concat([
        head(id, [':status', '200'], ['content-length', '1']),
        frame(types.data, 0, id, Buffer.from('xyz'))
      ])
  ],
  'a reset without an error': [
    'upstream.reset',
    id =>
      Buffer.concat([
        head(id, [':status', '200']),
        frame(types.data, 0, id, Buffer.from('half')),
        frame(types.reset, 0, id, uint32(0))
      ])
  ],
  'a reset with INTERNAL_ERROR': [
    'upstream.reset',
    id =>
      Buffer.concat([
        head(id, [':status', '200']),
        frame(types.data, 0, id, Buffer.from('half')),
        frame(types.reset, 0, id, uint32(2))
      ])
  ],
  'a GOAWAY with an error': [
    'upstream.reset',
    id =>
      Buffer.concat([
        head(id, [':status', '200']),
        frame(types.data, 0, id, Buffer.from('half')),
        frame(types.goaway, 0, 0, Buffer.concat([uint32(0), uint32(2)]))
      ])
  ],
  'a flood of empty frames': [
    'upstream.protocol',
    id => Buffer.concat([head(id, [':status', '200']), repeated(5000, frame(types.data, 0, id))])
  ],
  'trailers that are a second head': [
    'upstream.protocol',
    id =>
      Buffer.concat([
        head(id, [':status', '200']),
        frame(types.data, 0, id, Buffer.from('half')),
        frame(types.headers, endHeaders | endStream, id, fields([':status', '200']))
      ])
  ]
}

for (const [name, [reason, bytes]] of Object.entries(midway)) {
  for (const uses of [undefined, 'see']) {
    t.test(
      `an upstream that sends ${name} breaks the answer off${uses ? ', also for plugins' : ''}`,
      async t => {
        const upstream = await rawHttp2Upstream(t, (socket, stream, index) => {
          socket.write(index === 0 ? bytes(stream) : good(stream))
        })
        const { url, recorder } = await proxying(t, upstream.url, {
          more: h2c,
          uses,
          files: {
            'see.mjs': plugin('transform', "route.addHook('onSend', async (a, b, payload) => payload)")
          }
        })
        // The head may not have gone out before the fault was seen: a 502 is right then.
        const whole = await fetch(`${url}/`, { method: 'POST' })
          .then(
            async response => {
              await response.text()
              return response.status === 200
            },
            () => false
          )
          .catch(() => false)
        t.equal(whole, false)
        t.match(await recorder.ended(1), [{ reason }])
        t.equal(await (await fetch(`${url}/`)).text(), 'ok')
      }
    )
  }
}

t.test('a field whose value is none of HTTP is left out', async t => {
  const upstream = await rawHttp2Upstream(t, (socket, stream) => {
    const bad: [string, string][] = [
      ['x-nul', 'a\0b'],
      ['x-split', `a\r\nx-injected: ${secret}`]
    ]
    const list = fields([':status', '200'], ['x-good', '1'], ...bad, ['content-length', '0'])
    socket.write(frame(types.headers, endHeaders | endStream, stream, list))
  })
  const { url } = await proxying(t, upstream.url, { more: h2c })
  const { status, headers } = await fetch(url)
  t.equal(status, 200)
  t.equal(headers.get('x-good'), '1')
  t.notMatch(JSON.stringify([...headers]), /x-nul|x-split|x-injected|upstream-secret/)
})

t.test('HEAD, 204, 304 and empty answers', async t => {
  const upstream = await http2Upstream(t, (request, response) => {
    const status = (request.url as string).slice(1)
    response.statusCode = Number(status)
    if (status === '200' || status === '304') response.setHeader('content-length', '5')
    response.end(request.method === 'HEAD' || status !== '200' ? undefined : 'hello')
  })
  const { port, recorder } = await proxying(t, upstream.url, { more: h2c })
  const client = rawClient(t, port, index => index === 0)
  const rows = [
    ['HEAD /200', 200, '5', ''],
    ['GET /200', 200, '5', 'hello'],
    ['GET /204', 204, undefined, ''],
    ['GET /304', 304, '5', ''],
    ['GET /201', 201, undefined, ''],
    ['GET /200', 200, '5', 'hello']
  ] as const
  for (const [line, status, length, body] of rows) {
    client.send(`${line} HTTP/1.1\r\nhost: a\r\n\r\n`)
    const answer = await client.next()
    t.match(answer, { status, body }, line)
    t.equal(answer.headers['content-length'], length, line)
  }
  t.same(
    (await recorder.ended(rows.length)).map(({ reason }) => reason),
    rows.map(() => null)
  )
  t.equal(upstream.sessions.length, 1, 'all on one connection')
})

t.test('the body of an answer to HEAD is for nobody', async t => {
  const upstream = await rawHttp2Upstream(t, (socket, stream) => void socket.write(good(stream)))
  const { url } = await proxying(t, upstream.url, { more: h2c })
  for (let i = 0; i < 2; i++) {
    t.equal(await (await fetch(url, { method: 'HEAD' })).text(), '')
    t.equal(await (await fetch(url)).text(), 'ok')
  }
})

t.test('interim answers and trailers are dropped', async t => {
  const upstream = await rawHttp2Upstream(t, (socket, stream) => {
    socket.write(head(stream, [':status', '103'], ['link', '</a>']))
    socket.write(head(stream, [':status', '102']))
    socket.write(head(stream, [':status', '200'], ['trailer', 'x-sum']))
    socket.write(frame(types.data, 0, stream, Buffer.from('ok')))
    socket.write(frame(types.headers, endHeaders | endStream, stream, fields(['x-sum', '1'])))
  })
  const { port } = await proxying(t, upstream.url, { more: h2c })
  const client = rawClient(t, port)
  for (let i = 0; i < 2; i++) {
    client.send('GET / HTTP/1.1\r\nhost: a\r\nte: trailers\r\n\r\n')
    const answer = await client.next()
    t.match(answer, { status: 200, body: 'ok' })
    t.notOk('link' in answer.headers)
    t.notOk('trailer' in answer.headers)
    t.notMatch(client.unread(), 'x-sum')
  }
})

t.test(
  'an answer before the end of the body is the answer, with and without the reset that follows it',
  async t => {
    for (const reset of [Buffer.alloc(0), uint32(0)]) {
      const upstream = await rawHttp2Upstream(t, (socket, stream) => {
        const end = reset.length === 0 ? reset : frame(types.reset, 0, stream, reset)
        socket.write(Buffer.concat([good(stream), end]))
      })
      const { port, recorder } = await proxying(t, upstream.url, { more: h2c })
      const client = rawClient(t, port)
      client.send('POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\nfirst')
      t.match(await client.next(), { status: 200, body: 'ok', headers: { connection: 'close' } })
      t.equal(await client.closed, null)
      t.match(await recorder.ended(1), [{ status: 200, reason: null }])
      if (reset.length === 0) await cancelled(upstream)
    }
  }
)

/** Resolves when a stream was cancelled. What was sent of the body is never said to be all of it. */
async function cancelled({ frames }: RawHttp2Upstream): Promise<number> {
  let reset: RawHttp2Upstream['frames'][number] | undefined
  while (reset === undefined) {
    await tick()
    reset = frames.find(({ type }) => type === types.reset)
  }
  if (!reset.payload.equals(uint32(8))) throw new Error('it was reset with another code than CANCEL')
  if (frames.some(({ type, flags }) => type === types.data && (flags & endStream) !== 0)) {
    throw new Error('the body was ended')
  }
  return reset.stream
}

t.test('a client that leaves cancels its stream, and only that', async t => {
  const upstream = await rawHttp2Upstream(t, (socket, stream, index) => {
    if (index > 0) socket.write(good(stream))
  })
  const { url, port, recorder } = await proxying(t, upstream.url, { more: h2c })
  const client = rawClient(t, port)
  client.send('GET /leave HTTP/1.1\r\nhost: a\r\n\r\n')
  while (!upstream.frames.some(({ type }) => type === types.headers)) await tick()
  client.destroy()
  t.equal(await cancelled(upstream), 1)
  t.match(await recorder.ended(1), [{ reason: 'client.aborted' }])
  t.equal(await (await fetch(url)).text(), 'ok')
  t.equal(upstream.connections.length, 1)
})

t.test('a client that leaves in the middle of its body does not make it look whole', async t => {
  const upstream = await rawHttp2Upstream(t, () => {})
  const { port, recorder } = await proxying(t, upstream.url, { more: h2c })
  const client = rawClient(t, port)
  client.send('POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n')
  while (!upstream.frames.some(({ type }) => type === types.data)) await tick()
  client.destroy()
  await cancelled(upstream)
  t.match(await recorder.ended(1), [{ reason: 'client.aborted' }])
})

t.test('a body that grows over the limit cancels the call that is under way', async t => {
  const upstream = await rawHttp2Upstream(t, () => {})
  const { port, recorder } = await proxying(t, upstream.url, { more: h2c, route: 'maxBody: 1Ki' })
  const client = rawClient(t, port)
  client.send('POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n')
  while (!upstream.frames.some(({ type }) => type === types.data)) await tick()
  client.send(`400\r\n${'a'.repeat(1024)}\r\n`)
  t.equal((await client.next()).status, 413)
  await cancelled(upstream)
  t.match(await recorder.ended(1), [{ status: 413, reason: 'protocol.size' }])
})

t.test('the Host becomes the authority, and names arrive in lower case', async t => {
  const seen: Record<string, unknown>[] = []
  const upstream = await http2Upstream(t, (request, response) => {
    seen.push(request.headers)
    response.end()
  })
  const send = 'GET /a?b HTTP/1.1\r\nHost: api.example.com\r\nX-Upper: \xe9\r\nTE: trailers\r\n\r\n'
  for (const route of [undefined, 'rewrite: { host: preserve }']) {
    const { port } = await proxying(t, upstream.url, {
      more: h2c,
      route,
      uses: '{ headers: { request: { set: { X-Set: " padded " } } } }'
    })
    const client = rawClient(t, port)
    client.send(send)
    t.equal((await client.next()).status, 200)
  }
  t.match(seen, [
    {
      ':authority': new URL(upstream.url).host,
      ':path': '/a?b',
      ':scheme': 'http',
      'x-upper': '\xe9',
      'x-set': 'padded'
    },
    { ':authority': 'api.example.com', 'x-forwarded-host': 'api.example.com' }
  ])
  for (const headers of seen) {
    t.notOk('te' in headers)
    t.notOk('host' in headers)
  }
})

t.test('a header of a plugin that cannot be sent is the fault of the plugin', async t => {
  const upstream = await http2Upstream(t, (_request, response) => response.end('ok'))
  for (const [name, value] of [
    ['x-a', 'a\\r\\nb: c'],
    ['x b', 'c'],
    ['x-a', '\u0100']
  ]) {
    const { url } = await proxying(t, upstream.url, {
      more: h2c,
      uses: 'sets',
      files: {
        'sets.mjs': plugin(
          'transform',
          `route.addHook('onRequest', async request => { request.gateway.upstreamHeaders = { '${name}': '${value}' } })`
        )
      }
    })
    t.match(await (await fetch(url)).json(), { reason: 'plugin.failed' })
  }
})

t.test('large heads go both ways', async t => {
  const large = 'a'.repeat(12_000)
  const upstream = await http2Upstream(t, (request, response) => {
    for (let i = 0; i < 4; i++) response.setHeader(`x-${i}`, request.headers['x-large'] as string)
    response.end('ok')
  })
  const { url } = await proxying(t, upstream.url, { more: h2c })
  const call = httpRequest(url, { headers: { 'x-large': large }, maxHeaderSize: 100_000 })
  call.end()
  const [answer] = (await once(call, 'response')) as [IncomingMessage]
  t.equal(answer.statusCode, 200)
  t.equal(answer.headers['x-3'], large)
  answer.resume()
})

t.test('timeouts are those of the configuration', async t => {
  const upstream = await http2Upstream(t, (request, response) => {
    if (request.url === '/head') return
    response.writeHead(200)
    response.write('half')
  })
  const { url, recorder } = await proxying(t, upstream.url, {
    more: `${h2c}, timeouts: { response: 50ms, idle: 50ms }`
  })
  t.match(await (await fetch(`${url}/head`)).json(), { reason: 'upstream.timeout' })
  await t.rejects((async () => (await fetch(`${url}/body`)).text())())
  t.match(await recorder.ended(2), [{ status: 504 }, { status: 200, reason: 'upstream.timeout' }])
})

t.test(
  'a health check over HTTP/2 asks in HTTP, or gRPC where the path is that of its health service',
  async t => {
    const grpc = '/grpc.health.v1.Health/Check'
    let serving = 1
    const questions: unknown[] = []
    const upstream = await http2Upstream(t, null)
    upstream.server.on('request', (request: Http2ServerRequest, response: Http2ServerResponse) => {
      if (request.url !== grpc) return void response.end('ok')
      const chunks: Buffer[] = []
      request.on('data', (chunk: Buffer) => void chunks.push(chunk))
      request.on('end', () => {
        questions.push([
          request.method,
          request.headers['content-type'],
          request.headers.te,
          Buffer.concat(chunks)
        ])
        response.writeHead(200, { 'content-type': 'application/grpc' })
        response.write(Buffer.from([0, 0, 0, 0, 2, 8, serving]))
        response.addTrailers({ 'grpc-status': '0' })
        response.end()
      })
    })
    const { url, metric, gateway } = await proxying(t, upstream.url, {
      more: `${h2c}, healthCheck: { path: ${grpc}, interval: 5ms, timeout: 1s, healthy: 1, unhealthy: 1 }`,
      uses: 'metrics'
    })
    const healthy = () =>
      metric(`sallyport_upstream_healthy{upstream="backend",endpoint="127.0.0.1:${upstream.port}"}`)
    while (questions.length < 3) await tick()
    t.equal(await healthy(), 1)
    t.same(questions[0], ['POST', 'application/grpc', 'trailers', Buffer.alloc(5)])
    serving = 2
    while ((await healthy()) !== 0) await tick()
    serving = 1
    while ((await healthy()) !== 1) await tick()
    t.equal(await (await fetch(url)).text(), 'ok')
    await gateway.close()
  }
)

t.test('clients that do not read hold up nobody else on the session', async t => {
  const chunk = Buffer.alloc(65_536)
  const sent: number[] = []
  const listener: RequestListener = async (request, response) => {
    if (request.url === '/ok') return void response.end('ok')
    const index = sent.push(0) - 1
    while (!response.destroyed) {
      sent[index] = (sent[index] as number) + chunk.length
      if (!response.write(chunk)) await once(response, 'drain')
    }
  }
  const upstream = await http2Upstream(t, listener, { maxSessionMemory: 1000 })
  const { url, port } = await proxying(t, upstream.url, { more: h2c })
  // Together more than the window of the session.
  for (let i = 0; i < 60; i++) {
    const client = rawClient(t, port)
    client.socket.pause()
    client.send('GET / HTTP/1.1\r\nhost: a\r\n\r\n')
  }
  await settled(() => (sent.length === 60 ? sent.reduce((sum, one) => sum + one, 0) : Number.NaN))
  const most = Math.max(...sent) / 2 ** 20
  t.ok(most < 8, `${most} MiB of one, with what the kernel holds of both sockets`)
  t.equal(await (await fetch(`${url}/ok`)).text(), 'ok')
  t.equal(upstream.sessions.length, 1)
})

t.test('a kept connection that breaks fails no GET, but a POST is not sent again', async t => {
  const upstream = await rawHttp2Upstream(t, (socket, stream, index) => {
    if (index === 1 || index === 4) socket.destroy()
    else socket.write(good(stream))
  })
  const { url, metric } = await proxying(t, upstream.url, { more: h2c, uses: 'metrics' })
  t.equal((await fetch(url)).status, 200)
  t.equal((await fetch(url)).status, 200, 'on another connection')
  t.equal(await metric('sallyport_retries_total{upstream="backend"}'), 1)
  t.equal((await fetch(url)).status, 200)
  t.equal((await fetch(url, { method: 'POST' })).status, 502)
  t.equal((await fetch(url)).status, 200)
})

t.test('a connection that breaks at its first request is not tried again', async t => {
  const upstream = await rawHttp2Upstream(t, socket => void socket.destroy())
  const { url } = await proxying(t, upstream.url, { more: h2c })
  t.equal((await fetch(url)).status, 502)
  t.equal(upstream.connections.length, 1)
})

t.test('a request that was refused, by a reset or a GOAWAY, goes out once more', async t => {
  const refusals = [
    (id: number) => frame(types.reset, 0, id, uint32(7)),
    () => frame(types.goaway, 0, 0, Buffer.concat([uint32(0), uint32(0)]))
  ]
  for (const refusal of refusals) {
    const upstream = await rawHttp2Upstream(t, (socket, stream, index) => {
      socket.write(index === 0 ? refusal(stream) : good(stream))
    })
    const { url } = await proxying(t, upstream.url, { more: h2c })
    t.equal(await (await fetch(url, { method: 'POST' })).text(), 'ok')
  }
})
