import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { close, ping, RawClient, text } from '../fixtures/frames.ts'
import { plugin, pluginsFolder } from '../fixtures/proxying.ts'
import { movedTime } from '../fixtures/watch-time.ts'
import { closing, echoes, openSocket, socketGateway, socketUpstream } from '../fixtures/web-sockets.ts'
import { buildGateway, withListeners } from '../helper.ts'

t.setTimeout(120_000)

t.test('a WebSocket goes through the gateway, both ways', async t => {
  const upstream = await socketUpstream(t)
  const gateway = await socketGateway(t, upstream.url)
  const client = await openSocket(t, gateway.port, '/chat?room=1', ['chat.v1', 'chat.v2'])
  t.equal(client.protocol, 'chat.v1')
  client.send('hello')
  const [data, isBinary] = await once(client, 'message')
  t.equal(String(data), 'hello')
  t.equal(isBinary, false)
  client.send(Buffer.from([1, 2, 3]))
  t.same(await once(client, 'message'), [Buffer.from([1, 2, 3]), true])
  const { request } = upstream.connections[0]!
  t.equal(request.url, '/chat?room=1')
  t.equal(request.headers['x-forwarded-for'], '127.0.0.1')
  t.equal(request.headers['sec-websocket-protocol'], 'chat.v1, chat.v2')
  t.equal(request.headers['sec-websocket-extensions'], undefined)
  t.equal(await gateway.metric('sallyport_websocket_connections{route="all"}'), 1)
  t.equal(await gateway.metric('sallyport_requests_in_flight{route="all"}'), 1)
  client.close(4000, 'bye')
  t.same(await closing(client), [4000, 'bye'])
  const [outcome] = await gateway.recorder.ended(1)
  t.match(outcome, {
    status: 101,
    protocol: 'websocket',
    closeCode: 4000,
    reason: null,
    bytesIn: 8,
    bytesOut: 8
  })
  t.equal(await gateway.metric('sallyport_websocket_connections{route="all"}'), 0)
  t.equal(await gateway.metric('sallyport_requests_in_flight{route="all"}'), 0)
  t.equal(await gateway.metric('sallyport_websocket_messages_total{route="all",direction="in"}'), 2)
  t.equal(await gateway.metric('sallyport_websocket_messages_total{route="all",direction="out"}'), 2)
})

t.test('what a client sends with its handshake is not lost', async t => {
  const upstream = await socketUpstream(t)
  const gateway = await socketGateway(t, upstream.url)
  const client = new RawClient(t, gateway.port)
  const answer = await client.open({ head: Buffer.concat([text('early'), ping('p')]) })
  t.equal(answer.status, 101)
  const frames = await client.got(2)
  t.same(frames.map(frame => frame.payload.toString()).sort(), ['early', 'p'])
})

