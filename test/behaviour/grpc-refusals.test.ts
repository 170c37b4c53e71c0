import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { type GrpcGateway, grpcGateway, quiet } from '../fixtures/grpc/gateway.ts'
import { message } from '../fixtures/grpc/message.ts'
import { begin, call, messageOf, openSession, type RawAnswer, statusOf } from '../fixtures/grpc/raw-call.ts'
import { rawUpstream, sleep, succeed } from '../fixtures/grpc/raw-upstream.ts'
import { localIssuer } from '../fixtures/issuer.ts'

interface Expected {
  route: string
  status: number
  reason: string
}

t.test(
  'every refusal is trailers only, with the status of its reason, in the log and the metrics too',
  async t => {
    const issuer = await localIssuer(t)
    const upstream = await rawUpstream(t, seen =>
      seen.path === '/shop.Slow/Get' ? sleep(seen) : succeed(seen)
    )
    const gateway = await grpcGateway(
      t,
      `issuers: { corp: { issuer: "${issuer.url}", audience: [orders-api], algorithms: [ES256] } }
plugins: [access-log, metrics]
upstreams:
  calls: { url: "${upstream.url}", protocol: h2c }
  down: { url: "http://127.0.0.1:9", protocol: h2c }
  broken: { url: "http://127.0.0.1:9", protocol: h2c, circuitBreaker: { failures: 1, open: 60s } }
  full: { url: "${upstream.url}", protocol: h2c, maxInFlight: 1 }
routes:
  jwt: { match: { protocol: grpc, service: shop.Jwt }, upstream: calls, plugins: [{ jwt: { issuer: corp } }] }
  policy:
    match: { protocol: grpc, service: shop.Policy }
    upstream: calls
    plugins: [{ jwt: { issuer: corp } }, { authorize: { allow: '"admins" in identity.groups' } }]
  scope:
    match: { protocol: grpc, service: shop.Scope }
    upstream: calls
    plugins: [{ jwt: { issuer: corp } }, { authorize: { scopes: ["orders:delete"] } }]
  rate:
    match: { protocol: grpc, service: shop.Rate }
    public: true
    upstream: calls
    plugins: [{ rate-limit: { limit: 1, window: 1h, by: client.ip } }]
  rpcs:
    match: { protocol: grpc, service: shop.Rpcs }
    public: true
    upstream: calls
    plugins: [{ protocol: { rpcs: [shop.Rpcs/Get] } }]
  down: { match: { protocol: grpc, service: shop.Down }, public: true, upstream: down }
  broken: { match: { protocol: grpc, service: shop.Broken }, public: true, upstream: broken }
  full: { match: { protocol: grpc, service: shop.Slow }, public: true, upstream: full }
  deadline: { match: { protocol: grpc, hosts: [deadline.example], service: shop.Slow }, public: true, upstream: calls, timeout: 50ms }
`
    )
    const session = openSession(t, gateway.h2c)
    const token = await issuer.sign()
    const bearer = { authorization: `Bearer ${token}` }

    await refused(t, gateway, await call(session, '/shop.Jwt/Get'), {
      route: 'jwt',
      status: 16,
      reason: 'token.missing'
    })
    const expired = await issuer.sign({ exp: 1000 })
    await refused(t, gateway, await call(session, '/shop.Jwt/Get', { authorization: `Bearer ${expired}` }), {
      route: 'jwt',
      status: 16,
      reason: 'token.expired'
    })
    await refused(t, gateway, await call(session, '/shop.Jwt/Get', { authorization: 'Bearer garbage' }), {
      route: 'jwt',
      status: 16,
      reason: 'token.invalid'
    })
    await refused(t, gateway, await call(session, '/shop.Policy/Get', bearer), {
      route: 'policy',
      status: 7,
      reason: 'policy.denied'
    })
    await refused(t, gateway, await call(session, '/shop.Scope/Get', bearer), {
      route: 'scope',
      status: 7,
      reason: 'scope.missing'
    })
    t.equal(statusOf(await call(session, '/shop.Rate/Get')), 0)
    await refused(t, gateway, await call(session, '/shop.Rate/Get'), {
      route: 'rate',
      status: 8,
      reason: 'rate.exceeded'
    })
    await refused(t, gateway, await call(session, '/shop.Rpcs/Delete'), {
      route: 'rpcs',
      status: 12,
      reason: 'protocol.rpc'
    })
    await refused(t, gateway, await call(session, '/shop.Nobody/Get'), {
      route: 'none',
      status: 12,
      reason: 'route.none'
    })
    await refused(t, gateway, await call(session, '/shop.Down/Get'), {
      route: 'down',
      status: 14,
      reason: 'upstream.connect'
    })
    await refused(t, gateway, await call(session, '/shop.Broken/Get'), {
      route: 'broken',
      status: 14,
      reason: 'upstream.connect'
    })
    await refused(t, gateway, await call(session, '/shop.Broken/Get'), {
      route: 'broken',
      status: 14,
      reason: 'upstream.breaker'
    })
    const calls = upstream.calls.length
    const waiting = begin(session, '/shop.Slow/Watch')
    waiting.stream.write(message(''))
    while (upstream.calls.length === calls) await upstream.next()
    await refused(t, gateway, await call(session, '/shop.Slow/Watch'), {
      route: 'full',
      status: 14,
      reason: 'upstream.saturated'
    })
    waiting.stream.end()
    t.equal(statusOf(await waiting.answer()), 0)
    await refused(t, gateway, await call(session, '/shop.Slow/Get', { 'grpc-timeout': '50m' }), {
      route: 'full',
      status: 4,
      reason: 'client.deadline'
    })
    await refused(t, gateway, await call(session, '/shop.Slow/Get', { ':authority': 'deadline.example' }), {
      route: 'deadline',
      status: 4,
      reason: 'upstream.timeout'
    })
    await refused(t, gateway, await call(session, '/shop.Slow/Watch', { 'grpc-timeout': 'soon' }), {
      route: 'full',
      status: 13,
      reason: 'request.malformed'
    })
    t.notOk(session.destroyed, 'one connection for all of them')
  }
)

