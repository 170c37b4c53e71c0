import { once } from 'node:events'
import t from 'tap'
import type WebSocket from 'ws'
import { RawClient } from '../fixtures/frames.ts'
import { gatewayProcess } from '../fixtures/gateway-process.ts'
import { openSocket, socketUpstream } from '../fixtures/web-sockets.ts'

t.setTimeout(200_000)

const sockets = 1000
const mebibyte = 2 ** 20

function yaml(url: string): string {
  return `upstreams: { backend: { url: "${url}", maxInFlight: 2000 } }
routes:
  all: { match: { path: /*, protocol: websocket }, public: true, upstream: backend }
`
}

/** Sends until the other end takes no more. */
function pourInto(webSocket: WebSocket, message: Buffer): void {
  while (webSocket.bufferedAmount < 131_072) webSocket.send(message)
}

/** Sends as much as the other end takes, and closes. */
async function serve(webSocket: WebSocket, message: Buffer): Promise<void> {
  for (let sent = 0; sent < 128 * mebibyte; sent += message.length) {
    const taken = new Promise(resolve => webSocket.send(message, resolve))
    if (webSocket.bufferedAmount > 131_072) await taken
  }
  webSocket.close()
}

t.test('a thousand clients that never read cost the gateway at most 128 MB', async t => {
  const message = Buffer.alloc(4096, 'x')
  let stuck = 0
  const upstream = await socketUpstream(t, {
    onConnection: (webSocket, request) => {
      webSocket.on('error', () => {})
      if (request.url === '/warm-up') return void serve(webSocket, message)
      pourInto(webSocket, message)
      stuck++
    }
  })
  const gateway = await gatewayProcess(t, yaml(upstream.url))
  // What passes through leaves garbage behind, which is no part of what the stuck ones cost.
  const readers = await Promise.all([1, 2, 3, 4].map(() => openSocket(t, gateway.port, '/warm-up')))
  await Promise.all(readers.map(reader => once(reader, 'close')))
  await gateway.resetPeak()
  const before = (await gateway.peak()) ?? 0
  const clients: RawClient[] = []
  for (let i = 0; i < sockets; i++) {
    const client = new RawClient(t, gateway.port)
    clients.push(client)
    const { status } = await client.open()
    client.socket.pause()
    if (status !== 101) t.fail(`status ${status}`)
  }
  t.equal(stuck, sockets, 'every one of them is being sent more than it takes')
  await settled(async () => (await gateway.cpu()) ?? 0)
  const grown = ((await gateway.peak()) ?? 0) - before
  t.comment(
    `${Math.round(before / mebibyte)} MiB before, ${Math.round(grown / mebibyte)} MiB for ${sockets} stuck sockets`
  )
  t.ok(grown < 128_000_000, `${Math.round(grown / 1e6)} MB more at the peak`)
})

/** Resolves when a figure has not moved for a while: the process has nothing left to do. */
async function settled(figure: () => Promise<number>): Promise<void> {
  let [last, quiet] = [await figure(), 0]
  while (quiet < 4) {
    await new Promise(resolve => setTimeout(resolve, 250))
    const now = await figure()
    quiet = now - last < 30 ? quiet + 1 : 0
    last = now
  }
}
