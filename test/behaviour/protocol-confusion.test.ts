import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { request as httpRequest } from 'node:http'
import { connect } from 'node:net'
import { mock } from 'node:test'
import { setImmediate as nextTurn, setTimeout as pause } from 'node:timers/promises'
import t from 'tap'
import { continuation, RawClient, text } from '../fixtures/frames.ts'
import { type GrpcGateway, grpcGateway, quiet } from '../fixtures/grpc/gateway.ts'
import { message } from '../fixtures/grpc/message.ts'
import { begin, call, openSession, statusOf } from '../fixtures/grpc/raw-call.ts'
import { rawUpstream, succeed } from '../fixtures/grpc/raw-upstream.ts'
import { webCall } from '../fixtures/grpc/web-call.ts'
import { plugin, pluginsFolder, rawUpstream as rawHttp } from '../fixtures/proxying.ts'
import { socketUpstream } from '../fixtures/web-sockets.ts'
import { buildGateway, upstream } from '../helper.ts'

t.setTimeout(60_000)

interface Hold {
  enter(): void
  until: Promise<void>
}
const holds = new Map<string, Hold>()
;(globalThis as { sallyportHolds?: unknown }).sallyportHolds = holds

/** A plugin that keeps the first request until it is told to let it go. */
function holding(id: string): { source: string; entered: Promise<void>; release(): void } {
  const entered = Promise.withResolvers<void>()
  const released = Promise.withResolvers<void>()
  holds.set(id, { enter: entered.resolve, until: released.promise })
  const source = plugin(
    'authorize',
    `const hold = globalThis.sallyportHolds.get('${id}')
     route.addHook('onRequest', async () => { hold.enter(); await hold.until })`
  )
  return { entered: entered.promise, release: released.resolve, source }
}

const leaving: Record<string, (gateway: GrpcGateway, entered: Promise<void>, end: End) => Promise<void>> = {
  async 'HTTP/1'({ url }, entered) {
    const client = httpRequest(`${url}/gone`)
    client.on('error', () => {})
    client.end()
    await entered
    client.destroy()
  },
  async 'HTTP/2'({ h2c }, entered, end) {
    const stream = openSession(end, h2c).request({ ':path': '/gone' })
    stream.on('error', () => {})
    await entered
    stream.close(8)
    await once(stream, 'close')
  },
  async gRPC({ h2c }, entered, end) {
    const { stream } = begin(openSession(end, h2c), '/shop.Orders/Gone')
    await entered
    stream.close(8)
    await once(stream, 'close')
  }
}

interface End {
  teardown(close: () => unknown): void
}

for (const [kind, leave] of Object.entries(leaving)) {
  t.test(`a client that goes while a plugin is asked costs the upstream nothing: ${kind}`, async t => {
    const asked: string[] = []
    const web = await upstream(t, ({ url }, response) => {
      asked.push(url as string)
      // Without end, as nobody would stop it.
      if (url === '/gone') response.write(Buffer.alloc(1_048_576))
      else response.end('ok')
    })
    const rpc = await rawUpstream(t, one => {
      asked.push(one.path)
      if (one.path === '/shop.Orders/Gone') one.respond()
      else succeed(one)
    })
    const held = holding(kind)
    const folder = await pluginsFolder(t, { 'held.mjs': held.source })
    const gateway = await grpcGateway(
      t,
      `upstreams:
  web: { url: "${web.url}", maxInFlight: 1 }
  rpc: { url: "${rpc.url}", protocol: h2c, maxInFlight: 1 }
routes:
  web: { match: { path: /* }, public: true, upstream: web, plugins: [held] }
  rpc: { match: { protocol: grpc }, public: true, upstream: rpc, plugins: [held] }
`,
      undefined,
      { plugins: folder }
    )
    const route = kind === 'gRPC' ? 'rpc' : 'web'
    await leave(gateway, held.entered, t)
    while ((await gateway.metric(`sallyport_requests_in_flight{route="${route}"}`)) !== 0) await pause(5)
    held.release()
    // Its place at the upstream is free: the next one gets it.
    if (kind === 'gRPC') t.equal(statusOf(await call(openSession(t, gateway.h2c), '/shop.Orders/Next')), 0)
    else t.equal((await fetch(`${gateway.url}/next`)).status, 200)
    t.same(asked, [kind === 'gRPC' ? '/shop.Orders/Next' : '/next'])
  })
}

