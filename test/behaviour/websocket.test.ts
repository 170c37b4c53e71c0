import { once } from 'node:events'
import t from 'tap'
import { closing, openSocket, socketGateway, socketUpstream } from '../fixtures/web-sockets.ts'

t.test('a WebSocket goes through the gateway, both ways', async t => {
  const upstream = await socketUpstream(t)
  const gateway = await socketGateway(t, upstream.url)
  const client = await openSocket(t, gateway.port, '/chat?room=1', ['chat.v1', 'chat.v2'])
  t.equal(client.protocol, 'chat.v1')
  client.send('hello')
  const [data, isBinary] = await once(client, 'message')
  t.equal(String(data), 'hello')
  t.equal(isBinary, false)
  client.send(Buffer.from([1, 2, 3]))
  t.same(await once(client, 'message'), [Buffer.from([1, 2, 3]), true])
  const { request } = upstream.connections[0]!
  t.equal(request.url, '/chat?room=1')
  t.equal(request.headers['x-forwarded-for'], '127.0.0.1')
  t.equal(request.headers['sec-websocket-protocol'], 'chat.v1, chat.v2')
  client.close(4000, 'bye')
  t.same(await closing(client), [4000, 'bye'])
  const [outcome] = await gateway.recorder.ended(1)
  t.match(outcome, {
    status: 101,
    protocol: 'websocket',
    closeCode: 4000,
    reason: null,
    bytesIn: 8,
    bytesOut: 8
  })
})
