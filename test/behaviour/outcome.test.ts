import { once } from 'node:events'
import { createServer } from 'node:net'
import t, { type Test } from 'tap'
import type { Outcome } from '../../src/outcome.ts'
import { type Proxying, plugin, proxying, type RawUpstream, rawUpstream } from '../fixtures/proxying.ts'
import { rawClient } from '../fixtures/raw.ts'

const get = 'GET /x HTTP/1.1\r\nhost: a\r\n\r\n'
const whole = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'
const part = 'HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\npart'

interface Ending {
  /** What the upstream sends for the head; null: nothing. `reset` resets the connection. */
  upstream: string | null
  act(t: Test, gateway: Proxying, upstream: RawUpstream): Promise<unknown>
  expected: Partial<Outcome>
  uses?: string
  files?: Record<string, string>
  more?: string
  route?: string
  /** Series of `/metrics` and what it counts. */
  counts?: [series: string, value: number]
}

async function send(t: Test, gateway: Proxying, bytes = get): Promise<number> {
  const client = rawClient(t, gateway.port)
  client.send(bytes)
  return (await client.next()).status
}

function ask(t: Test, gateway: Proxying): Promise<number> {
  return send(t, gateway)
}

/** The client goes as soon as the upstream has the request. */
async function sendAndLeave(t: Test, gateway: Proxying, upstream: RawUpstream, bytes = get): Promise<void> {
  const client = rawClient(t, gateway.port)
  client.send(bytes)
  await upstreamHas(upstream, 1)
  client.destroy()
  // And the call goes with it.
  const socket = upstream.connections[0]!
  if (!socket.closed) await once(socket, 'close')
}

const arrivals = new WeakMap<RawUpstream, { count: number; wake: () => void }>()

async function upstreamHas(upstream: RawUpstream, requests: number): Promise<void> {
  const arrival = arrivals.get(upstream)!
  while (arrival.count < requests) {
    await new Promise<void>(resolve => {
      arrival.wake = resolve
    })
  }
}

const refuses = {
  'guarded.mjs': plugin(
    'guard',
    "route.addHook('onRequest', async () => route.gateway.deny('policy.denied'))"
  )
}

