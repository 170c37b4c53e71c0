import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { Writable } from 'node:stream'
import * as tls from 'node:tls'
import t, { type Test } from 'tap'
import { createLog } from '../../../src/log.ts'
import { RedisClient, RedisUnavailable } from '../../../src/store/redis-client.ts'
import { RedisRegistry } from '../../../src/store/redis-registry.ts'
import { authority } from '../../fixtures/certificates.ts'
import { freePort, startRedis } from '../../fixtures/redis.ts'
import { skipWithout } from '../../fixtures/tool.ts'

const ping = "return redis.call('ECHO', ARGV[1])"

function logTo(lines: Record<string, unknown>[]) {
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      for (const line of chunk.toString().split('\n')) if (line !== '') lines.push(JSON.parse(line))
      done()
    }
  })
  return createLog('debug', stream)
}

function client(t: Test, url: string, now?: () => number) {
  const lines: Record<string, unknown>[] = []
  const redis = new RedisClient(url, logTo(lines), now)
  t.teardown(() => redis.close())
  return { redis, lines, echo: redis.script('echo', ping) }
}

/** A server on loopback that does what it is told with each connection. */
async function listen(t: Test, server: ReturnType<typeof createServer> | tls.Server): Promise<number> {
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

t.test('nobody waits for a Redis that is not there', async t => {
  const { redis, lines, echo } = client(t, `redis://127.0.0.1:${await freePort()}`)
  await redis.settled()
  t.notOk(redis.isUp)
  await t.rejects(echo('k', 'x'), new RedisUnavailable('Redis is down'))
  t.match(lines, [{ level: 'warn', store: 'redis', fault: 'ECONNREFUSED' }])
  t.equal(lines.length, 1)
})

t.test('a server that accepts and stays silent holds up no start', async t => {
  const port = await listen(
    t,
    createServer(socket => void socket.resume())
  )
  const { redis } = client(t, `redis://127.0.0.1:${port}`)
  const start = performance.now()
  await redis.settled()
  t.ok(performance.now() - start < 5000)
  t.notOk(redis.isUp)
})

for (const [name, bytes] of [
  ['garbage', 'HTTP/1.1 400 Bad Request\r\n\r\n'],
  ['half an answer', '*3\r\n$5\r\nab'],
  ['an error for everything', '-ERR no\r\n'.repeat(20)],
  ['a huge length', '$999999999999\r\n'],
  ['nothing but its end', '']
] as const) {
  t.test(`a server that answers with ${name} is down, and ends nothing`, async t => {
    const port = await listen(
      t,
      createServer(socket => {
        socket.resume()
        if (bytes === '') socket.end()
        else socket.once('data', () => socket.write(bytes))
      })
    )
    const { redis, echo } = client(t, `redis://127.0.0.1:${port}`)
    await redis.settled()
    await t.rejects(echo('k', 'x'), { name: 'RedisUnavailable' })
  })
}

t.test('over TLS only a server that is who it says gets the password', async t => {
  const redis = await startRedis(t, ['--requirepass', 'canary'])
  if (redis === null) return skipWithout(t, 'redis-server')
  const root = await authority(t)
  const { key, cert } = await root.leaf({ names: ['DNS:localhost', 'IP:127.0.0.1'] })
  const port = await listen(
    t,
    tls.createServer({ key, cert }, socket => {
      const server = connect(redis.port, '127.0.0.1')
      socket.on('error', () => server.destroy())
      server.on('error', () => socket.destroy())
      socket.pipe(server).pipe(socket)
    })
  )
  const url = `rediss://:canary@localhost:${port}`
  const before = process.env.NODE_TLS_REJECT_UNAUTHORIZED
  process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0'
  t.teardown(() => {
    if (before === undefined) delete process.env.NODE_TLS_REJECT_UNAUTHORIZED
    else process.env.NODE_TLS_REJECT_UNAUTHORIZED = before
  })
  const stranger = client(t, url)
  await stranger.redis.settled()
  t.notOk(stranger.redis.isUp)
  t.match(stranger.lines[0], { fault: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' })
  await stranger.redis.close()
  t.notMatch(JSON.stringify(stranger.lines), /canary/)

  const roots = tls.getCACertificates('default')
  tls.setDefaultCACertificates([...roots, root.cert])
  t.teardown(() => tls.setDefaultCACertificates(roots))
  const known = client(t, url)
  await known.redis.settled()
  t.equal(await known.echo('k', 'hello'), 'hello')
})

t.test('a Redis that is full or read-only fails at once, and its outage is one line in the log', async t => {
  const server = await startRedis(t)
  if (server === null) return skipWithout(t, 'redis-server')
  let now = 1_000_000
  const { redis, lines } = client(t, server.url, () => now)
  await redis.settled()
  const write = redis.script('write', "return redis.call('SET', KEYS[1], ARGV[1], 'PX', 60000)")
  const read = redis.script('read', "return redis.call('GET', KEYS[1])")
  await write('k', 'x')
  await server.client.config('SET', 'maxmemory', '1')
  for (let i = 0; i < 5; i++) {
    await t.rejects(write('k', 'y'), { message: 'Redis failed (OOM)' })
    t.equal(await read('k'), 'x')
    now += 1000
  }
  t.match(lines, [{ level: 'warn', fault: 'OOM' }])
  t.equal(lines.length, 1)
  await server.client.config('SET', 'maxmemory', '0')
  await write('k', 'z')
  now += 5000
  await write('k', 'z')
  t.match(lines, [
    { level: 'warn', fault: 'OOM' },
    { level: 'info', msg: 'Redis is back', seconds: 10 }
  ])

  await server.client.replicaof('127.0.0.1', await freePort())
  await t.rejects(write('k', 'x'), { name: 'RedisUnavailable' })
  await server.client.replicaof('NO', 'ONE')
  while (!redis.isUp) await new Promise(resolve => setImmediate(resolve))
  t.equal(await write('k', 'x'), 'OK')
})

t.test('one connection for each URL, closed when nobody uses it', async t => {
  const redis = await startRedis(t)
  if (redis === null) return skipWithout(t, 'redis-server')
  const registry = new RedisRegistry(logTo([]))
  t.teardown(() => registry.close())
  const first = await registry.get(redis.url)
  t.equal(await registry.get(redis.url), first)
  const other = await registry.get(`${redis.url}/1`)
  t.not(other, first)
  await registry.retain(new Set([first]))
  t.ok(first.isUp)
  t.notOk(other.isUp)
  t.not(await registry.get(`${redis.url}/1`), other)
})
