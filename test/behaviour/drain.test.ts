import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import type { ServerResponse } from 'node:http'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { runRestarts } from '../../bench/restarts.ts'
import { Program } from '../fixtures/program.ts'
import { buildGateway, echo, upstream, withListeners } from '../helper.ts'

function config(url: string, limits: string, plugins = '[]'): string {
  return `limits: ${limits}
upstreams: { backend: { url: "${url}" } }
plugins: [access-log, metrics]
routes:
  open: { match: { path: /* }, public: true, upstream: backend, plugins: ${plugins} }
`
}

/** An upstream that answers when the test does. */
async function patient(t: Test): Promise<{ url: string; request: Promise<ServerResponse> }> {
  let arrive: (response: ServerResponse) => void
  const request = new Promise<ServerResponse>(resolve => (arrive = resolve))
  const { url } = await upstream(t, (_request, response) => arrive(response))
  return { url, request }
}

/** A client on a bare socket: what it has got so far, and the end of the connection. */
class Client {
  readonly socket: Socket
  readonly closed: Promise<unknown>
  text = ''

  constructor(t: Test, port: number) {
    this.socket = connect(port, '127.0.0.1')
    this.socket.on('error', () => undefined)
    this.socket.on('data', chunk => {
      this.text += chunk
    })
    this.closed = once(this.socket, 'close')
    t.teardown(() => this.socket.destroy())
  }

  async connected(): Promise<void> {
    await once(this.socket, 'connect')
  }

  async got(text: string): Promise<void> {
    while (!this.text.includes(text)) await once(this.socket, 'data')
  }
}

const get = 'GET /a HTTP/1.1\r\nhost: a\r\n\r\n'

t.test('a drain turns readiness off and goes on serving, with Connection: close', async t => {
  const { url } = await echo(t)
  const running = await buildGateway(t, config(url, '{ drainDelay: 1s, drainTimeout: 30s }'))
  t.equal((await fetch(`${running.admin}/readyz`)).status, 200)
  const drained = running.gateway.drain()
  t.equal((await fetch(`${running.admin}/readyz`)).status, 503)
  t.equal((await fetch(`${running.admin}/livez`)).status, 200)
  const response = await fetch(`${running.url}/a`)
  t.equal(response.status, 200)
  t.equal(response.headers.get('connection'), 'close')
  await response.text()
  t.equal(await drained, true)
  await t.rejects(fetch(`${running.url}/a`), 'nobody listens any more')
  await t.rejects(fetch(`${running.admin}/livez`))
  t.equal(await running.gateway.drain(), true, 'a second drain is the same drain')
})

t.test('a request whose answer has not begun ends, and its connection with it', async t => {
  const backend = await patient(t)
  const { gateway, port } = await buildGateway(
    t,
    config(backend.url, '{ drainDelay: 1ms, drainTimeout: 1m }')
  )
  const client = new Client(t, port)
  client.socket.write(get)
  const response = await backend.request
  const drained = gateway.drain()
  response.end('whole')
  await client.closed
  t.match(client.text, /^HTTP\/1\.1 200 OK\r\n[\s\S]*connection: close\r\n[\s\S]*whole/i)
  t.equal(await drained, true)
})

t.test('so does one whose answer had promised that the connection stays', async t => {
  const backend = await patient(t)
  const { gateway, port } = await buildGateway(
    t,
    config(backend.url, '{ drainDelay: 1ms, drainTimeout: 1m }')
  )
  const client = new Client(t, port)
  client.socket.write(get)
  const response = await backend.request
  response.write('first ')
  await client.got('first ')
  const drained = gateway.drain()
  // The sockets are closed to new clients when this one is refused.
  let isOpen = true
  while (isOpen)
    isOpen = await fetch(`http://127.0.0.1:${port}/a`, { signal: AbortSignal.timeout(20) }).then(
      () => true,
      error => error.name === 'TimeoutError'
    )
  response.end('second')
  await client.closed
  t.notMatch(client.text, /connection: close/i)
  t.match(client.text, /first [\s\S]*second/)
  t.equal(await drained, true)
})

t.test('connections that are idle, or never said anything, end without holding the drain', async t => {
  const { url } = await echo(t)
  const { gateway, port, admin } = await buildGateway(t, config(url, '{ drainDelay: 1ms, drainTimeout: 1m }'))
  const [idle, silent, scraper] = [
    new Client(t, port),
    new Client(t, port),
    new Client(t, Number(new URL(admin).port))
  ]
  await Promise.all([silent.connected(), scraper.connected()])
  idle.socket.write(get)
  await idle.got('}')
  t.equal(await gateway.drain(), true)
  await Promise.all([idle.closed, silent.closed, scraper.closed])
})

t.test('a request whose head is still coming is answered', async t => {
  const { url } = await echo(t)
  const { gateway, port } = await buildGateway(t, config(url, '{ drainDelay: 1ms, drainTimeout: 1m }'))
  const [half, idle] = [new Client(t, port), new Client(t, port)]
  half.socket.write(get.slice(0, 20))
  idle.socket.write(get)
  await idle.got('}')
  const drained = gateway.drain()
  await idle.closed
  half.socket.write(get.slice(20))
  await half.closed
  t.match(half.text, /^HTTP\/1\.1 200 OK/)
  t.equal(await drained, true)
})

