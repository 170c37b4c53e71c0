import { once } from 'node:events'
import { gzipSync } from 'node:zlib'
import { Metadata } from '@grpc/grpc-js'
import t from 'tap'
import { makeCertificates } from '../fixtures/grpc/certificates.ts'
import { interopClients } from '../fixtures/grpc/door.ts'
import { grpcGateway, openRoute, quiet } from '../fixtures/grpc/gateway.ts'
import { unary } from '../fixtures/grpc/interop-cases.ts'
import { interopServer } from '../fixtures/grpc/interop-server.ts'
import { MessageReader, message } from '../fixtures/grpc/message.ts'
import { begin, call, messageOf, openSession, statusOf } from '../fixtures/grpc/raw-call.ts'
import { echo, rawUpstream, succeed } from '../fixtures/grpc/raw-upstream.ts'

const method = '/shop.v1.Orders/Get'

t.test('metadata goes through both ways, bytes and duplicates too', async t => {
  const upstream = await rawUpstream(t, seen => {
    seen.stream.resume()
    seen.respond({ 'x-initial': ['a', 'b'], 'x-initial-bin': ['AAEC', '/w'] })
    seen.finish({ 'x-trailing': ['c', 'd'], 'x-trailing-bin': ['q6ur', 'AA'] }, message('hello'))
  })
  const gateway = await grpcGateway(t, openRoute(upstream.url))
  const session = openSession(t, gateway.h2c)
  const answer = await call(session, method, {
    'x-key': ['one', 'two'],
    'x-key-bin': ['AAEC', '/w', '//79'],
    'x-empty': '',
    'user-agent': 'grpc-test/1.0'
  })
  t.equal(statusOf(answer), 0)
  t.same(answer.body, message('hello'))
  t.same(values(answer.headers['x-initial']), ['a', 'b'])
  t.same(values(answer.headers['x-initial-bin']), ['AAEC', '/w'])
  t.same(values(answer.trailers['x-trailing']), ['c', 'd'])
  t.same(values(answer.trailers['x-trailing-bin']), ['q6ur', 'AA'])

  const seen = await upstream.next()
  t.equal(seen.path, method)
  t.equal(seen.headers[':method'], 'POST')
  t.equal(seen.headers['content-type'], 'application/grpc')
  t.equal(seen.headers.te, 'trailers')
  t.equal(seen.headers['user-agent'], 'grpc-test/1.0')
  t.same(values(seen.headers['x-key']), ['one', 'two'])
  t.same(values(seen.headers['x-key-bin']), ['AAEC', '/w', '//79'], 'in order')
  t.equal(seen.headers['x-empty'], '')
  await quiet(gateway, 'open')
})

t.test('a grpc-js client and server exchange bytes in metadata', async t => {
  const port = await interopServer(t)
  const gateway = await grpcGateway(t, openRoute(`http://127.0.0.1:${port}`))
  const { test } = interopClients(t, gateway.h2c)
  const every = Buffer.from(Array.from({ length: 256 }, (_, i) => i))
  const metadata = new Metadata()
  for (const value of [every, Buffer.alloc(0), Buffer.from('00ff', 'hex')]) {
    metadata.add('x-grpc-test-echo-trailing-bin', value)
  }
  const { status } = await unary(test, test.emptyCall, {}, metadata)
  t.same(status.metadata.get('x-grpc-test-echo-trailing-bin'), [
    every,
    Buffer.alloc(0),
    Buffer.from('00ff', 'hex')
  ])
})

t.test('an answer of trailers only stays one', async t => {
  const upstream = await rawUpstream(t, seen =>
    seen.trailersOnly({
      'grpc-status': '5',
      'grpc-message': 'no order 17: 100%25 sure %E2%98%BA',
      'x-why': 'gone'
    })
  )
  const gateway = await grpcGateway(t, openRoute(upstream.url))
  const answer = await call(openSession(t, gateway.h2c), method)
  t.ok(answer.isTrailersOnly)
  t.equal(answer.headers[':status'], 200)
  t.equal(statusOf(answer), 5)
  t.equal(answer.headers['grpc-message'], 'no order 17: 100%25 sure %E2%98%BA', 'byte for byte')
  t.equal(messageOf(answer), 'no order 17: 100% sure ☺')
  t.equal(answer.headers['x-why'], 'gone')
  await quiet(gateway, 'open')
  t.equal(await gateway.metric('sallyport_grpc_responses_total{route="open",grpc_status="5"}'), 1)
})

t.test('messages of 6 MB go through both ways', async t => {
  const upstream = await rawUpstream(t, echo)
  const tls = await makeCertificates(t)
  const gateway = await grpcGateway(t, openRoute(upstream.url), tls)
  const sent = message(Buffer.alloc(6 * 1024 * 1024, 'sallyport '))
  for (const door of [gateway.h2c, gateway.https]) {
    const answer = await call(openSession(t, door), method, {}, sent)
    t.equal(statusOf(answer), 0, door.name)
    t.ok(answer.body.equals(sent), 'the same bytes')
  }
  await quiet(gateway, 'open')
})