const endings: Record<string, Ending> = {
  'an answer': {
    upstream: whole,
    act: ask,
    expected: { status: 200, reason: null, plugin: null, upstream: 'backend', bytesOut: 2 }
  },
  'a refusal by a plugin': {
    upstream: whole,
    uses: 'guarded',
    files: refuses,
    act: ask,
    expected: { status: 403, reason: 'policy.denied', plugin: 'guarded', upstream: null },
    counts: [
      'sallyport_decisions_total{route="all",plugin="guarded",verdict="deny",reason="policy.denied"}',
      1
    ]
  },
  'an allow': {
    upstream: whole,
    uses: 'waves',
    files: { 'waves.mjs': plugin('guard', '') },
    act: ask,
    expected: { status: 200, reason: null, plugin: null },
    counts: ['sallyport_decisions_total{route="all",plugin="waves",verdict="allow",reason=""}', 1]
  },
  'a client that goes before the answer': {
    upstream: null,
    act: sendAndLeave,
    expected: { status: 499, reason: 'client.aborted', bytesOut: 0 }
  },
  'a client that resets before the answer': {
    upstream: null,
    async act(t, gateway, upstream) {
      const client = rawClient(t, gateway.port)
      client.send(get)
      await upstreamHas(upstream, 1)
      client.socket.resetAndDestroy()
    },
    expected: { status: 499, reason: 'client.aborted', bytesOut: 0 }
  },
  'a client that goes during the answer': {
    upstream: part,
    async act(t, gateway, upstream) {
      const client = rawClient(t, gateway.port)
      client.send(get)
      while (!client.unread().endsWith('part')) await once(client.socket, 'data')
      client.socket.resetAndDestroy()
      const socket = upstream.connections[0]!
      if (!socket.closed) await once(socket, 'close')
    },
    expected: { status: 200, reason: 'client.aborted', bytesOut: 4 }
  },
  'a client that goes during its upload': {
    upstream: null,
    act: (t, gateway, upstream) =>
      sendAndLeave(t, gateway, upstream, 'POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\npart'),
    expected: { status: 499, reason: 'client.aborted', bytesIn: 4 }
  },
  'an upload that is cut off inside a chunk': {
    upstream: null,
    act: (t, gateway, upstream) =>
      sendAndLeave(
        t,
        gateway,
        upstream,
        'POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\npar'
      ),
    expected: { status: 499, reason: 'client.aborted' }
  },
  'an upstream that resets before its answer': {
    upstream: 'reset',
    act: ask,
    expected: { status: 502, reason: 'upstream.reset', plugin: null },
    counts: ['sallyport_upstream_errors_total{upstream="backend",reason="upstream.reset"}', 1]
  },
  'an upstream that closes before its answer': {
    upstream: 'close',
    act: ask,
    expected: { status: 502, reason: 'upstream.reset' }
  },
  'an upstream that resets midway': {
    upstream: `${part}reset`,
    act: (t, gateway) => t.rejects(send(t, gateway)),
    expected: { status: 200, reason: 'upstream.reset' },
    counts: ['sallyport_upstream_errors_total{upstream="backend",reason="upstream.reset"}', 1]
  },
  'no answer in time': {
    upstream: null,
    more: 'timeouts: { response: 50ms }',
    act: ask,
    expected: { status: 504, reason: 'upstream.timeout' },
    counts: ['sallyport_upstream_errors_total{upstream="backend",reason="upstream.timeout"}', 1]
  },
  "no answer in the route's time": {
    upstream: null,
    route: 'timeout: 50ms',
    act: ask,
    expected: { status: 504, reason: 'upstream.timeout' }
  },
  'a pause in the answer that is too long': {
    upstream: part,
    more: 'timeouts: { idle: 50ms }',
    act: (t, gateway) => t.rejects(send(t, gateway)),
    expected: { status: 200, reason: 'upstream.timeout' }
  },
  'a plugin that throws': {
    upstream: whole,
    uses: 'broken',
    files: { 'broken.mjs': plugin('guard', "route.addHook('onRequest', () => { throw new Error('boom') })") },
    act: ask,
    expected: { status: 500, reason: 'plugin.failed', plugin: 'broken' },
    counts: [
      'sallyport_decisions_total{route="all",plugin="broken",verdict="deny",reason="plugin.failed"}',
      1
    ]
  },
  'a plugin that rejects': {
    upstream: whole,
    uses: 'broken',
    files: {
      'broken.mjs': plugin(
        'guard',
        "route.addHook('onRequest', async () => { await null; throw new Error('boom') })"
      )
    },
    act: ask,
    expected: { status: 500, reason: 'plugin.failed', plugin: 'broken' }
  },
  'a plugin that throws nothing at all': {
    upstream: whole,
    uses: 'broken',
    files: { 'broken.mjs': plugin('guard', "route.addHook('onRequest', async () => { throw undefined })") },
    act: ask,
    expected: { status: 500, reason: 'plugin.failed', plugin: 'broken' }
  },
  'a plugin that throws right before the proxy': {
    upstream: whole,
    uses: 'waves, broken, waves-too',
    files: {
      'waves.mjs': plugin('guard', "route.addHook('preHandler', async () => {})"),
      'broken.mjs': plugin('guard', "route.addHook('preHandler', async () => { throw new Error('boom') })"),
      'waves-too.mjs': plugin('limit', "route.addHook('preHandler', async () => {})")
    },
    act: ask,
    expected: { status: 500, reason: 'plugin.failed', plugin: 'broken' }
  },
  'a plugin that throws on the answer': {
    upstream: whole,
    uses: 'broken',
    files: {
      'broken.mjs': plugin('guard', "route.addHook('onSend', async () => { throw new Error('boom') })")
    },
    act: ask,
    expected: { status: 500, reason: 'plugin.failed', plugin: 'broken' }
  },
  'a plugin that throws after it took the answer over': {
    upstream: whole,
    uses: 'broken',
    files: {
      'broken.mjs': plugin(
        'guard',
        "route.addHook('onRequest', async (request, reply) => { reply.hijack(); reply.raw.end('mine'); throw new Error('boom') })"
      )
    },
    act: ask,
    expected: { status: 200, reason: null, upstream: null }
  },
  'a plugin that throws in its outcome listener': {
    upstream: whole,
    uses: 'broken',
    files: { 'broken.mjs': plugin('observe', "route.gateway.onOutcome(() => { throw new Error('boom') })") },
    act: ask,
    expected: { status: 200, reason: null }
  },
  'a plugin that answers itself': {
    upstream: whole,
    uses: 'maintenance',
    files: {
      'maintenance.mjs': plugin(
        'guard',
        "route.addHook('onRequest', (request, reply) => { reply.code(203).send('later') })"
      )
    },
    act: ask,
    expected: { status: 203, reason: null, upstream: null }
  },
  'a plugin that sets a header which cannot be sent': {
    upstream: whole,
    uses: 'broken',
    files: {
      'broken.mjs': plugin(
        'guard',
        "route.addHook('onRequest', async (request, reply) => { reply.header('x-a', 'a\\nb') })"
      )
    },
    act: ask,
    expected: { status: 500, reason: 'plugin.failed' }
  },
  'a plugin that sets a header for the upstream which cannot be sent': {
    upstream: whole,
    uses: 'broken',
    files: {
      'broken.mjs': plugin(
        'guard',
        "route.addHook('onRequest', async request => { request.gateway.upstreamHeaders = { 'x-a': 'a\\r\\nb: c' } })"
      )
    },
    act: ask,
    expected: { status: 500, reason: 'plugin.failed' }
  },
  'a plugin that sets half an identity': {
    upstream: whole,
    uses: 'broken',
    files: {
      'broken.mjs': plugin(
        'guard',
        "route.addHook('onRequest', async request => { request.gateway.identity = { subject: 1 } })"
      )
    },
    act: ask,
    expected: { status: 500, reason: 'plugin.failed' }
  },
  'a body that announces too much': {
    upstream: whole,
    route: 'maxBody: 1Ki',
    act: (t, gateway) => send(t, gateway, 'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1025\r\n\r\n'),
    expected: { status: 413, reason: 'protocol.size', upstream: null }
  },
  'a body that turns out too large': {
    upstream: null,
    route: 'maxBody: 1Ki',
    act: (t, gateway) =>
      send(
        t,
        gateway,
        `POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n800\r\n${'a'.repeat(2048)}`
      ),
    expected: { status: 413, reason: 'protocol.size' }
  }
}

