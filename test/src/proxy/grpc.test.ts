import { constants, type OutgoingHttpHeaders } from 'node:http2'
import { createServer } from 'node:net'
import t from 'tap'
import { grpcStatusOfHttp, grpcStatusOfReset, readGrpcStatus } from '../../../src/proxy/grpc/status.ts'
import { callsGateway } from '../../fixtures/grpc/calls-gateway.ts'
import { quiet } from '../../fixtures/grpc/gateway.ts'
import { message } from '../../fixtures/grpc/message.ts'
import { begin, call, messageOf, openSession, statusOf } from '../../fixtures/grpc/raw-call.ts'
import {
  echo,
  type RawUpstream,
  rawUpstream,
  type SeenCall,
  sleep,
  succeed
} from '../../fixtures/grpc/raw-upstream.ts'
import { plugin } from '../../fixtures/proxying.ts'

const method = '/shop.v1.Orders/Get'
const cancelled = constants.NGHTTP2_CANCEL

/** An answer without trailers. */
function saying(headers: OutgoingHttpHeaders, body?: string): (seen: SeenCall) => void {
  return ({ stream }) => {
    stream.respond(headers, { endStream: body === undefined })
    if (body !== undefined) stream.end(body)
  }
}

/** Until the call with this mark has come: of others before it, some may have ended on their way. */
async function arrival(upstream: RawUpstream, mark: string): Promise<void> {
  while ((await upstream.next()).headers['x-mark'] !== mark);
}

t.test('what HTTP and HTTP/2 say means to gRPC what its documents say', async t => {
  const http = {
    400: 13,
    401: 16,
    403: 7,
    404: 12,
    429: 14,
    502: 14,
    503: 14,
    504: 14,
    200: 2,
    302: 2,
    500: 2
  }
  for (const [status, code] of Object.entries(http)) t.equal(grpcStatusOfHttp(Number(status)), code, status)
  for (const [reset, code] of [
    [constants.NGHTTP2_NO_ERROR, 13],
    [constants.NGHTTP2_REFUSED_STREAM, 14],
    [cancelled, 1],
    [constants.NGHTTP2_ENHANCE_YOUR_CALM, 8],
    [constants.NGHTTP2_INADEQUATE_SECURITY, 7],
    [0xff, 13]
  ] as const) {
    t.equal(grpcStatusOfReset(reset), code)
  }
  for (const [text, code] of [
    ['0', 0],
    ['16', 16],
    ['17', 2],
    ['4294967296', 2],
    ['', null],
    ['-1', null],
    ['OK', null],
    ['0, 0', null]
  ] as const) {
    t.equal(readGrpcStatus(text), code, text)
  }
})

t.test('a message over the limit ends the call with 8, and the upstream gets none of it', async t => {
  const upstream = await rawUpstream(t, echo)
  const rows: readonly { route?: string; uses?: string; max: number }[] = [
    { route: 'maxBody: 1Ki', max: 1024 },
    { uses: '{ protocol: { maxMessage: 2Ki } }', max: 2048 },
    { route: 'maxBody: 1Ki', uses: '{ protocol: { maxMessage: 2Ki } }', max: 2048 }
  ]
  for (const { max, ...row } of rows) {
    const gateway = await callsGateway(t, upstream.url, row)
    const session = openSession(t, gateway.h2c)
    const fits = Buffer.concat(Array.from({ length: 3 }, () => message(Buffer.alloc(max))))
    t.ok((await call(session, method, {}, fits)).body.equals(fits), 'each of them, not all together')
    await upstream.next()
    const first = await call(session, method, {}, message(Buffer.alloc(max + 1)))
    t.equal(statusOf(first), 8)
    t.ok(first.isTrailersOnly)
    const { stream, head, answer } = begin(session, method)
    const ended = answer()
    stream.write(message('one'))
    await head
    stream.write(message(Buffer.alloc(max + 1)))
    const second = await ended
    t.equal(statusOf(second), 8)
    t.match(messageOf(second), 'protocol.size')
    t.same(second.body, message('one'))
    for (const seen of [await upstream.next(), await upstream.next()]) t.equal(await seen.closed, cancelled)
    const outcomes = await gateway.recorder.ended(3)
    t.same(
      outcomes.map(({ grpcStatus, reason, status }) => [grpcStatus, reason, status]),
      [
        [0, null, 200],
        [8, 'protocol.size', 200],
        [8, 'protocol.size', 200]
      ]
    )
    await quiet(gateway, 'calls')
  }
})