t.test('a plugin that judges answers judges those for browsers too', async t => {
  const rpc = await rawUpstream(t, async seen => {
    const isSecret = seen.path.endsWith('Secret')
    const body = await seen.body()
    seen.respond({ 'x-class': isSecret ? 'secret' : 'open' })
    if (isSecret) seen.stream.write(message('secret'))
    else seen.finish({ 'x-last': 'z' }, body)
  })
  const judge = plugin(
    'authorize',
    `route.addHook('onSend', async (request, reply, payload) => {
       if (reply.getHeader('x-class') === 'secret') route.gateway.deny('policy.denied')
       reply.header('x-judged', 'yes')
       return payload
     })`
  )
  const folder = await pluginsFolder(t, { 'judge.mjs': judge })
  const gateway = await grpcGateway(
    t,
    `plugins: [metrics]
upstreams: { rpc: { url: "${rpc.url}", protocol: h2c } }
routes:
  rpc: { match: { protocol: grpc }, grpcWeb: true, public: true, upstream: rpc, plugins: [judge] }
`,
    undefined,
    { plugins: folder }
  )
  const long = 'x'.repeat(300_000)
  const sent = message(long)
  const session = openSession(t, gateway.h2c)
  t.equal(statusOf(await call(session, '/shop.Orders/Secret', {}, sent)), 7)
  t.equal(statusOf(await call(session, '/shop.Orders/Open', {}, sent)), 0)
  for (const mode of ['web', 'web-text'] as const) {
    const secret = await webCall(`${gateway.url}/shop.Orders/Secret`, mode, [long])
    t.same([secret.status, secret.headers.get('grpc-status'), secret.messages], [200, '7', []], mode)
    const open = await webCall(`${gateway.url}/shop.Orders/Open`, mode, [long])
    t.equal(open.headers.get('x-judged'), 'yes')
    t.equal(open.headers.get('content-type'), `application/grpc-${mode}+proto`)
    t.ok(open.messages[0] === long, mode)
    t.match(open.trailers, { 'grpc-status': '0', 'x-last': 'z' })
  }
  await quiet(gateway, 'rpc')
})

t.test('HTTP/2 hears of an upstream that breaks off what a plugin sees', async t => {
  const seesSlowly = plugin(
    'transform',
    `route.addHook('onSend', async (request, reply, payload) => {
       await new Promise(resolve => payload.once('error', resolve))
       return payload
     })`
  )
  const sees = plugin('transform', `route.addHook('onSend', async (request, reply, payload) => payload)`)
  const folder = await pluginsFolder(t, { 'sees.mjs': sees, 'slow.mjs': seesSlowly })
  const broken = await rawHttp(t, socket => {
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n', () => setImmediate(() => socket.destroy()))
  })
  const gateway = await grpcGateway(
    t,
    `upstreams: { broken: { url: "${broken.url}" } }
routes:
  sees: { match: { path: /sees }, public: true, upstream: broken, plugins: [sees] }
  slow: { match: { path: /slow }, public: true, upstream: broken, plugins: [slow] }
`,
    undefined,
    { plugins: folder }
  )
  const session = openSession(t, gateway.h2c)
  for (const path of ['/sees', '/slow']) {
    const stream = session.request({ ':path': path })
    let status: number | undefined
    stream.on('error', () => {})
    stream.on('response', headers => (status = headers[':status']))
    stream.resume()
    await once(stream, 'close')
    t.same([status, stream.rstCode], [502, 0], path)
  }
})

t.test('a 101 that is none goes no further than the gateway', async t => {
  const upstream = await rawHttp(t, (socket, request) => {
    const accept = createHash('sha1')
      .update(`${/sec-websocket-key: *(\S+)/i.exec(request)?.[1]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
      .digest('base64')
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`)
  })
  const gateway = await buildGateway(
    t,
    `plugins: [metrics]
upstreams: { live: { url: "${upstream.url}" } }
routes:
  live: { match: { path: /*, protocol: websocket }, public: true, upstream: live }
`
  )
  const answer = await new RawClient(t, gateway.port).open()
  t.equal(answer.status, 502)
  t.match(answer.body?.toString(), /upstream\.protocol/)
})

t.test('a client that does not take the answer to its handshake is cut off after a minute', async t => {
  const big = plugin(
    'transform',
    `route.addHook('onRequest', async (request, reply) => reply.send(Buffer.alloc(50_000_000)))`
  )
  const folder = await pluginsFolder(t, { 'big.mjs': big })
  const gateway = await buildGateway(
    t,
    `upstreams: { live: { url: "http://127.0.0.1:9" } }
routes:
  live: { match: { path: /*, protocol: websocket }, public: true, upstream: live, plugins: [big] }
`,
    { plugins: folder }
  )
  const series = 'sallyport_requests_in_flight{route="live"}'
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => mock.timers.reset())
  const client = connect(gateway.port, '127.0.0.1')
  t.teardown(() => client.destroy())
  client.on('error', () => {})
  client.write(
    'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n'
  )
  await once(client, 'readable')
  t.equal(await gateway.metric(series), 1)
  mock.timers.tick(60_000)
  mock.timers.reset()
  while ((await gateway.metric(series)) !== 0) await pause(5)
})

t.test('a WebSocket message that comes in crumbs is not collected for ever', async t => {
  const live = await socketUpstream(t)
  const gateway = await buildGateway(
    t,
    `upstreams: { live: { url: "${live.url}" } }
routes:
  live: { match: { path: /*, protocol: websocket }, public: true, upstream: live }
`
  )
  const fragments = new RawClient(t, gateway.port)
  await fragments.open()
  const one = { fin: false }
  fragments.send(text('a', one), ...Array.from({ length: 4097 }, () => continuation('a', one)))
  t.equal(await fragments.closeCode(), 1008, 'fragments')

  const pieces = new RawClient(t, gateway.port)
  await pieces.open()
  const long = text('a'.repeat(1_048_576))
  pieces.send(long.subarray(0, 14))
  let end: number | null = null
  const closed = pieces.closeCode().then(code => (end = code))
  // Each on a turn of its own, or they would be read in one.
  for (let i = 14; i < 30_000 && end === null; i++) {
    pieces.send(long.subarray(i, i + 1))
    await nextTurn()
  }
  t.equal(end, 1008, 'pieces of a frame')
  await closed
})