async function refused(
  t: Test,
  gateway: GrpcGateway,
  answer: RawAnswer,
  { route, status, reason }: Expected
): Promise<void> {
  await t.test(`${route}: ${status} ${reason}`, async t => {
    t.ok(answer.isTrailersOnly)
    t.equal(answer.headers[':status'], 200)
    t.match(answer.headers['content-type'], /^application\/grpc/)
    t.equal(statusOf(answer), status)
    t.equal(answer.body.length, 0)
    // PROTOCOL-HTTP2.md: spaces and printable ASCII but for the percent sign stand as they are.
    t.match(answer.headers['grpc-message'], /^(?:[\x20-\x24\x26-\x7e]|%[0-9A-F]{2})+$/)
    t.match(messageOf(answer), reason)
    const line = await lineOf(gateway, answer.headers['x-request-id'])
    t.match(line, { route, reason, protocol: 'grpc', status: 200, grpcStatus: status }, 'the log line')
    const series = `sallyport_grpc_responses_total{route="${route}",grpc_status="${status}"}`
    t.ok(((await gateway.metric(series)) ?? 0) > 0, series)
  })
}

/** The access log's line of a request; it comes after the answer. */
async function lineOf({ lines }: GrpcGateway, id: unknown): Promise<object> {
  for (;;) {
    const line = lines.find(({ requestId }) => requestId === id)
    if (line !== undefined) return line
    await turn()
  }
}