t.test('what is no call of gRPC is refused as such', async t => {
  const upstream = await rawUpstream(t, succeed)
  const gateway = await callsGateway(t, upstream.url, { match: '{ protocol: grpc, path: /* }' })
  const session = openSession(t, gateway.h2c)
  for (const [headers, status, reason] of [
    [{ ':method': 'GET' }, 12, 'protocol.method'],
    [{ ':method': 'PUT' }, 12, 'protocol.method'],
    [{ ':path': '/' }, 12, 'route.none'],
    [{ ':path': '/Get' }, 12, 'route.none'],
    [{ ':path': '/a/b/c' }, 12, 'route.none'],
    [{ ':path': '/a/' }, 12, 'route.none'],
    [{ ':path': '/a/b?c' }, 12, 'route.none'],
    [{ 'content-type': 'application/grpc-other' }, 13, 'protocol.content_type'],
    [{ 'content-type': 'application/grpc-web' }, 13, 'protocol.content_type'],
    [{ 'content-type': 'application/grpc-web-text+proto' }, 13, 'protocol.content_type'],
    [{ 'grpc-timeout': '1s' }, 13, 'request.malformed'],
    [{ 'grpc-timeout': '0S' }, 4, 'client.deadline']
  ] as const) {
    const answer = await call(session, method, headers)
    t.equal(answer.headers[':status'], 200)
    t.equal(statusOf(answer), status, JSON.stringify(headers))
    t.match(messageOf(answer), reason)
  }
  t.equal(upstream.calls.length, 0)
  t.equal(statusOf(await call(session, method)), 0)
  await quiet(gateway, 'calls')
})

t.test('an answer that is not gRPC becomes a status', async t => {
  const rows: readonly [answer: (seen: SeenCall) => void, status: number][] = [
    [saying({ ':status': 503, 'content-type': 'text/html' }), 14],
    [saying({ ':status': 404 }), 12],
    [saying({ ':status': 500 }), 2],
    [saying({ ':status': 401 }, 'please sign in'), 16],
    [saying({ ':status': 200, 'content-type': 'text/html' }, 'hi'), 2],
    [saying({ ':status': 200, 'content-type': 'application/grpc' }, 'no trailers'), 13],
    [saying({ ':status': 200 }), 2],
    [seen => seen.trailersOnly({}), 2],
    [seen => seen.trailersOnly({ 'grpc-status': 'OK' }), 2],
    // What has a status of its own needs none of ours.
    [seen => seen.trailersOnly({ ':status': 503, 'grpc-status': '9' }), 9]
  ]
  const upstream = await rawUpstream(t, seen => {
    seen.stream.resume()
    rows[Number(seen.headers['x-row'])]?.[0](seen)
  })
  const gateway = await callsGateway(t, upstream.url)
  const session = openSession(t, gateway.h2c)
  for (const [i, [, status]] of rows.entries()) {
    const answer = await call(session, method, { 'x-row': String(i) })
    t.equal(answer.headers[':status'], 200)
    t.equal(statusOf(answer), status, String(i))
    t.equal(answer.body.toString(), status === 13 ? 'no trailers' : '')
  }
  const outcomes = await gateway.recorder.ended(rows.length)
  const reasons = outcomes.map(({ reason }) => reason)
  t.same(
    reasons,
    rows.map(([, status]) => (status === 9 ? null : 'upstream.protocol'))
  )
  t.equal(
    await gateway.metric('sallyport_upstream_errors_total{upstream="backend",reason="upstream.protocol"}'),
    rows.length - 1
  )
  await quiet(gateway, 'calls')
})

