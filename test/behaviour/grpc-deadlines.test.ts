import { constants } from 'node:http2'
import t from 'tap'
import { grpcGateway, openRoute, quiet } from '../fixtures/grpc/gateway.ts'
import { message } from '../fixtures/grpc/message.ts'
import { begin, call, openSession, statusOf } from '../fixtures/grpc/raw-call.ts'
import { rawUpstream, sleep, succeed } from '../fixtures/grpc/raw-upstream.ts'

const method = '/shop.v1.Orders/Get'
const nanoseconds: Readonly<Record<string, number>> = {
  H: 3_600_000_000_000,
  M: 60_000_000_000,
  S: 1_000_000_000,
  m: 1_000_000,
  u: 1000,
  n: 1
}

t.test('the upstream is told how much of the deadline is left', async t => {
  const upstream = await rawUpstream(t, succeed)
  const gateway = await grpcGateway(t, openRoute(upstream.url))
  const session = openSession(t, gateway.h2c)
  for (const sent of ['99999999H', '1H', '3M', '20S', '60000m', '30000000u', '99999999u', '1200000m']) {
    t.equal(statusOf(await call(session, method, { 'grpc-timeout': sent })), 0, sent)
    const told = String((await upstream.next()).headers['grpc-timeout'])
    t.match(told, /^\d{1,8}[HMSmun]$/)
    t.ok(length(told) < length(sent), `${told} is less than ${sent}`)
    t.ok(length(told) > length(sent) * 0.9, `${told} is most of ${sent}`)
  }
})

t.test('a call whose deadline passes ends with 4 at the client and is cancelled at the upstream', async t => {
  const upstream = await rawUpstream(t, sleep)
  const gateway = await grpcGateway(t, openRoute(upstream.url))
  const session = openSession(t, gateway.h2c)
  for (const sent of ['50m', '100000u', '50000000n']) {
    const answer = await call(session, method, { 'grpc-timeout': sent })
    t.equal(statusOf(answer), 4, sent)
    t.ok(answer.isTrailersOnly)
    t.equal(await (await upstream.next()).closed, constants.NGHTTP2_CANCEL)
  }
  await quiet(gateway, 'open')
  t.equal(await gateway.metric('sallyport_grpc_responses_total{route="open",grpc_status="4"}'), 3)
})

t.test('a deadline that passes in the middle of a stream ends it with 4', async t => {
  const upstream = await rawUpstream(t, seen => {
    seen.stream.resume()
    seen.respond()
    seen.stream.write(message('one'))
  })
  const gateway = await grpcGateway(t, openRoute(upstream.url))
  const { stream, answer } = begin(openSession(t, gateway.h2c), method, { 'grpc-timeout': '200m' })
  stream.write(message(''))
  const got = await answer()
  t.same(got.body, message('one'))
  t.equal(statusOf(got), 4)
  t.equal(await (await upstream.next()).closed, constants.NGHTTP2_CANCEL)
  await quiet(gateway, 'open')
})

t.test('a deadline of nothing is over at once', async t => {
  const upstream = await rawUpstream(t, sleep)
  const gateway = await grpcGateway(t, openRoute(upstream.url))
  const session = openSession(t, gateway.h2c)
  for (const sent of ['0S', '0n', '00000000m', '1n']) {
    t.equal(statusOf(await call(session, method, { 'grpc-timeout': sent })), 4, sent)
  }
  await quiet(gateway, 'open')
})

t.test('a deadline that is none is refused, and the upstream hears of none of it', async t => {
  const upstream = await rawUpstream(t, succeed)
  const gateway = await grpcGateway(t, openRoute(upstream.url))
  const session = openSession(t, gateway.h2c)
  const malformed = [
    '5',
    'S',
    '',
    '5s',
    '5X',
    '-1S',
    '+1S',
    '1.5S',
    '1e3m',
    '0x5S',
    '5 S',
    '5SS',
    '123456789S',
    '٣S'
  ]
  for (const sent of malformed) {
    const answer = await call(session, method, { 'grpc-timeout': Buffer.from(sent).toString('latin1') })
    t.equal(statusOf(answer), 13, sent)
  }
  t.equal(statusOf(await call(session, method, { 'grpc-timeout': ['5S', '6S'] })), 13, 'two of them')
  t.equal(upstream.calls.length, 0)
  t.equal(statusOf(await call(session, method)), 0, 'a good call')
  await quiet(gateway, 'open')
})

function length(timeout: string): number {
  return Number(timeout.slice(0, -1)) * (nanoseconds[timeout.at(-1) as string] as number)
}