t.test('`rpcs` are exact', async t => {
  const upstream = await rawUpstream(t)
  const gateway = await grpcGateway(
    t,
    `upstreams: { calls: { url: "${upstream.url}", protocol: h2c } }
routes:
  orders:
    match: { protocol: grpc }
    public: true
    upstream: calls
    plugins: [{ protocol: { rpcs: [shop.v1.Orders/Get, shop.v1.Orders/Watch] } }]
`
  )
  const session = openSession(t, gateway.h2c)
  for (const path of ['/shop.v1.Orders/Get', '/shop.v1.Orders/Watch']) {
    t.equal(statusOf(await call(session, path)), 0, path)
  }
  const taken = upstream.calls.length
  const others = [
    '/shop.v1.Orders/get',
    '/shop.v1.Orders/GET',
    '/Shop.v1.Orders/Get',
    '/shop.v1.orders/Get',
    '/shop.v1.Orders/Get/',
    '/shop.v1.Orders/Get/More',
    '/shop.v1.Orders/GetAll',
    '/shop.v1.Orders/Ge',
    '/shop.v1.Orders/',
    '/shop.v1.Orders',
    '/v1.Orders/Get',
    '/a.shop.v1.Orders/Get',
    '/shop.v1.Orders/Delete',
    '/shop.v1.Orders/Get?a=b',
    '/shop.v1.Orders/Get%20',
    '/shop.v1.Orders%2FGet',
    '/shop.v1.Orders/%47et',
    '//shop.v1.Orders/Get',
    '/./shop.v1.Orders/Get',
    '/x/../shop.v1.Orders/Get',
    '/shop.v1.Orders/Get;a',
    '/shop.v1.Orders/*',
    '/'
  ]
  for (const path of others) {
    const answer = await call(session, path)
    t.not(statusOf(answer), 0, path)
    t.equal(upstream.calls.length, taken, 'the upstream hears nothing')
  }
  t.equal(statusOf(await call(session, '/shop.v1.Orders/Get')), 0, 'a good call')
  await quiet(gateway, 'orders')
})

t.test('health and reflection are only where a route names them', async t => {
  const upstream = await rawUpstream(t)
  const services = [
    'grpc.health.v1.Health/Check',
    'grpc.health.v1.Health/Watch',
    'grpc.reflection.v1.ServerReflection/ServerReflectionInfo',
    'grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo'
  ]
  const calls = `upstreams: { calls: { url: "${upstream.url}", protocol: h2c } }
routes:
  open: { match: { protocol: grpc }, public: true, upstream: calls }
`
  const closed = openSession(t, (await grpcGateway(t, calls)).h2c)
  for (const rpc of services) t.equal(statusOf(await call(closed, `/${rpc}`)), 12, rpc)
  t.equal(upstream.calls.length, 0)

  const named = [
    'grpc.health.v1.Health',
    'grpc.reflection.v1.ServerReflection',
    'grpc.reflection.v1alpha.ServerReflection'
  ]
  const routes = named.map(
    (service, i) =>
      `  named-${i}: { match: { protocol: grpc, service: ${service} }, public: true, upstream: calls }\n`
  )
  const open = openSession(t, (await grpcGateway(t, calls + routes.join(''))).h2c)
  for (const rpc of services) t.equal(statusOf(await call(open, `/${rpc}`)), 0, rpc)
})

t.test('what is no gRPC call gets no further than the door', async t => {
  const upstream = await rawUpstream(t)
  const gateway = await grpcGateway(
    t,
    `upstreams: { calls: { url: "${upstream.url}", protocol: h2c } }
routes:
  open: { match: { protocol: grpc }, public: true, upstream: calls }
`
  )
  const session = openSession(t, gateway.h2c)
  const rows: Record<string, [headers: Record<string, string>, http: number]> = {
    JSON: [{ 'content-type': 'application/json' }, 415],
    'a type that begins like it': [{ 'content-type': 'application/grpcx' }, 415],
    'a method other than POST': [{ ':method': 'PUT' }, 405]
  }
  for (const [name, [headers, http]] of Object.entries(rows)) {
    const answer = await call(session, '/shop.v1.Orders/Get', headers)
    const isRefused =
      Number(answer.headers[':status']) === http || (answer.isTrailersOnly && statusOf(answer) !== 0)
    t.ok(isRefused, `${name}: ${answer.headers[':status']}, ${statusOf(answer)}`)
  }
  t.equal(upstream.calls.length, 0)
  t.equal(statusOf(await call(session, '/shop.v1.Orders/Get')), 0, 'a good call')
})