t.test('a request that does not end is cut off at the deadline, and the log says so', async t => {
  const backend = await patient(t)
  const running = await buildGateway(t, config(backend.url, '{ drainDelay: 1ms, drainTimeout: 50ms }'))
  const client = new Client(t, running.port)
  client.socket.write(get)
  await backend.request
  t.equal(await running.gateway.drain(), false)
  await client.closed
  t.equal(client.text, '')
  t.ok(running.lines.some(({ msg, underWay }) => /deadline has passed/.test(msg as string) && underWay === 1))
  t.match(
    running.lines.find(({ msg }) => msg === 'request'),
    { status: 499, reason: 'gateway.draining' }
  )
})

t.test('a reload during a drain changes nothing', async t => {
  const { url } = await echo(t)
  const { gateway } = await buildGateway(t, config(url, '{ drainDelay: 1ms, drainTimeout: 1m }'))
  await Promise.all([gateway.drain(), gateway.reload()])
  await t.resolves(gateway.reload())
  await t.rejects(gateway.start())
})

async function startProcess(t: Test, yaml: string, plugin?: string): Promise<Program> {
  const folder = await mkdtemp(join(tmpdir(), 'sallyport-drain-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  await writeFile(join(folder, 'gateway.yaml'), withListeners(yaml))
  if (plugin !== undefined) await writeFile(join(folder, 'custom.mjs'), plugin)
  const running = new Program({
    args: ['--config', join(folder, 'gateway.yaml'), ...(plugin === undefined ? [] : ['--plugins', folder])]
  })
  t.teardown(() => running.child.kill('SIGKILL'))
  return running
}

t.test(
  'SIGTERM ends the process with 0 when every request could end, with 1 when one was cut off',
  async t => {
    const backend = await patient(t)
    const running = await startProcess(t, config(backend.url, '{ drainDelay: 1ms, drainTimeout: 100ms }'))
    const stuck = fetch(`${await running.listening('http')}/a`)
    await backend.request
    running.child.kill('SIGTERM')
    await t.rejects(stuck)
    t.match(await running.exited, { code: 1 })
    t.equal(running.stderr, '')

    const other = await startProcess(t, config(backend.url, '{ drainDelay: 1ms }'))
    await other.listening('http')
    other.child.kill('SIGTERM')
    t.match(await other.exited, { code: 0 })
  }
)

t.test('a second SIGTERM ends the process at once', async t => {
  const running = await startProcess(
    t,
    config('http://127.0.0.1:9', '{ drainDelay: 10m, drainTimeout: 10m }')
  )
  await running.listening('http')
  running.child.kill('SIGTERM')
  const admin = await running.listening('admin')
  while ((await fetch(`${admin}/readyz`)).status !== 503);
  running.child.kill('SIGTERM')
  t.match(await running.exited, { code: 1 })
  t.ok(running.lines.some(({ msg }) => /asked to stop again/.test(msg as string)))
})

t.test('SIGTERM during the start ends the process', async t => {
  const running = await startProcess(
    t,
    config('http://127.0.0.1:9', '{ drainDelay: 10m }', '[custom]'),
    `export default {
      phase: 'guard', schema: {},
      register: () => new Promise(() => { console.log('hanging'); setInterval(() => {}, 1000) })
    }`
  )
  await running.line(({ text }) => text === 'hanging')
  running.child.kill('SIGTERM')
  t.match(await running.exited, { code: 0 })
  t.notOk(running.lines.some(({ msg }) => /listening/.test(msg as string)))
})

t.test(
  'a forgotten rejection costs nothing; an error that nobody can catch drains and ends the process',
  async t => {
    const backend = await patient(t)
    const running = await startProcess(
      t,
      config(backend.url, '{ drainDelay: 1ms, drainTimeout: 1m }', '[custom]'),
      `export default {
      phase: 'guard', schema: {},
      register(route) {
        route.addHook('onRequest', (request, reply, done) => {
          if (request.url === '/reject') Promise.reject(new Error('forgotten'))
          if (request.url === '/throw') setImmediate(() => { throw new Error('thrown to nobody') })
          if (request.url === '/a') return done()
          route.gateway.deny('policy.denied')
        })
      }
    }`
    )
    const url = await running.listening('http')
    t.equal((await fetch(`${url}/reject`)).status, 403)
    const underWay = fetch(`${url}/a`)
    const response = await backend.request
    t.equal((await fetch(`${url}/throw`)).status, 403)
    await running.line(({ level }) => level === 'fatal')
    response.end('whole')
    t.equal(await (await underWay).text(), 'whole')
    t.match(await running.exited, { code: 1 })
    t.ok(running.lines.some(({ err }) => (err as { message?: string })?.message === 'forgotten'))
  }
)

t.test('thousands of requests during restarts of two processes: none fails', async t => {
  const figures = await runRestarts({ requests: 5000, restarts: 2, connections: 4 })
  t.match(figures, { failed: 0, restarts: 2, exitCodes: [0, 0] })
  t.ok(figures.requests >= 5000)
})