t.test('handshakes that are none', async t => {
  const upstream = await socketUpstream(t)
  const gateway = await socketGateway(t, upstream.url)
  const rows: [name: string, headers: Record<string, string | null>, status: number][] = [
    ['another version', { 'sec-websocket-version': '8' }, 426],
    ['no version', { 'sec-websocket-version': null }, 426],
    ['two versions', { 'sec-websocket-version': '13, 8' }, 426],
    ['no key', { 'sec-websocket-key': null }, 400],
    ['a short key', { 'sec-websocket-key': 'c2hvcnQ=' }, 400],
    ['two keys', { 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ==' }, 400],
    ['an empty offer', { 'sec-websocket-protocol': '' }, 400],
    ['an offer that is no token', { 'sec-websocket-protocol': 'a b' }, 400],
    ['an offer that is made twice', { 'sec-websocket-protocol': 'a, a' }, 400],
    ['extensions that are none', { 'sec-websocket-extensions': 'a; =' }, 400],
    ['a body', { 'content-length': '5' }, 426],
    ['chunks', { 'transfer-encoding': 'chunked' }, 426],
    ['another upgrade', { upgrade: 'h2c' }, 426],
    ['no upgrade', { upgrade: null, connection: 'close' }, 426]
  ]
  for (const [name, headers, status] of rows) {
    const client = new RawClient(t, gateway.port)
    const answer = await client.open({ headers: { connection: 'Upgrade, close', ...headers } })
    t.equal(answer.status, status, name)
    await client.closed
    if (headers['sec-websocket-version'] !== undefined)
      t.equal(answer.headers['sec-websocket-version'], '13', name)
  }
  t.equal(upstream.handshakes.length, 0, 'the upstream saw none of them')
})

t.test('compression that cannot be agreed on is left out', async t => {
  const upstream = await socketUpstream(t)
  const gateway = await socketGateway(t, upstream.url)
  for (const offer of [
    'permessage-deflate; server_max_window_bits=99',
    'permessage-deflate; unknown',
    'x-webkit-deflate-frame'
  ]) {
    const client = new RawClient(t, gateway.port)
    const answer = await client.open({ headers: { 'sec-websocket-extensions': offer } })
    t.equal(answer.status, 101, offer)
    t.equal(answer.headers['sec-websocket-extensions'], undefined)
  }
})

t.test('an upgrade to a route for HTTP is refused with 426, and a request to one for WebSocket', async t => {
  const upstream = await socketUpstream(t)
  const http = await socketGateway(t, upstream.url, { match: '{ path: /* }' })
  const client = new RawClient(t, http.port)
  t.match(await client.open(), { status: 426, body: /SP_PROTOCOL_UPGRADE/ })
  await client.closed
  const gateway = await socketGateway(t, upstream.url)
  const answer = await fetch(gateway.url)
  t.equal(answer.status, 426)
  t.equal(answer.headers.get('upgrade'), 'websocket')
  t.equal(upstream.handshakes.length, 0)
})

t.test('what the upstream says to the handshake is what the client is told', async t => {
  const upstream = await socketUpstream(t, {
    onUpgrade(request, socket) {
      if (request.url === '/open') return false
      socket.end(
        'HTTP/1.1 403 Forbidden\r\nconnection: close\r\nkeep-alive: timeout=5\r\nx-why: because\r\nset-cookie: a=1\r\nset-cookie: b=2\r\ncontent-type: text/plain\r\ncontent-length: 4\r\n\r\nnope'
      )
      return true
    }
  })
  const gateway = await socketGateway(t, upstream.url)
  const client = new RawClient(t, gateway.port)
  const answer = await client.open({ path: '/closed' })
  t.match(answer, {
    status: 403,
    body: 'nope',
    headers: { 'x-why': 'because', 'set-cookie': 'a=1\nb=2', connection: 'close' }
  })
  t.notOk('keep-alive' in answer.headers)
  const [outcome] = await gateway.recorder.ended(1)
  t.match(outcome, { status: 403, reason: null, closeCode: null, bytesOut: 4 })
})

t.test('a refusal that is too long to copy loses its body only', async t => {
  const upstream = await socketUpstream(t, {
    onUpgrade(_request, socket) {
      socket.end(
        `HTTP/1.1 403 Forbidden\r\nconnection: close\r\ncontent-type: text/plain\r\n\r\n${'x'.repeat(100_000)}`
      )
      return true
    }
  })
  const gateway = await socketGateway(t, upstream.url)
  const answer = await new RawClient(t, gateway.port).open()
  t.match(answer, { status: 403, body: '', headers: { 'content-length': '0' } })
})

t.test('an upstream that does not keep to the handshake gets the client a 502', async t => {
  const accepted = (more: string, accept = 'wrong') =>
    `HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: ${accept}\r\n${more}\r\n`
  let answer = ''
  const upstream = await socketUpstream(t, {
    onUpgrade(_request, socket) {
      socket.end(answer, 'latin1')
      return true
    }
  })
  const gateway = await socketGateway(t, upstream.url)
  const rows: [name: string, answer: string, status: number, reason: string][] = [
    ['a wrong key', accepted(''), 502, 'upstream.protocol'],
    [
      'a subprotocol that nobody offered',
      accepted('sec-websocket-protocol: other\r\n'),
      502,
      'upstream.protocol'
    ],
    ['two subprotocols', accepted('sec-websocket-protocol: a, b\r\n'), 502, 'upstream.protocol'],
    [
      'an extension that nobody offered',
      accepted('sec-websocket-extensions: permessage-deflate\r\n'),
      502,
      'upstream.protocol'
    ],
    [
      'another protocol',
      accepted('').replace('upgrade: websocket', 'upgrade: h2c'),
      502,
      'upstream.protocol'
    ],
    ['no HTTP', 'hello\r\n\r\n', 502, 'upstream.protocol'],
    ['nothing', '', 502, 'upstream.reset'],
    ['a flood of 1xx', 'HTTP/1.1 103 Early Hints\r\n\r\n'.repeat(20), 502, 'upstream.protocol'],
    ['a status that is none', 'HTTP/1.1 799 Odd\r\ncontent-length: 0\r\n\r\n', 502, 'upstream.protocol']
  ]
  for (const [index, [name, bytes, status, reason]] of rows.entries()) {
    answer = bytes
    const client = new RawClient(t, gateway.port)
    t.equal((await client.open({ headers: { 'sec-websocket-protocol': 'a, b' } })).status, status, name)
    const outcome = (await gateway.recorder.ended(index + 1))[index]
    t.equal(outcome?.reason, reason, name)
  }
})

t.test('an upstream that chooses no subprotocol is not made to', async t => {
  const upstream = await socketUpstream(t, { server: { handleProtocols: () => false } })
  const gateway = await socketGateway(t, upstream.url)
  const answer = await new RawClient(t, gateway.port).open({ headers: { 'sec-websocket-protocol': 'a, b' } })
  t.equal(answer.status, 101)
  t.equal(answer.headers['sec-websocket-protocol'], undefined)
})

t.test('headers of the upstream and of plugins are on the 101', async t => {
  const upstream = await socketUpstream(t)
  upstream.onHeaders(lines =>
    lines.push('Set-Cookie: a=1', 'Set-Cookie: b=2', 'X-Upstream: yes', 'X-Gone: 1')
  )
  const files = {
    'set.mjs': plugin(
      'transform',
      `route.addHook('onRequest', async (request, reply) => {
        reply.header('x-plugin', 'yes')
        request.gateway.upstreamHeaders = { 'x-from-plugin': 'yes', 'sec-websocket-protocol': 'forged' }
        request.gateway.removeResponseHeaders = ['x-gone']
      })`
    )
  }
  const gateway = await socketGateway(t, upstream.url, { uses: 'set', files })
  const answer = await new RawClient(t, gateway.port).open({
    headers: { 'x-forwarded-user': 'admin', cookie: 'c=1' }
  })
  t.equal(answer.status, 101)
  t.match(answer.headers, { 'set-cookie': 'a=1\nb=2', 'x-upstream': 'yes', 'x-plugin': 'yes' })
  t.notOk('x-gone' in answer.headers)
  const [{ headers }] = upstream.handshakes as [IncomingMessage]
  t.match(headers, { 'x-from-plugin': 'yes', cookie: 'c=1' })
  t.equal(headers['x-forwarded-user'], undefined)
  t.equal(headers['sec-websocket-protocol'], undefined)
})

t.test(
  'a plugin with hooks on answers changes a refusal, and does not hinder an open connection',
  async t => {
    const upstream = await socketUpstream(t, {
      onUpgrade(request, socket) {
        if (request.url !== '/closed') return false
        socket.end('HTTP/1.1 403 Forbidden\r\ncontent-length: 4\r\n\r\nnope')
        return true
      }
    })
    const files = {
      'sees.mjs': plugin(
        'transform',
        `route.addHook('onSend', async (request, reply) => { reply.header('x-seen', 'yes') })`
      )
    }
    const gateway = await socketGateway(t, upstream.url, { uses: 'sees', files })
    const client = await openSocket(t, gateway.port)
    client.send('x')
    t.equal(String((await once(client, 'message'))[0]), 'x')
    const answer = await new RawClient(t, gateway.port).open({ path: '/closed' })
    t.match(answer, { status: 403, body: 'nope', headers: { 'x-seen': 'yes' } })
  }
)

t.test('nobody there, and one that is: the second endpoint gets the handshake', async t => {
  const upstream = await socketUpstream(t)
  const gone = await closedPort()
  const nobody = await socketGateway(t, `http://127.0.0.1:${gone}`)
  t.equal((await new RawClient(t, nobody.port).open()).status, 502)
  t.match((await nobody.recorder.ended(1))[0], { reason: 'upstream.connect', status: 502 })

  const folderYaml = `upstreams:
  backend: { endpoints: ["http://127.0.0.1:${gone}", "${upstream.url}"], retries: { on: [connect-failure] } }
routes:
  all: { match: { path: /*, protocol: websocket }, public: true, upstream: backend }
`
  const gateway = await buildGateway(t, folderYaml)
  for (let i = 0; i < 4; i++) t.equal((await new RawClient(t, gateway.port).open()).status, 101)
  t.equal(await gateway.metric('sallyport_retries_total{upstream="backend"}'), 1)
})

t.test('an open connection is one of those that the upstream has room for', async t => {
  const upstream = await socketUpstream(t)
  const gateway = await socketGateway(t, upstream.url, { more: 'maxInFlight: 1' })
  const client = await openSocket(t, gateway.port)
  t.match(await new RawClient(t, gateway.port).open(), { status: 503, body: /SP_UPSTREAM_SATURATED/ })
  client.close()
  await gateway.recorder.ended(2)
  t.equal((await new RawClient(t, gateway.port).open()).status, 101)
})

t.test(
  'a breaker that failed handshakes have opened refuses the next one, and an open connection closes it',
  async t => {
    let isBroken = true
    const upstream = await socketUpstream(t, {
      onUpgrade(_request, socket) {
        if (isBroken) socket.end('HTTP/1.1 503 Unavailable\r\ncontent-length: 0\r\n\r\n')
        return isBroken
      }
    })
    const more = 'circuitBreaker: { failures: 2, open: 1s }'
    const gateway = await socketGateway(t, upstream.url, { more })
    const status = async () => (await new RawClient(t, gateway.port).open()).status
    t.same([await status(), await status(), await status()], [503, 503, 503])
    t.equal(upstream.handshakes.length, 2)
    t.match((await gateway.recorder.ended(3))[2], { reason: 'upstream.breaker' })
    isBroken = false
    let last = await status()
    while (last === 503) last = await status()
    t.equal(last, 101)
    t.equal(await status(), 101)
  }
)

t.test('a header of a plugin that cannot be sent fails the handshake, not the gateway', async t => {
  const upstream = await socketUpstream(t)
  const files = {
    'bad.mjs': plugin(
      'transform',
      `route.addHook('onRequest', async (request, reply) => { reply.header('x-bad', 'a\\r\\nx-evil: 1') })`
    )
  }
  const gateway = await socketGateway(t, upstream.url, { uses: 'bad', files })
  const answer = await new RawClient(t, gateway.port).open()
  t.equal(answer.status, 500)
  t.notOk('x-evil' in answer.headers)
  const webSocket = await upstream.connection(0)
  if (webSocket.readyState !== 3) await once(webSocket, 'close')
})

t.test('an upstream that does not answer the handshake: 504', async t => {
  const upstream = await socketUpstream(t, { onUpgrade: () => true })
  const gateway = await socketGateway(t, upstream.url, { route: 'timeout: 200ms' })
  t.equal((await new RawClient(t, gateway.port).open()).status, 504)
})

t.test('a client that leaves while its upstream is dialled ends the dial', async t => {
  for (const how of ['destroy', 'end'] as const) {
    let dialled: () => void = () => {}
    let gone: () => void = () => {}
    const isDialled = new Promise<void>(resolve => (dialled = resolve))
    const isGone = new Promise<void>(resolve => (gone = resolve))
    const upstream = await socketUpstream(t, {
      onUpgrade(_request, socket) {
        socket.on('end', gone)
        socket.resume()
        dialled()
        return true
      }
    })
    const gateway = await socketGateway(t, upstream.url)
    const client = new RawClient(t, gateway.port)
    client.open().catch(() => {})
    await isDialled
    client.socket[how]()
    await isGone
    t.match((await gateway.recorder.ended(1))[0], { reason: 'client.aborted', status: 499 }, how)
    t.equal(await gateway.metric('sallyport_requests_in_flight{route="all"}'), 0)
  }
})

t.test('ends that are none: the other side loses its connection too', async t => {
  const upstream = await socketUpstream(t)
  const gateway = await socketGateway(t, upstream.url)
  const client = new RawClient(t, gateway.port)
  await client.open()
  const first = await upstream.connection(0)
  client.socket.destroy()
  t.same(await closing(first), [1006, ''])
  t.match((await gateway.recorder.ended(1))[0], { closeCode: 1006, reason: 'client.aborted', status: 101 })

  const other = new RawClient(t, gateway.port)
  await other.open()
  const second = await upstream.connection(1)
  second.terminate()
  t.equal(await other.closeCode(), 1006)
  t.match((await gateway.recorder.ended(2))[1], { closeCode: 1006, reason: 'upstream.reset', status: 101 })
})

t.test('close codes of the upstream reach the client', async t => {
  const upstream = await socketUpstream(t)
  const gateway = await socketGateway(t, upstream.url)
  for (const [index, code] of [1000, 1001, 1011, 1012, 3000, 4999].entries()) {
    const client = await openSocket(t, gateway.port)
    const webSocket = await upstream.connection(index)
    webSocket.send('last')
    webSocket.close(code, 'why')
    t.equal(String((await once(client, 'message'))[0]), 'last')
    t.same(await closing(client), [code, 'why'])
  }
})

t.test('an upstream that breaks the protocol: 1011 for the client, the code for the upstream', async t => {
  const upstream = await socketUpstream(t)
  const gateway = await socketGateway(t, upstream.url, { uses: 'protocol: { maxMessage: 1Ki }' })
  const client = await openSocket(t, gateway.port)
  const webSocket = await upstream.connection(0)
  webSocket.send('x'.repeat(2000))
  const [ours, theirs] = await Promise.all([closing(client), closing(webSocket)])
  t.equal(ours[0], 1011)
  t.equal(theirs[0], 1009)
  t.match((await gateway.recorder.ended(1))[0], { closeCode: 1011, reason: 'upstream.protocol' })
})

t.test('rules for messages', async t => {
  const upstream = await socketUpstream(t)
  const rows: [rule: string, act: (client: RawClient) => void, code: number, reason: string][] = [
    ['maxMessage: 1Ki', client => client.send(text('x'.repeat(1025))), 1009, 'protocol.size'],
    ['messageRate: 3', client => client.send(...Array(5).fill(text('x'))), 1008, 'protocol.rate'],
    ['messageRate: 3', client => client.send(...Array(5).fill(ping('x'))), 1008, 'protocol.rate'],
    ['idle: 300ms', () => {}, 1001, 'protocol.idle'],
    ['lifetime: 300ms', () => {}, 1001, 'protocol.lifetime']
  ]
  for (const [rule, act, code, reason] of rows) {
    const gateway = await socketGateway(t, upstream.url, { uses: `protocol: { ${rule} }` })
    const client = new RawClient(t, gateway.port)
    t.equal((await client.open()).status, 101)
    act(client)
    t.equal(await client.closeCode(), code, rule)
    client.send(close(code))
    t.match((await gateway.recorder.ended(1))[0], { closeCode: code, reason }, rule)
  }
})

t.test('a message of more than 1 MiB is too long where no rule says otherwise', async t => {
  const upstream = await socketUpstream(t)
  const gateway = await socketGateway(t, upstream.url)
  const client = new RawClient(t, gateway.port)
  await client.open()
  client.send(text('x'.repeat(2 ** 20)))
  t.equal((await client.got(1))[0]?.payload.length, 2 ** 20)
  client.send(text('x'.repeat(2 ** 20 + 1)))
  t.equal(await client.closeCode(), 1009)
})

t.test(
  'origins: exactly those that are listed, and clients that are no browser with their credential',
  async t => {
    const upstream = await socketUpstream(t)
    const gateway = await socketGateway(t, upstream.url, {
      uses: 'protocol: { origins: ["https://a.example.com"] }'
    })
    const rows: [headers: Record<string, string>, status: number][] = [
      [{ origin: 'https://a.example.com' }, 101],
      [{ origin: 'https://A.example.com' }, 403],
      [{ origin: 'https://a.example.com.evil.net' }, 403],
      [{ origin: 'http://a.example.com' }, 403],
      [{ origin: 'https://a.example.com:8443' }, 403],
      [{ origin: 'null' }, 403],
      [{ origin: '' }, 403],
      [{}, 403],
      [{ authorization: 'Bearer x' }, 101],
      [{ authorization: 'Bearer x', origin: 'https://evil.net' }, 403]
    ]
    for (const [headers, status] of rows)
      t.equal(
        (await new RawClient(t, gateway.port).open({ headers })).status,
        status,
        JSON.stringify(headers)
      )
  }
)

t.test('subprotocols: what is not listed is taken out of the offer', async t => {
  const upstream = await socketUpstream(t)
  const gateway = await socketGateway(t, upstream.url, {
    uses: 'protocol: { subprotocols: [chat.v1, chat.v2] }'
  })
  const client = await openSocket(t, gateway.port, '/', ['other', 'chat.v2', 'chat.v1'])
  t.equal(client.protocol, 'chat.v2')
  t.equal(upstream.handshakes[0]?.headers['sec-websocket-protocol'], 'chat.v2, chat.v1')
  const refused = new RawClient(t, gateway.port)
  t.match(await refused.open({ headers: { 'sec-websocket-protocol': 'other' } }), {
    status: 400,
    body: /SUBPROTOCOL/
  })
  t.match(await new RawClient(t, gateway.port).open(), { status: 400 })
})

t.test('a drain closes both sides with 1001, and refuses a handshake that is under way', async t => {
  let dialled: () => void = () => {}
  const isDialled = new Promise<void>(resolve => (dialled = resolve))
  const upstream = await socketUpstream(t, {
    onUpgrade(request) {
      if (request.url === '/open') return false
      dialled()
      return true
    }
  })
  const gateway = await socketGateway(t, upstream.url, {
    top: 'limits: { drainDelay: 0ms, drainTimeout: 20s }'
  })
  const client = await openSocket(t, gateway.port, '/open')
  const webSocket = await upstream.connection(0)
  const late = new RawClient(t, gateway.port)
  const answer = late.open({ path: '/hangs' })
  await isDialled
  const closed = Promise.all([closing(client), closing(webSocket)])
  t.equal(await gateway.gateway.drain(), true, 'before the deadline')
  t.same(await closed, [
    [1001, ''],
    [1001, '']
  ])
  t.match(await answer, { status: 503, body: /SP_GATEWAY_DRAINING/ })
  t.match(await gateway.recorder.ended(2), [{ reason: 'gateway.draining' }, { reason: 'gateway.draining' }])
})

t.test('a client that does not answer the close of a drain is cut off', async t => {
  const upstream = await socketUpstream(t)
  const gateway = await socketGateway(t, upstream.url, {
    top: 'limits: { drainDelay: 0ms, drainTimeout: 20s }'
  })
  const client = new RawClient(t, gateway.port)
  await client.open()
  const start = performance.now()
  t.equal(await gateway.gateway.drain(), true)
  t.equal(await client.closeCode(), 1001)
  t.ok(performance.now() - start < 15_000, 'in five to ten seconds')
})

t.test('a connection outlives a reload', async t => {
  const upstream = await socketUpstream(t)
  const yaml = (path: string) => `upstreams: { backend: { url: "${upstream.url}" } }
routes:
  all: { match: { path: ${path}, protocol: websocket }, public: true, upstream: backend }
`
  const gateway = await buildGateway(t, yaml('/a'))
  const client = await openSocket(t, gateway.port, '/a')
  await writeFile(gateway.config, withListeners(yaml('/b')))
  await gateway.gateway.reload()
  t.equal((await new RawClient(t, gateway.port).open({ path: '/a' })).status, 404)
  client.send('still here')
  t.equal(String((await once(client, 'message'))[0]), 'still here')
  client.close()
  t.equal((await closing(client))[0], 1005)
})

t.test('a credential that ends closes the connection with 1008', async t => {
  const upstream = await socketUpstream(t)
  const files = {
    'identify.mjs': `export default {
      phase: 'authenticate', schema: { type: 'object', properties: { ms: { type: 'integer' } }, additionalProperties: false },
      register(route, { ms }) {
        route.addHook('onRequest', async request => {
          request.gateway.identity = { kind: 'custom', subject: 'ada', issuer: 'test', email: null, scopes: [], groups: [], roles: [], claims: {}, expiresAt: Date.now() + ms }
        })
      }
    }`
  }
  const yaml = (ms: number) => `upstreams: { backend: { url: "${upstream.url}" } }
routes:
  all: { match: { path: /*, protocol: websocket }, upstream: backend, plugins: [identify: { ms: ${ms} }] }
`
  const plugins = await pluginsFolder(t, files)
  const { time, advance } = movedTime()
  const short = await buildGateway(t, yaml(60_000), { plugins, time })
  const client = new RawClient(t, short.port)
  await client.open()
  advance(30_000)
  client.send(text('x'))
  await client.got(1)
  advance(35_000)
  t.equal(await client.closeCode(), 1008)

  // Over 24.8 days a timer of Node would fire at once.
  const long = await buildGateway(t, yaml(40 * 86_400_000), { plugins })
  const other = await openSocket(t, long.port)
  other.send('x')
  t.equal(String((await once(other, 'message'))[0]), 'x')
  t.equal(upstream.handshakes[1]?.headers['x-forwarded-user'], 'ada')
})

t.test('an upstream that is slow slows its client down, and nothing is lost', async t => {
  const upstream = await socketUpstream(t, {
    onConnection(webSocket) {
      webSocket.pause()
      setTimeout(() => webSocket.resume(), 300)
      echoes(webSocket)
    }
  })
  const gateway = await socketGateway(t, upstream.url)
  const client = await openSocket(t, gateway.port)
  const message = Buffer.alloc(100_000, 'x')
  let received = 0
  const all = new Promise<void>(resolve => {
    client.on('message', () => {
      if (++received === 300) resolve()
    })
  })
  for (let i = 0; i < 300; i++) client.send(message)
  await all
  t.equal(received, 300)
})

async function closedPort(): Promise<number> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
