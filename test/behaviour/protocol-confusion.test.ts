import { once } from 'node:events'
import { request as httpRequest } from 'node:http'
import { setTimeout as pause } from 'node:timers/promises'
import t from 'tap'
import { type GrpcGateway, grpcGateway } from '../fixtures/grpc/gateway.ts'
import { begin, call, openSession, statusOf } from '../fixtures/grpc/raw-call.ts'
import { rawUpstream, succeed } from '../fixtures/grpc/raw-upstream.ts'
import { plugin, pluginsFolder } from '../fixtures/proxying.ts'
import { upstream } from '../helper.ts'

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
