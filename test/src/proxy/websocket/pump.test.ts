import { EventEmitter, once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import t, { type Test } from 'tap'
import type WebSocket from 'ws'
import type { MessageLimits } from '../../../../src/plugin/define.ts'
import { Acceptor } from '../../../../src/proxy/websocket/accept.ts'
import { PeerSocket } from '../../../../src/proxy/websocket/peer-socket.ts'
import { Pump, type PumpEnd } from '../../../../src/proxy/websocket/pump.ts'
import { Side } from '../../../../src/proxy/websocket/side.ts'
import { compressed, opcode, ping, RawClient, text } from '../../../fixtures/frames.ts'
import { ManualTime } from '../../../fixtures/manual-time.ts'
import { socketUpstream } from '../../../fixtures/web-sockets.ts'

t.setTimeout(60_000)

interface Pumped {
  client: RawClient
  upstream: WebSocket
  pump: Pump
  time: ManualTime
  /** Both sides as the pump has them. */
  sides: { client: Side; upstream: Side }
  end: Promise<PumpEnd>
}

/** A pump between a client of bytes and a server of ws, on a clock that the test moves. */
async function pumped(
  t: Test,
  settings: {
    limits?: MessageLimits
    isDeflated?: boolean
    onConnection?: (webSocket: WebSocket) => void
  } = {}
): Promise<Pumped> {
  const time = new ManualTime()
  const events = new EventEmitter()
  const target = await socketUpstream(t, settings.onConnection ? { onConnection: settings.onConnection } : {})
  const acceptor = new Acceptor()
  const server = createServer()
  server.on('upgrade', async (request, socket, head) => {
    const webSocket = new PeerSocket(target.url, [], { autoPong: false, perMessageDeflate: false })
    const [answer] = await once(webSocket, 'upgrade')
    const upstream = new Side(webSocket, answer.socket as Socket)
    const client = new Side(acceptor.accept(request, socket, head, 2 ** 20, []) as PeerSocket, socket)
    const pump = new Pump({
      client,
      upstream,
      limits: settings.limits ?? null,
      time: { timers: time, clock: time.clock },
      meter: { in: () => {}, out: () => {} },
      onEnd: end => events.emit('end', end)
    })
    events.emit('pumped', pump, { client, upstream })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const client = new RawClient(t, (server.address() as AddressInfo).port)
  const end = once(events, 'end').then(([end]) => end as PumpEnd)
  const made = once(events, 'pumped')
  await client.open({
    headers: settings.isDeflated ? { 'sec-websocket-extensions': 'permessage-deflate' } : {}
  })
  const [pump, sides] = (await made) as [Pump, Pumped['sides']]
  return { client, upstream: await target.connection(0), pump, time, sides, end }
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise(resolve => setImmediate(resolve))
}

t.test('a client that takes nothing is cut off after a minute, and its upstream hears of it', async t => {
  const message = Buffer.alloc(65_536)
  const { client, upstream, time, sides, end } = await pumped(t, {
    onConnection(webSocket) {
      const pour = () => {
        while (webSocket.bufferedAmount < 262_144 && webSocket.readyState === 1) webSocket.send(message)
        if (webSocket.readyState === 1) setImmediate(pour)
      }
      pour()
    }
  })
  client.socket.pause()
  await until(() => sides.upstream.webSocket.isPaused && upstream.bufferedAmount > 0)
  t.ok(sides.client.waiting < 200_000, `${sides.client.waiting} bytes wait`)
  time.advance(55_000)
  t.ok(sides.client.isOpen, 'not before')
  time.advance(10_000)
  const [code] = await once(upstream, 'close')
  t.equal(code, 1001)
  t.match(await end, { closeCode: 1006, reason: 'client.aborted' })
})

t.test('a client that is slow but takes something is not', async t => {
  const message = Buffer.alloc(65_536)
  const { client, time, sides } = await pumped(t, {
    onConnection(webSocket) {
      for (let i = 0; i < 400; i++) webSocket.send(message)
    }
  })
  client.socket.pause()
  await until(() => sides.upstream.webSocket.isPaused)
  for (let i = 0; i < 4; i++) {
    time.advance(40_000)
    const { frames } = client
    const before = frames.length
    client.socket.resume()
    await until(() => frames.length > before + 40)
    client.socket.pause()
    await new Promise(resolve => setTimeout(resolve, 20))
  }
  t.ok(sides.client.isOpen)
})

t.test('a close that nobody answers is waited for five to ten seconds', async t => {
  const { client, pump, time, end } = await pumped(t)
  pump.finish(1001, 'gateway.draining')
  t.equal(await client.closeCode(), 1001)
  time.advance(4000)
  t.notOk(client.isOver)
  time.advance(7000)
  await client.closed
  t.match(await end, { closeCode: 1001, reason: 'gateway.draining' })
})

t.test('silence and age', async t => {
  const month = 40 * 86_400_000
  const rows: [
    name: string,
    settings: Parameters<typeof pumped>[1],
    ms: number,
    code: number,
    reason: string
  ][] = [
    ['idle', { limits: { idle: 60_000 } }, 60_000, 1001, 'protocol.idle'],
    ['lifetime', { limits: { lifetime: 90_000 } }, 90_000, 1001, 'protocol.lifetime'],
    ['a lifetime of forty days', { limits: { lifetime: month } }, month, 1001, 'protocol.lifetime']
  ]
  for (const [name, settings, ms, code, reason] of rows) {
    const { client, time, sides, end } = await pumped(t, settings)
    time.advance(ms - 1)
    if (ms > 1) t.ok(sides.client.isOpen, `${name}: not before`)
    time.advance(1)
    t.equal(await client.closeCode(), code, name)
    client.socket.destroy()
    t.match(await end, { closeCode: code, reason }, name)
  }
})

t.test('pings and pongs are no silence', async t => {
  const { client, time, sides } = await pumped(t, { limits: { idle: 60_000 } })
  for (let i = 1; i < 5; i++) {
    time.advance(50_000)
    client.send(ping())
    await client.got(i)
  }
  t.ok(sides.client.isOpen)
})

t.test('messages a second: a second of them at once, and no more', async t => {
  const { client, time } = await pumped(t, { limits: { messageRate: 10 } })
  client.send(...Array(10).fill(text('x')))
  await client.got(10)
  time.advance(500)
  client.send(...Array(5).fill(text('x')))
  await client.got(15)
  client.send(text('x'))
  t.equal(await client.closeCode(), 1008)
})

t.test(
  'compressed messages wait as such: 100 MiB in 100 KiB do not pile up before an upstream that takes nothing',
  async t => {
    const { client, upstream, sides } = await pumped(t, {
      isDeflated: true,
      onConnection: webSocket => webSocket.pause()
    })
    const message = compressed(opcode.binary, Buffer.alloc(2 ** 20))
    let most = 0
    client.send(...Array(100).fill(message))
    for (let i = 0; i < 200; i++) {
      await new Promise(resolve => setTimeout(resolve, 5))
      most = Math.max(most, sides.upstream.waiting)
    }
    t.ok(most < 3 * 2 ** 20, `${most} bytes wait at most`)
    let received = 0
    upstream.on('message', data => {
      received += (data as Buffer).length
    })
    upstream.resume()
    await until(() => received === 100 * 2 ** 20)
    t.pass('and all of it arrives')
  }
)
