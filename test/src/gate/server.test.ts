import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import t from 'tap'
import { createHttpServer } from '../../../src/gate/server.ts'
import { gateDefaults, judgingServer } from '../../fixtures/judging-server.ts'
import { rawClient } from '../../fixtures/raw.ts'
import { connectionCases } from './connection-cases.ts'

connectionCases(t, { judgingServer, rawClient })

t.test('connections of another server are served and timed as well', async t => {
  const http = createHttpServer(
    { ...gateDefaults, headerTimeout: 1, requestTimeout: 1, timeoutCheckInterval: 10 },
    (_request, response) => void response.end('ok'),
    (_request, socket) => void socket.destroy()
  )
  http.emit('listening')
  const front = createServer(socket => void http.emit('connection', socket))
  front.listen(0, '127.0.0.1')
  await once(front, 'listening')
  t.teardown(() => {
    http.closeAllConnections()
    front.close()
  })
  const { port } = front.address() as AddressInfo
  const client = rawClient(t, port)
  client.send('GET /1 HTTP/1.1\r\nHost: a.test\r\n\r\n')
  t.equal((await client.next()).body, 'ok')
  const slow = rawClient(t, port)
  t.match(
    (await slow.rest()).map(frame => frame.status),
    [408]
  )
})