t.test("headers of the gateway's own are on the answer, and those of connections are not", async t => {
  const upstream = await rawUpstream(t, seen => {
    seen.stream.resume()
    seen.respond({
      'x-secret': 'a',
      'x-both': 'upstream',
      'x-sallyport-identity': 'a',
      trailer: 'grpc-status'
    })
    seen.finish({ 'x-secret': 'b', 'x-last': 'c' }, message(''))
  })
  const gateway = await callsGateway(t, upstream.url, {
    uses: '{ headers: { response: { set: { x-both: ours, x-own: a }, remove: [x-secret] }, request: { set: { x-added: b } } } }',
    route: 'rewrite: { host: preserve }'
  })
  const answer = await call(openSession(t, gateway.h2c), method, {
    ':authority': 'shop.example',
    'x-forwarded-user': 'root',
    'x-sallyport-identity': 'a'
  })
  t.equal(statusOf(answer), 0)
  t.match(answer.headers, { 'x-both': 'ours', 'x-own': 'a' })
  for (const name of ['x-secret', 'x-sallyport-identity', 'trailer'])
    t.equal(answer.headers[name], undefined, name)
  t.same([answer.trailers['x-secret'], answer.trailers['x-last']], [undefined, 'c'])
  const seen = await upstream.next()
  t.equal(seen.headers[':authority'], 'shop.example')
  t.equal(seen.headers.host, undefined)
  t.equal(seen.headers['x-added'], 'b')
  t.equal(seen.headers['x-forwarded-host'], 'shop.example')
  t.equal(seen.headers['x-forwarded-user'], undefined)
  t.equal(seen.headers['x-sallyport-identity'], undefined)
  t.equal(seen.headers.te, 'trailers')
})

t.test('a header of a plugin that cannot be sent costs that call only', async t => {
  const upstream = await rawUpstream(t, succeed)
  const hook = (line: string) =>
    plugin(
      'transform',
      `route.addHook('onRequest', async (request, reply) => { if (request.headers['x-bad']) ${line} })`
    )
  for (const [name, line] of Object.entries({
    down: `reply.header('x-a', 'a\\r\\nb')`,
    up: `request.gateway.upstreamHeaders = { 'x-a': 'a\\r\\nb' }`
  })) {
    const gateway = await callsGateway(t, upstream.url, { files: { 'bad.mjs': hook(line) }, uses: 'bad' })
    const session = openSession(t, gateway.h2c)
    t.equal(statusOf(await call(session, method, { 'x-bad': '1' })), 13, name)
    t.equal(statusOf(await call(session, method)), 0)
    t.equal((await gateway.recorder.ended(2))[0]?.reason, 'plugin.failed')
    await quiet(gateway, 'calls')
  }
})

t.test('a call goes to another endpoint when one cannot be connected to, where retries say so', async t => {
  const upstream = await rawUpstream(t, succeed)
  const closed = createServer().listen(0, '127.0.0.1')
  await new Promise(resolve => closed.once('listening', resolve))
  const { port } = closed.address() as { port: number }
  await new Promise(resolve => closed.close(resolve))
  const urls = [`http://127.0.0.1:${port}`, upstream.url]
  const retrying = await callsGateway(t, urls, { more: 'retries: { on: [connect-failure] }' })
  const session = openSession(t, retrying.h2c)
  for (let i = 0; i < 4; i++) t.equal(statusOf(await call(session, method)), 0)
  t.equal(await retrying.metric('sallyport_retries_total{upstream="backend"}'), 1, 'then it rests')
  const plain = await callsGateway(t, urls)
  const statuses = [
    statusOf(await call(openSession(t, plain.h2c), method)),
    statusOf(await call(openSession(t, plain.h2c), method))
  ]
  t.same(statuses.sort(), [0, 14])
  await quiet(plain, 'calls')
})

