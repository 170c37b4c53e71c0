import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { WebSocketServer } from 'ws'
import { RawClient } from '../fixtures/frames.ts'
import { echoes, openSocket, socketGateway } from '../fixtures/web-sockets.ts'

const run = promisify(execFile)

t.test('an upstream with TLS is verified, and then carries messages', async t => {
  const folder = await mkdtemp(join(tmpdir(), 'sallyport-tls-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const [key, cert] = [join(folder, 'tls.key'), join(folder, 'tls.crt')]
  const kind = [
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:prime256v1',
    '-nodes',
    '-days',
    '1'
  ]
  const name = ['-subj', '/CN=chat.shop', '-addext', 'subjectAltName=DNS:chat.shop']
  await run('openssl', [...kind, '-keyout', key, '-out', cert, ...name])
  const server = createServer({ cert: await readFile(cert), key: await readFile(key) })
  const sockets = new WebSocketServer({ server, maxPayload: 2 ** 21 })
  sockets.on('connection', echoes)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const client of sockets.clients) client.terminate()
    server.closeAllConnections()
    server.close()
  })
  const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`

  const stranger = await socketGateway(t, url)
  t.equal((await new RawClient(t, stranger.port).open()).status, 502)
  t.match(await stranger.recorder.ended(1), [{ reason: 'upstream.tls' }])

  const more = `tls: { ca: { file: "${cert}" }, serverName: chat.shop }`
  const gateway = await socketGateway(t, url, { more })
  const client = await openSocket(t, gateway.port)
  const message = Buffer.alloc(2 ** 20, 'x')
  for (let i = 0; i < 10; i++) client.send(message)
  for (let i = 0; i < 10; i++) {
    const [data] = await once(client, 'message')
    t.equal((data as Buffer).length, message.length)
  }
})
