import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createServer as createTlsServer } from 'node:tls'
import { pino } from 'pino'
import t from 'tap'
import type { UpstreamConfig } from '../../../src/config/schema.ts'
import type { Endpoint, UpstreamRequest } from '../../../src/proxy/endpoint.ts'
import { Upstream, type UpstreamEnvironment } from '../../../src/proxy/upstream.ts'
import { UpstreamRegistry } from '../../../src/proxy/upstream-registry.ts'
import { Registry } from '../../../src/registry.ts'
import { ManualTime } from '../../fixtures/manual-time.ts'

function configOf(changes: Partial<UpstreamConfig> & Pick<UpstreamConfig, 'endpoints'>): UpstreamConfig {
  return {
    protocol: 'http1',
    resolve: 'service',
    balance: 'round-robin',
    timeouts: { connect: 2000, response: 5000, idle: 5000 },
    maxInFlight: 10,
    ...changes
  }
}

/** Time stands, and names resolve to what `addresses` says: null does not resolve. */
function environment(addresses: { now: string[] | null } = { now: null }) {
  const time = new ManualTime()
  const lookups: string[] = []
  const environment: UpstreamEnvironment = {
    log: pino({ level: 'silent' }),
    clock: time.clock,
    timers: time,
    random: () => 0.5,
    lookup: async host => {
      lookups.push(host)
      if (addresses.now === null) throw new Error('ENOTFOUND')
      return addresses.now
    }
  }
  return { ...environment, time, lookups }
}

function settle(): Promise<void> {
  return new Promise(resolve => setImmediate(resolve))
}

interface Backend {
  port: number
  hosts: string[]
  connections: number
}

async function backend(t: Tap, host: string, port = 0): Promise<Backend> {
  const seen: Backend = { port, hosts: [], connections: 0 }
  const server = createServer((request, response) => {
    seen.hosts.push(request.headers.host ?? '')
    response.end(host)
  })
  server.on('connection', () => seen.connections++)
  server.listen(port, host)
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  seen.port = (server.address() as AddressInfo).port
  return seen
}

type Tap = { teardown(close: () => unknown): void }

async function ask({ pool, servername }: Endpoint): Promise<string> {
  const request = { path: '/', method: 'GET' as const, servername }
  const { body } = await pool.request(request)
  return body.text()
}

function labels(upstream: Upstream): string[] {
  return upstream.endpoints.map(({ label }) => label)
}

t.test('until the name is resolved its endpoint is the name itself', async t => {
  const { time: _, ...env } = environment()
  const config = configOf({ endpoints: ['http://orders.shop'], resolve: 'all' })
  const upstream = new Upstream('orders', config, null, env)
  t.teardown(() => upstream.close())
  await settle()
  t.same(labels(upstream), ['orders.shop:80'])
  t.equal(upstream.pick().address, null)
})

t.test('a service is balanced over every address of its name, each told the Host of the url', async t => {
  const one = await backend(t, '127.0.0.1')
  const two = await backend(t, '127.0.0.2', one.port)
  const env = environment({ now: ['127.0.0.1', '127.0.0.2'] })
  const config = configOf({ endpoints: [`http://orders.shop:${one.port}`], resolve: 'all' })
  const upstream = new Upstream('orders', config, null, env)
  t.teardown(() => upstream.close())
  await settle()
  t.same(env.lookups, ['orders.shop'])
  t.same(labels(upstream), [`127.0.0.1:${one.port}`, `127.0.0.2:${one.port}`])
  t.same([await ask(upstream.pick()), await ask(upstream.pick())].sort(), ['127.0.0.1', '127.0.0.2'])
  t.same([...one.hosts, ...two.hosts], [`orders.shop:${one.port}`, `orders.shop:${one.port}`])
})

t.test('endpoints that stay keep their connections, and those that go end what they have begun', async t => {
  const one = await backend(t, '127.0.0.1')
  await backend(t, '127.0.0.2', one.port)
  const addresses = { now: ['127.0.0.1', '127.0.0.2'] }
  const env = environment(addresses)
  const config = configOf({ endpoints: [`http://orders.shop:${one.port}`], resolve: 'all' })
  const upstream = new Upstream('orders', config, null, env)
  t.teardown(() => upstream.close())
  await settle()
  const [stays, goes] = upstream.endpoints as [Endpoint, Endpoint]
  await ask(stays)
  const underWay = ask(goes)
  addresses.now = ['127.0.0.1', '127.0.0.3']
  env.time.advance(30_000)
  await settle()
  t.same(labels(upstream), [`127.0.0.1:${one.port}`, `127.0.0.3:${one.port}`])
  t.equal(upstream.endpoints[0], stays)
  t.equal(await underWay, '127.0.0.2')
  await t.rejects(ask(goes), { code: 'UND_ERR_CLOSED' })
  await ask(stays)
  t.equal(one.connections, 1)
})

t.test('a failed connection asks for the addresses again', async t => {
  const addresses = { now: ['127.0.0.1'] }
  const env = environment(addresses)
  const config = configOf({ endpoints: ['http://orders.shop:9'], resolve: 'all' })
  const upstream = new Upstream('orders', config, null, env)
  t.teardown(() => upstream.close())
  await settle()
  addresses.now = ['127.0.0.2']
  env.time.advance(1000)
  upstream.unreachable(upstream.pick())
  await settle()
  t.same(labels(upstream), ['127.0.0.2:9'])
})