t.test('a stream that the upstream refuses is tried again with all that was sent, once', async t => {
  let refuse = 1
  const upstream = await rawUpstream(t, async seen => {
    const body = await seen.body().catch(() => Buffer.alloc(0))
    if (refuse-- > 0) seen.stream.close(constants.NGHTTP2_REFUSED_STREAM)
    else {
      seen.respond()
      seen.finish({}, body)
    }
  })
  const gateway = await callsGateway(t, upstream.url)
  const session = openSession(t, gateway.h2c)
  const sent = Buffer.concat([message('one'), message('two')])
  const answer = await call(session, method, {}, sent)
  t.equal(statusOf(answer), 0)
  t.same(answer.body, sent)
  refuse = 2
  t.equal(statusOf(await call(session, method, {}, sent)), 14)
  refuse = 1
  t.equal(
    statusOf(await call(session, method, {}, message(Buffer.alloc(100_000)))),
    14,
    'what is too much to keep'
  )
  t.equal(upstream.calls.length, 5)
  await quiet(gateway, 'calls')
})

t.test('the breaker counts what the upstream does, not what clients do', async t => {
  const upstream = await rawUpstream(t, seen => {
    seen.stream.resume()
    const say = String(seen.headers['x-say'])
    if (say !== 'nothing') seen.trailersOnly({ 'grpc-status': say })
  })
  const gateway = await callsGateway(t, upstream.url, { more: 'circuitBreaker: { failures: 2, open: 60s }' })
  const session = openSession(t, gateway.h2c)
  const say = async (text: string, more = {}) =>
    statusOf(await call(session, method, { 'x-say': text, ...more }))
  for (const status of ['0', '5', '13', '16', '13', '2']) t.equal(await say(status), Number(status))
  for (let i = 0; i < 3; i++) t.equal(await say('nothing', { 'grpc-timeout': '20m' }), 4)
  const gone = begin(session, method, { 'x-say': 'nothing', 'x-mark': 'gone' })
  gone.stream.write(message(''))
  await arrival(upstream, 'gone')
  gone.stream.close(cancelled)
  await quiet(gateway, 'calls')
  t.equal(await say('14'), 14)
  t.equal(await say('0'), 0, 'not in a row')
  t.equal(await say('14'), 14)
  t.equal(await say('14'), 14)
  const asked = upstream.calls.length
  const open = await call(session, method, { 'x-say': '0' })
  t.equal(statusOf(open), 14)
  t.match(messageOf(open), 'upstream.breaker')
  t.equal(upstream.calls.length, asked)
})

t.test('a timeout of the route bounds the head of the answer, not the answer', async t => {
  const upstream = await rawUpstream(t, seen => {
    seen.stream.resume()
    if (seen.headers['x-say'] === 'nothing') return
    seen.respond()
    seen.stream.write(message('one'))
  })
  const gateway = await callsGateway(t, upstream.url, { route: 'timeout: 100ms' })
  const session = openSession(t, gateway.h2c)
  const late = await call(session, method, { 'x-say': 'nothing' })
  t.equal(statusOf(late), 4)
  t.match(messageOf(late), 'upstream.timeout')
  t.equal(await (await upstream.next()).closed, cancelled)
  const { stream, head, answer } = begin(session, method)
  stream.end(message(''))
  const ended = answer()
  await head
  // Longer than the timeout: another call is over in that time.
  t.equal(statusOf(await call(session, method, { 'x-say': 'nothing' })), 4)
  ;(await upstream.next()).finish({ 'grpc-status': '0' })
  t.equal(statusOf(await ended), 0)
  await quiet(gateway, 'calls')
})