for (const [name, ending] of Object.entries(endings)) {
  t.test(`one outcome for ${name}`, async t => {
    const arrival = { count: 0, wake: () => {} }
    const upstream = await rawUpstream(t, socket => {
      if (ending.upstream?.endsWith('reset')) {
        const bytes = ending.upstream.slice(0, -5)
        if (bytes === '') socket.resetAndDestroy()
        else socket.write(bytes, () => socket.resetAndDestroy())
      } else if (ending.upstream === 'close') socket.end()
      else if (ending.upstream !== null) socket.write(ending.upstream)
      arrival.count++
      arrival.wake()
    })
    arrivals.set(upstream, arrival)
    const gateway = await proxying(t, upstream.url, ending)
    const status = await ending.act(t, gateway, upstream)
    const [outcome] = await gateway.recorder.ended(1)
    t.match(outcome, ending.expected)
    if (typeof status === 'number') t.equal(status, ending.expected.status, 'the client has seen that status')
    t.equal(await gateway.metric('sallyport_requests_in_flight{route="all"}'), 0)
    if (ending.counts) t.equal(await gateway.metric(ending.counts[0]), ending.counts[1])
    if (outcome?.reason === 'client.aborted' || outcome?.reason === null || outcome?.plugin !== null) {
      const text = await (await fetch(`${gateway.admin}/metrics`)).text()
      t.notMatch(text, /sallyport_upstream_errors_total\{/, 'no error of the upstream')
    }
    await gateway.gateway.close()
    t.equal(gateway.recorder.outcomes.length, 1, 'exactly one')
  })
}

t.test('one outcome for an upstream that refuses connections', async t => {
  const closed = createServer().listen(0, '127.0.0.1')
  await once(closed, 'listening')
  const { port } = closed.address() as { port: number }
  closed.close()
  for (const bytes of [get, 'POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody']) {
    const gateway = await proxying(t, `http://127.0.0.1:${port}`)
    t.equal(await send(t, gateway, bytes), 502)
    t.match(await gateway.recorder.ended(1), [{ status: 502, reason: 'upstream.connect', plugin: null }])
    t.equal(
      await gateway.metric('sallyport_upstream_errors_total{upstream="backend",reason="upstream.connect"}'),
      1
    )
  }
})

t.test('requests that no route takes are counted, once', async t => {
  const upstream = await rawUpstream(t, socket => void socket.write(whole))
  const gateway = await proxying(t, upstream.url, { match: '{ path: /only }' })
  t.equal(await send(t, gateway), 404)
  t.equal(
    await gateway.metric('sallyport_requests_total{route="none",protocol="http",method="GET",code="404"}'),
    1
  )
  t.equal(gateway.lines.filter(line => line.msg === 'request').length, 1)
  t.equal(gateway.recorder.outcomes.length, 0)
})

t.test('pipelined requests end too when their connection goes', async t => {
  const upstream = await rawUpstream(t, () => {})
  const gateway = await proxying(t, upstream.url)
  const client = rawClient(t, gateway.port)
  client.send(get + get + get)
  while (upstream.connections.length < 3) await new Promise(resolve => setImmediate(resolve))
  client.destroy()
  const outcomes = await gateway.recorder.ended(3)
  t.match(
    outcomes,
    [1, 2, 3].map(() => ({ status: 499, reason: 'client.aborted' }))
  )
  t.equal(await gateway.metric('sallyport_requests_in_flight{route="all"}'), 0)
  // undici opens a connection in place of each one that it aborts: those carry nothing.
  const used = upstream.connections.filter(socket => socket.bytesRead > 0)
  await Promise.all(used.map(socket => socket.closed || once(socket, 'close')))
  t.equal(used.length, 3)
})

t.test('a client that goes while the upstream is being reached cancels the call', async t => {
  // It takes the connection and never answers the TLS handshake.
  const upstream = await rawUpstream(t, () => {})
  const gateway = await proxying(t, upstream.url.replace('http:', 'https:'), {
    more: 'timeouts: { connect: 100ms }'
  })
  const client = rawClient(t, gateway.port)
  client.send(get)
  while (upstream.connections.length === 0) await new Promise(resolve => setImmediate(resolve))
  client.socket.resetAndDestroy()
  t.match(await gateway.recorder.ended(1), [{ status: 499, reason: 'client.aborted' }])
  t.equal(await send(t, gateway), 504)
  t.match((await gateway.recorder.ended(2))[1], { reason: 'upstream.timeout' })
})