t.test('an endpoint that refuses connections is spared for five seconds while there are others', async t => {
  const env = environment()
  const endpoints = ['http://127.0.0.1:1', 'http://127.0.0.1:2', 'http://127.0.0.1:3']
  const upstream = new Upstream('orders', configOf({ endpoints }), null, env)
  t.teardown(() => upstream.close())
  const [first, second, third] = upstream.endpoints as [Endpoint, Endpoint, Endpoint]
  upstream.unreachable(first)
  t.same(new Set([1, 2, 3, 4].map(() => upstream.pick())), new Set([second, third]))
  upstream.unreachable(second)
  upstream.unreachable(third)
  t.same(
    new Set([1, 2, 3].map(() => upstream.pick())),
    new Set([first, second, third]),
    'none is well: all are asked'
  )
  env.time.advance(5000)
  t.ok(first.isWell)
})

t.test('the only endpoint is never spared', async t => {
  const upstream = new Upstream(
    'orders',
    configOf({ endpoints: ['http://127.0.0.1:1'] }),
    null,
    environment()
  )
  t.teardown(() => upstream.close())
  upstream.unreachable(upstream.pick())
  t.ok(upstream.pick().isWell)
})

/** A server that notes which names it is asked to have a certificate for. It has none, so the handshake fails. */
async function sniServer(t: Tap): Promise<{ port: number; names: string[] }> {
  const names: string[] = []
  const server = createTlsServer({
    SNICallback: (name, done) => {
      names.push(name)
      done(new Error('no certificate'))
    }
  })
  server.on('tlsClientError', () => {})
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  return { port: (server.address() as AddressInfo).port, names }
}

async function handshake({ pool, servername }: Endpoint, host?: string): Promise<void> {
  const headers = host === undefined ? {} : { host }
  const request = { path: '/', method: 'GET', headers, servername } satisfies UpstreamRequest
  await pool.request(request as never).catch(() => {})
}

t.test('the certificate is asked for by the name of the url, whatever its address and the Host', async t => {
  const { port, names } = await sniServer(t)
  const config = configOf({ endpoints: [`https://orders.shop:${port}`], resolve: 'all' })
  const upstream = new Upstream('orders', config, null, environment({ now: ['127.0.0.1'] }))
  t.teardown(() => upstream.close())
  await settle()
  await handshake(upstream.pick())
  await handshake(upstream.pick(), 'evil.example')
  t.same(names, ['orders.shop', 'orders.shop'])
})

t.test('tls.serverName is the name that the certificate must have', async t => {
  const { port, names } = await sniServer(t)
  const config = configOf({
    endpoints: [`https://127.0.0.1:${port}`],
    tls: { serverName: 'orders.internal' }
  })
  const upstream = new Upstream('orders', config, null, environment())
  t.teardown(() => upstream.close())
  await handshake(upstream.pick(), 'evil.example')
  t.same(names, ['orders.internal'])
})

t.test('series of endpoints, breakers and upstreams that are gone go too', async t => {
  const addresses = { now: ['127.0.0.1', '127.0.0.2'] }
  const env = environment(addresses)
  const registry = new Registry()
  const upstreams = new UpstreamRegistry(registry, env)
  t.teardown(() => upstreams.close())
  const base = { endpoints: ['http://orders.shop'], resolve: 'all' as const }
  const before = upstreams.get(
    'orders',
    configOf({ ...base, circuitBreaker: { failures: 5, open: 1000 } }),
    null
  )
  await settle()
  async function series(): Promise<string[]> {
    const text = await registry.expose()
    return text.split('\n').filter(line => /^sallyport_(upstream_healthy|circuit_breaker_state)\{/.test(line))
  }
  t.same(await series(), [
    'sallyport_upstream_healthy{upstream="orders",endpoint="127.0.0.1:80"} 1',
    'sallyport_upstream_healthy{upstream="orders",endpoint="127.0.0.2:80"} 1',
    'sallyport_circuit_breaker_state{upstream="orders"} 0'
  ])
  before.unreachable(before.pick())
  t.same((await series()).filter(line => line.endsWith(' 0')).length, 2)

  addresses.now = ['127.0.0.3', '127.0.0.4']
  const after = upstreams.get('orders', configOf(base), null)
  await settle()
  t.same(await series(), [
    'sallyport_upstream_healthy{upstream="orders",endpoint="127.0.0.3:80"} 1',
    'sallyport_upstream_healthy{upstream="orders",endpoint="127.0.0.4:80"} 1'
  ])
  await upstreams.retain(new Set([after]))
  await upstreams.retain(new Set())
  t.same(await series(), [])
})

t.test('the same configuration gives the same upstream', async t => {
  const upstreams = new UpstreamRegistry(new Registry(), environment())
  t.teardown(() => upstreams.close())
  const config = configOf({ endpoints: ['http://127.0.0.1:1'] })
  const upstream = upstreams.get('orders', config, null)
  t.equal(upstreams.get('orders', structuredClone(config), null), upstream)
  t.not(upstreams.get('orders', { ...config, maxInFlight: 11 }, null), upstream)
  t.not(upstreams.get('orders', config, { ca: 'PEM' }), upstream)
})
