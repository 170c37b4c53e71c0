import { once } from 'node:events'
import { connect as connectHttp2 } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { connect, createServer, type TLSSocket } from 'node:tls'
import t from 'tap'
import { connectionInfo, type Http2Request } from '../../../src/gate/http2-server.ts'
import { authority } from '../../fixtures/certificates.ts'
import { frameClient, head, headers, ping, type, windowUpdate } from '../../fixtures/http2-frames.ts'
import { type JudgingHttp2Server, judgingHttp2Server } from '../../fixtures/judging-http2-server.ts'
import { manualTimers } from '../../fixtures/manual-timers.ts'

const root = await authority(t)
const tls = await root.leaf({ names: ['DNS:localhost', 'IP:127.0.0.1'] })
const tick = (): Promise<void> => new Promise(resolve => setImmediate(resolve))

interface Closer {
  teardown(callback: () => unknown): unknown
}

/** The port of a TLS server in front of the gate; `accepted` are the sockets that it has handed over. */
async function secured(
  t: Closer,
  { front }: JudgingHttp2Server
): Promise<{ port: number; accepted: TLSSocket[] }> {
  const accepted: TLSSocket[] = []
  const server = createServer({ cert: tls.cert, key: tls.key, ALPNProtocols: ['h2', 'http/1.1'] }, socket => {
    accepted.push(socket)
    front.take(socket)
  })
  server.on('tlsClientError', () => {})
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  return { port: (server.address() as AddressInfo).port, accepted }
}

async function agree(t: Closer, port: number, protocol: string): Promise<TLSSocket> {
  const socket = connect({ port, host: '127.0.0.1', ca: root.cert, ALPNProtocols: [protocol] })
  socket.on('error', () => {})
  t.teardown(() => socket.destroy())
  await once(socket, 'secureConnect')
  return socket
}

t.test('requests over TLS are served, and know it', async t => {
  let seen: Http2Request | null = null
  const judging = await judgingHttp2Server(t, {}, (request, response) => {
    seen = request
    response.end('ok')
  })
  const { port } = await secured(t, judging)
  const session = connectHttp2(`https://127.0.0.1:${port}`, { ca: root.cert })
  t.teardown(() => session.destroy())
  const stream = session.request({ ':path': '/' })
  stream.resume()
  const [got] = await once(stream, 'response')
  t.equal(got[':status'], 200)
  const info = connectionInfo(seen as unknown as Http2Request)
  t.match(info, { encrypted: true, remoteAddress: '127.0.0.1', localPort: port })
  t.equal(info.tls?.alpnProtocol, 'h2')
})

t.test('a client that agreed on another protocol, or on none, is not served', async t => {
  const judging = await judgingHttp2Server(t)
  const { port } = await secured(t, judging)
  const other = await agree(t, port, 'http/1.1')
  await once(other, 'close')
  const none = connect({ port, host: '127.0.0.1', ca: root.cert })
  none.on('error', () => {})
  none.resume()
  await once(none, 'close')
  t.same(judging.passed, [])
})

t.test('a client over TLS that reads nothing is cut off', async t => {
  const timers = manualTimers()
  const judging = await judgingHttp2Server(t, { timers }, (_request, response) => {
    const chunk = Buffer.alloc(65_536)
    function fill(): void {
      while (response.write(chunk));
    }
    response.on('drain', fill)
    fill()
  })
  const { port, accepted } = await secured(t, judging)
  const raw = frameClient(t, port, { socket: await agree(t, port, 'h2'), settings: [[4, 0x7fffffff]] })
  await raw.find(each => each.type === type.settings)
  raw.socket.pause()
  raw.send(windowUpdate(0, 0x7fff0000), headers(1, head()))
  while (judging.front.underWay === 0) await tick()
  for (let i = 0; i < 500; i++) await tick()
  for (let i = 0; i < 50; i++) timers.advance(1000)
  t.equal(accepted[0]?.destroyed, false)
  for (let i = 0; i < 15; i++) timers.advance(1000)
  t.equal(accepted[0]?.destroyed, true)
  while (judging.front.underWay > 0) await tick()
})

t.test('a flood over TLS ends its connection', async t => {
  const judging = await judgingHttp2Server(t)
  const { port } = await secured(t, judging)
  for (const flood of [ping(), windowUpdate(0, 1)]) {
    const raw = frameClient(t, port, { socket: await agree(t, port, 'h2') })
    const packet = Buffer.concat(Array.from({ length: 5000 }, () => flood))
    while (!raw.isClosed) {
      raw.send(packet)
      await new Promise(resolve => setTimeout(resolve, 5))
    }
  }
  t.match(judging.refused, [{ detail: 'HTTP/2 flood: PING' }, { detail: 'HTTP/2 flood: frames without use' }])
})