t.test('compressed messages pass untouched', async t => {
  const upstream = await rawUpstream(t, seen => {
    seen.respond({ 'grpc-encoding': 'gzip', 'grpc-accept-encoding': 'identity,gzip' })
    seen.stream.once('wantTrailers', () => seen.stream.sendTrailers({ 'grpc-status': '0' }))
    seen.stream.pipe(seen.stream)
  })
  const gateway = await grpcGateway(t, openRoute(upstream.url))
  const sent = Buffer.concat([
    message(gzipSync('a'.repeat(100_000)), true),
    message('not this one'),
    message(gzipSync('b'), true)
  ])
  const answer = await call(
    openSession(t, gateway.h2c),
    method,
    { 'grpc-encoding': 'gzip', 'grpc-accept-encoding': 'gzip, deflate', 'accept-encoding': 'identity' },
    sent
  )
  t.ok(answer.body.equals(sent), 'the same bytes')
  t.equal(answer.headers['grpc-encoding'], 'gzip')
  t.equal(answer.headers['grpc-accept-encoding'], 'identity,gzip')
  const { headers } = await upstream.next()
  t.equal(headers['grpc-encoding'], 'gzip')
  t.equal(headers['grpc-accept-encoding'], 'gzip, deflate')
})

t.test('a stream both ways goes in lockstep: each message arrives before the next one is sent', async t => {
  const upstream = await rawUpstream(t, echo)
  const gateway = await grpcGateway(t, openRoute(upstream.url))
  const { stream, head, answer } = begin(openSession(t, gateway.h2c), '/shop.v1.Orders/Watch')
  const reader = new MessageReader()
  let got = 0
  stream.on('data', (chunk: Buffer) => {
    for (const bytes of reader.push(chunk)) {
      if (bytes.toString() !== `message ${got}`) stream.destroy(new Error(`out of step: ${bytes}`))
      got++
      if (got < 1000) stream.write(message(`message ${got}`))
      else stream.end()
    }
  })
  const ended = answer()
  stream.write(message('message 0'))
  await head
  t.equal(statusOf(await ended), 0)
  t.equal(got, 1000)
  await quiet(gateway, 'open')
})

t.test('an answer that begins before the request has ended, and ends after', async t => {
  const upstream = await rawUpstream(t, async seen => {
    seen.respond({ 'x-early': 'yes' })
    const body = await seen.body()
    seen.finish({}, message(String(body.length)))
  })
  const gateway = await grpcGateway(t, openRoute(upstream.url))
  const { stream, head, answer } = begin(openSession(t, gateway.h2c), method)
  const ended = answer()
  t.equal((await head)['x-early'], 'yes', 'headers come before any message')
  stream.write(message('one'))
  stream.end(message('two'))
  t.same((await ended).body, message('16'))
})

t.test('an answer that ends before the request', async t => {
  const upstream = await rawUpstream(t, seen => {
    seen.respond()
    seen.finish({ 'grpc-status': '9' }, message('enough'))
  })
  const gateway = await grpcGateway(t, openRoute(upstream.url))
  const { stream, answer } = begin(openSession(t, gateway.h2c), method)
  stream.write(message('one'))
  // As gRPC's clients do: what is left to say is of no use.
  stream.once('trailers', () => stream.end())
  const got = await answer()
  t.equal(statusOf(got), 9)
  t.same(got.body, message('enough'))
  await quiet(gateway, 'open')
})

t.test('keepalive pings are answered, with and without a call under way', async t => {
  const upstream = await rawUpstream(t, succeed)
  const tls = await makeCertificates(t)
  const gateway = await grpcGateway(t, openRoute(upstream.url), tls)
  for (const door of [gateway.h2c, gateway.https]) {
    const session = openSession(t, door)
    await once(session, 'connect')
    const { stream, answer } = begin(session, method)
    for (let i = 0; i < 3; i++) {
      const payload = Buffer.from(`ping ${i}  `)
      const echoed = await new Promise<Buffer>((resolve, reject) => {
        session.ping(payload, (error, _duration, bytes) => (error ? reject(error) : resolve(bytes)))
      })
      t.same(echoed, payload, door.name)
    }
    stream.end(message(''))
    t.equal(statusOf(await answer()), 0)
    await new Promise<void>((resolve, reject) => session.ping(error => (error ? reject(error) : resolve())))
  }
})

t.test('content types of gRPC with a subtype or parameters pass as they are', async t => {
  const upstream = await rawUpstream(t, succeed)
  const gateway = await grpcGateway(t, openRoute(upstream.url))
  const session = openSession(t, gateway.h2c)
  for (const type of ['application/grpc+proto', 'application/grpc+json', 'application/grpc;charset=utf-8']) {
    t.equal(statusOf(await call(session, method, { 'content-type': type })), 0, type)
    t.equal((await upstream.next()).headers['content-type'], type)
  }
})

/** Values of one field: Node joins what came in several. */
function values(field: string | readonly string[] | undefined): string[] {
  return [field ?? []].flat().flatMap(value => value.split(', '))
}
