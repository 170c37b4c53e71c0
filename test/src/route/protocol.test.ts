import type { IncomingMessage } from 'node:http'
import t from 'tap'
import { protocolOf, refusalOfUnmatched } from '../../../src/route/protocol.ts'

function ask(type: string | undefined): string {
  return protocolOf({ headers: { 'content-type': type } } as unknown as IncomingMessage)
}

t.test('whatever some server takes for gRPC is gRPC', async t => {
  for (const type of [
    'application/grpc',
    'application/grpc+proto',
    'application/grpc+json',
    'application/grpc;charset=utf-8',
    'application/grpc-web',
    'application/grpc-web+proto',
    'application/grpc-web-text',
    'Application/gRPC',
    'APPLICATION/GRPC+PROTO',
    // grpc-js looks at the beginning only.
    'application/grpcx',
    'application/grpc/proto'
  ])
    t.equal(ask(type), 'grpc', type)
})

t.test('everything else is plain HTTP', async t => {
  for (const type of [
    undefined,
    '',
    'application/json',
    'application/geo+json',
    'application/gzip',
    'application/gRP',
    'text/plain; x=application/grpc',
    'xpplication/grpc',
    'multipart/grpc'
  ])
    t.equal(ask(type), 'http', String(type))
})

t.test('who speaks another protocol than the route is told which one it wants', async t => {
  const rows = [
    ['http', ['websocket'], 426, 'protocol.upgrade', { upgrade: 'websocket' }],
    ['http', ['grpc'], 415, 'protocol.content_type', undefined],
    ['http', [], 404, 'route.none', undefined],
    ['websocket', ['http'], 426, 'protocol.upgrade', undefined],
    ['websocket', ['grpc'], 426, 'protocol.upgrade', undefined],
    ['websocket', [], 404, 'route.none', undefined],
    ['grpc', ['http', 'websocket'], 404, 'route.none', undefined]
  ] as const
  for (const [protocol, routes, status, reason, headers] of rows) {
    const refusal = refusalOfUnmatched(protocol, other => (routes as readonly string[]).includes(other))
    t.match(
      refusal,
      { status, reason, headers },
      `${protocol} where there is ${routes.join(', ') || 'nothing'}`
    )
  }
})
