import t from 'tap'
import { grpcGateway } from '../fixtures/grpc/gateway.ts'
import { call, messageOf, openSession, statusOf } from '../fixtures/grpc/raw-call.ts'
import { rawUpstream, succeed } from '../fixtures/grpc/raw-upstream.ts'

t.test('a policy decides by the service and the method of a call, exactly', async t => {
  const upstream = await rawUpstream(t, succeed)
  const gateway = await grpcGateway(
    t,
    `upstreams: { calls: { url: "${upstream.url}", protocol: h2c } }
routes:
  orders:
    match: { protocol: grpc }
    public: true
    upstream: calls
    plugins:
      - access-log
      - authorize: { allow: 'rpc.service == "shop.v1.Orders" && rpc.method in ["Get", "List"]' }
`
  )
  const session = openSession(t, gateway.h2c)
  for (const path of ['/shop.v1.Orders/Get', '/shop.v1.Orders/List'])
    t.equal(statusOf(await call(session, path)), 0, path)
  for (const path of [
    '/shop.v1.Orders/Delete',
    '/shop.v1.Orders/get',
    '/shop.v1.Orders/GetAll',
    '/shop.v2.Orders/Get',
    '/shop.v1.orders/Get'
  ]) {
    const answer = await call(session, path)
    t.equal(statusOf(answer), 7, path)
    t.match(messageOf(answer), /policy\.denied/, path)
  }
  t.equal(upstream.calls.length, 2, 'nobody else was called')
  t.equal(
    await gateway.metric(
      'sallyport_decisions_total{route="orders",plugin="authorize",verdict="deny",reason="policy.denied"}'
    ),
    5
  )
  t.equal(gateway.lines.filter(({ reason }) => reason === 'policy.denied').length, 5)
})
