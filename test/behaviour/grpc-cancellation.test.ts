import { constants } from 'node:http2'
import t from 'tap'
import { grpcGateway, openRoute, quiet } from '../fixtures/grpc/gateway.ts'
import { message } from '../fixtures/grpc/message.ts'
import { begin, call, openSession, statusOf, statusOfReset } from '../fixtures/grpc/raw-call.ts'
import { rawUpstream, type SeenCall, sleep } from '../fixtures/grpc/raw-upstream.ts'

const method = '/shop.v1.Orders/Watch'

t.test('a client that cancels is heard by the upstream', async t => {
  const stages: Record<string, (seen: SeenCall) => void> = {
    'before the answer': sleep,
    'after the headers': seen => {
      seen.stream.resume()
      seen.respond()
      // Node holds the headers back for the first write.
      seen.stream.write('')
    },
    'after a message': seen => {
      seen.stream.resume()
      seen.respond()
      seen.stream.write(message('one'))
    }
  }
  for (const [stage, handle] of Object.entries(stages)) {
    const upstream = await rawUpstream(t, handle)
    const gateway = await grpcGateway(t, openRoute(upstream.url))
    const session = openSession(t, gateway.h2c)
    const begun = begin(session, method)
    begun.stream.write(message('hello'))
    const seen = await upstream.next()
    if (handle !== sleep) await begun.head
    const before = performance.now()
    begun.stream.close(constants.NGHTTP2_CANCEL)
    t.equal(await seen.closed, constants.NGHTTP2_CANCEL, stage)
    t.ok(performance.now() - before < 1000, 'within a moment')
    await quiet(gateway, 'open')
    t.notOk(session.destroyed, 'the connection lives')
    t.equal(upstream.sessions.size, 1, "and the upstream's")
  }
})

t.test('a client that goes is heard by the upstream, for each of its calls', async t => {
  const upstream = await rawUpstream(t, sleep)
  const gateway = await grpcGateway(t, openRoute(upstream.url))
  const session = openSession(t, gateway.h2c)
  const seen: SeenCall[] = []
  for (let i = 0; i < 10; i++) {
    begin(session, method).stream.write(message('hello'))
    seen.push(await upstream.next())
  }
  session.destroy()
  for (const { closed } of seen) t.equal(await closed, constants.NGHTTP2_CANCEL)
  await quiet(gateway, 'open')
})

t.test('a reset of the upstream becomes the status that gRPC maps it to', async t => {
  const upstream = await rawUpstream(t, seen => {
    const [, stage, code] = (seen.headers['x-do'] as string).split(' ')
    seen.stream.resume()
    if (stage !== 'before') {
      seen.respond()
      seen.stream.write(message('one'))
    }
    seen.stream.once('end', () => seen.stream.close(Number(code)))
  })
  const gateway = await grpcGateway(t, openRoute(upstream.url))
  const session = openSession(t, gateway.h2c)
  for (const [code, status] of Object.entries(statusOfReset)) {
    for (const stage of ['before', 'after']) {
      // A reset without an error after the answer has begun: the answer has no trailers all the same.
      const answer = await call(session, method, { 'x-do': `reset ${stage} ${code}` })
      t.equal(statusOf(answer), status, `${code} ${stage} the answer`)
    }
  }
  await quiet(gateway, 'open')
  t.notOk(session.destroyed, 'the connection lives')
})
