import t from 'tap'
import { grpcGateway, openRoute, quiet } from '../fixtures/grpc/gateway.ts'
import { message } from '../fixtures/grpc/message.ts'
import { begin, call, openSession, statusOf } from '../fixtures/grpc/raw-call.ts'
import { rawUpstream, succeed } from '../fixtures/grpc/raw-upstream.ts'

const method = '/shop.v1.Orders/Get'

t.test('a GOAWAY in the middle of traffic loses no call', async t => {
  const upstream = await rawUpstream(t)
  const gateway = await grpcGateway(t, openRoute(upstream.url))
  const session = openSession(t, gateway.h2c)
  const statuses: Record<number, number> = {}
  const worker = async () => {
    for (let i = 0; i < 50; i++) {
      const status = statusOf(await call(session, method))
      statuses[status] = (statuses[status] ?? 0) + 1
      if (i % 10 === 5) for (const one of upstream.sessions) one.goaway()
    }
  }
  await Promise.all(Array.from({ length: 10 }, worker))
  t.same(statuses, { 0: 500 })
  await quiet(gateway, 'open')
})

t.test('a call that is under way at a GOAWAY ends as it would have', async t => {
  const upstream = await rawUpstream(t, async seen => {
    seen.respond()
    seen.stream.write(message('one'))
    await seen.body()
    seen.finish({}, message('two'))
  })
  const gateway = await grpcGateway(t, openRoute(upstream.url))
  const session = openSession(t, gateway.h2c)
  const old = begin(session, method)
  const ended = old.answer()
  await old.head
  for (const one of upstream.sessions) one.close()
  old.stream.end(message(''))
  const got = await ended
  t.same(got.body, Buffer.concat([message('one'), message('two')]))
  t.equal(statusOf(got), 0)
  t.equal(statusOf(await call(session, method)), 0, 'the next one')
  await quiet(gateway, 'open')
})

t.test('an upstream that says GOAWAY and leaves the connection open does not hold up the end', async t => {
  const upstream = await rawUpstream(t)
  const gateway = await grpcGateway(t, openRoute(upstream.url))
  const session = openSession(t, gateway.h2c)
  t.equal(statusOf(await call(session, method)), 0)
  for (const one of upstream.sessions) one.goaway()
  while (statusOf(await call(session, method)) !== 0);
  t.equal(upstream.sessions.size, 2, 'the old connection is there still')
  session.destroy()
  await gateway.gateway.close()
})

t.test('an upstream that starts again gets calls again', async t => {
  const first = await rawUpstream(t)
  const gateway = await grpcGateway(t, openRoute(first.url))
  const session = openSession(t, gateway.h2c)
  t.equal(statusOf(await call(session, method)), 0)
  const cut = begin(session, method)
  cut.stream.write(message(''))
  await first.next()
  await first.next()
  await first.stop()
  t.equal(statusOf(await cut.answer()), 14, 'the call that was under way')
  t.equal(statusOf(await call(session, method)), 14, 'while it is down')
  const second = await rawUpstream(t, succeed, { port: first.port })
  t.equal(statusOf(await call(session, method)), 0, 'at once')
  t.equal(second.calls.length, 1)
  await quiet(gateway, 'open')
  t.notOk(session.destroyed)
})

t.test('calls of one connection are balanced over the endpoints', async t => {
  for (const balance of ['round-robin', 'least-requests']) {
    const upstreams = [await rawUpstream(t), await rawUpstream(t), await rawUpstream(t)]
    const urls = upstreams.map(({ url }) => `"${url}"`).join(', ')
    const gateway = await grpcGateway(
      t,
      `upstreams: { calls: { endpoints: [${urls}], protocol: h2c, balance: ${balance} } }
routes:
  open: { match: { protocol: grpc }, public: true, upstream: calls }
`
    )
    const session = openSession(t, gateway.h2c)
    for (let i = 0; i < 10; i++) {
      const answers = await Promise.all(Array.from({ length: 6 }, () => call(session, method)))
      t.ok(answers.every(answer => statusOf(answer) === 0))
    }
    for (const { calls } of upstreams)
      t.ok(calls.length >= 15 && calls.length <= 25, `${balance}: ${calls.length}`)
    await quiet(gateway, 'open')
  }
})

t.test('an upstream with room for few streams gets no more than that at once', async t => {
  let most = 0
  const upstream = await rawUpstream(
    t,
    seen => {
      most = Math.max(most, upstream.open())
      succeed(seen)
    },
    { settings: { maxConcurrentStreams: 5 } }
  )
  const gateway = await grpcGateway(t, openRoute(upstream.url))
  const session = openSession(t, gateway.h2c)
  const answers = await Promise.all(Array.from({ length: 50 }, () => call(session, method)))
  t.same(new Set(answers.map(statusOf)), new Set([0]))
  t.ok(most <= 5 * upstream.sessions.size, `${most} streams on ${upstream.sessions.size} connections`)
  await quiet(gateway, 'open')
})