t.test('calls that the drain deadline cuts off end with 14, before and after the head', async t => {
  const upstream = await rawUpstream(t, seen => {
    seen.stream.resume()
    if (seen.headers['x-say'] === 'nothing') return
    seen.respond()
    seen.stream.write(message('one'))
  })
  const gateway = await callsGateway(t, upstream.url, {
    top: 'limits: { drainDelay: 1ms, drainTimeout: 50ms }'
  })
  const session = openSession(t, gateway.h2c)
  const before = begin(session, method, { 'x-say': 'nothing' })
  const after = begin(session, method)
  const answers = Promise.all([before.answer(), after.answer()])
  before.stream.write(message(''))
  after.stream.write(message(''))
  await after.head
  const seen = [await upstream.next(), await upstream.next()]
  t.equal(await gateway.gateway.drain(), false)
  for (const answer of await answers) {
    t.equal(statusOf(answer), 14)
    t.match(messageOf(answer), 'gateway.draining')
    t.equal(answer.rst, 0)
  }
  for (const one of seen) t.equal(await one.closed, cancelled)
  t.same(
    (await gateway.recorder.ended(2)).map(({ reason, grpcStatus }) => [reason, grpcStatus]),
    [
      ['gateway.draining', 14],
      ['gateway.draining', 14]
    ]
  )
})

t.test('a call that sleeps and one whose client has gone leave nothing behind', async t => {
  const upstream = await rawUpstream(t, sleep)
  const gateway = await callsGateway(t, upstream.url)
  for (let i = 0; i < 3; i++) {
    const session = openSession(t, gateway.h2c)
    const open = Array.from({ length: 5 }, () => begin(session, method))
    for (const { stream } of open) stream.write(message('half of a message').subarray(0, 9))
    for (const _ of open) await upstream.next()
    session.destroy()
  }
  const outcomes = await gateway.recorder.ended(15)
  t.ok(outcomes.every(({ reason, grpcStatus }) => reason === 'client.aborted' && grpcStatus === null))
  for (const { closed } of upstream.calls) t.equal(await closed, cancelled)
  await quiet(gateway, 'calls')
})

t.test('a plugin that sees answers sees those of gRPC, which are none the worse for it', async t => {
  const upstream = await rawUpstream(t, async seen => {
    if (seen.headers['x-say'] === 'nothing') return
    if (seen.headers['x-say'] === 'no') return seen.trailersOnly({ 'grpc-status': '5', 'grpc-message': 'no' })
    seen.respond({ 'x-initial': 'a' })
    const body = await seen.body()
    if (seen.headers['x-say'] === 'head') return seen.finish({ 'grpc-status': '9' })
    seen.finish({ 'x-last-bin': 'AAEC' }, body)
  })
  const see = plugin(
    'transform',
    `route.addHook('onSend', async (request, reply, payload) => { reply.header('x-seen', typeof payload); return payload })`
  )
  const gateway = await callsGateway(t, upstream.url, { files: { 'see.mjs': see }, uses: 'see' })
  const session = openSession(t, gateway.h2c)
  const sent = message(Buffer.alloc(300_000, 'x'))
  const whole = await call(session, method, {}, sent)
  t.equal(statusOf(whole), 0)
  t.ok(whole.body.equals(sent))
  t.match(whole.headers, { 'x-initial': 'a', 'x-seen': 'object', 'content-type': 'application/grpc' })
  t.equal(whole.trailers['x-last-bin'], 'AAEC')
  const no = await call(session, method, { 'x-say': 'no' })
  t.match([statusOf(no), no.headers['grpc-message'], no.isTrailersOnly], [5, 'no', true])
  const empty = await call(session, method, { 'x-say': 'head' })
  t.match([statusOf(empty), empty.headers['x-initial'], empty.body.length], [9, 'a', 0])
  const late = await call(session, method, { 'x-say': 'nothing', 'grpc-timeout': '50m' })
  t.equal(statusOf(late), 4)
  const gone = begin(session, method, { 'x-say': 'nothing', 'x-mark': 'gone' })
  gone.stream.write(message(''))
  await arrival(upstream, 'gone')
  gone.stream.close(cancelled)
  t.same(
    (await gateway.recorder.ended(5)).map(({ grpcStatus, reason }) => [grpcStatus, reason]),
    [
      [0, null],
      [5, null],
      [9, null],
      [4, 'client.deadline'],
      [null, 'client.aborted']
    ]
  )
  await quiet(gateway, 'calls')
})
