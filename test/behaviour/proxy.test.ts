import { once } from 'node:events'
import { Agent, request as httpRequest, type IncomingMessage } from 'node:http'
import t from 'tap'
import { type Proxying, plugin, proxying, rawUpstream } from '../fixtures/proxying.ts'
import { type Frame, rawClient } from '../fixtures/raw.ts'
import { echo, upstream } from '../helper.ts'

interface Seen {
  method: string
  url: string
  headers: Record<string, string>
  body: string
}

const close = 'connection: close\r\n\r\n'

/** One request on a connection of its own. */
async function ask(t: { teardown(end: () => void): void }, gateway: Proxying, bytes: string): Promise<Frame> {
  const client = rawClient(t, gateway.port, () => bytes.startsWith('HEAD'))
  client.send(bytes)
  let answer = await client.next()
  while (answer.status < 200) answer = await client.next()
  client.destroy()
  return answer
}

async function seen(t: { teardown(end: () => void): void }, gateway: Proxying, bytes: string): Promise<Seen> {
  const { body } = await ask(t, gateway, bytes)
  return JSON.parse(Buffer.from(body, 'latin1').toString())
}

t.test('HEAD gets the header of GET, each on an upstream connection of its own', async t => {
  let connections = 0
  const { url, server } = await upstream(t, (request, response) => {
    if (request.url === '/length') response.setHeader('content-length', 5)
    response.end(request.method === 'HEAD' ? undefined : 'hello')
  })
  server.on('connection', () => connections++)
  const gateway = await proxying(t, url)
  for (let i = 0; i < 3; i++) {
    const known = await ask(t, gateway, 'HEAD /length HTTP/1.1\r\nhost: a\r\n\r\n')
    t.match(known, { status: 200, body: '', headers: { 'content-length': '5' } })
    const unknown = await ask(t, gateway, 'HEAD / HTTP/1.1\r\nhost: a\r\n\r\n')
    t.match(unknown, { status: 200, body: '' })
  }
  // A body that a careless server sends all the same must not meet another client's request.
  t.equal(connections, 6)
  const client = rawClient(t, gateway.port, index => index === 0)
  client.send('HEAD /length HTTP/1.1\r\nhost: a\r\n\r\nGET /length HTTP/1.1\r\nhost: a\r\n\r\n')
  t.equal((await client.next()).body, '')
  t.equal((await client.next()).body, 'hello')
})

t.test('204 and 304 have no body, and the connection goes on', async t => {
  const { url } = await rawUpstream(t, (socket, head) => {
    if (head.includes('/204')) socket.write('HTTP/1.1 204 No Content\r\ncontent-length: 0\r\nx-a: 1\r\n\r\n')
    else if (head.includes('/304')) socket.write('HTTP/1.1 304 Not Modified\r\netag: "1"\r\n\r\n')
    else socket.write('HTTP/1.1 304 Not Modified\r\ncontent-length: 1000\r\n\r\n')
  })
  for (const uses of [undefined, 'see']) {
    const gateway = await proxying(t, url, {
      uses,
      files: { 'see.mjs': plugin('transform', "route.addHook('onSend', async (a, b, payload) => payload)") }
    })
    const client = rawClient(t, gateway.port)
    client.send('GET /204 HTTP/1.1\r\nhost: a\r\n\r\n')
    const empty = await client.next()
    t.match(empty, { status: 204, headers: { 'x-a': '1' } })
    t.notOk('content-length' in empty.headers, 'RFC 9110, 8.6')
    t.notOk('transfer-encoding' in empty.headers)
    client.send('GET /304 HTTP/1.1\r\nhost: a\r\n\r\n')
    t.match(await client.next(), { status: 304, headers: { etag: '"1"' } })
    // undici takes the length for that of a body and misses it.
    client.send('GET /304-with-length HTTP/1.1\r\nhost: a\r\n\r\n')
    t.equal((await client.next()).status, 304)
    client.send('GET /204 HTTP/1.1\r\nhost: a\r\n\r\n')
    t.equal((await client.next()).status, 204)
    const outcomes = await gateway.recorder.ended(4)
    t.same(
      outcomes.map(outcome => outcome.reason),
      [null, null, null, null]
    )
  }
})

t.test('an HTTP/1.0 client gets an answer that it understands', async t => {
  const { url } = await upstream(t, (request, response) => {
    response.write(`${request.headers.host} `)
    response.end(String(request.headers['x-forwarded-host']))
  })
  const gateway = await proxying(t, url, { route: 'rewrite: { host: preserve }' })
  const client = rawClient(t, gateway.port)
  client.send('GET / HTTP/1.0\r\n\r\n')
  const answer = await client.next()
  t.notOk('transfer-encoding' in answer.headers)
  t.equal(answer.body, `${new URL(url).host} undefined`, 'no Host: the upstream gets its own')
  t.equal(await client.closed, null)
})

t.test('100-continue is said to those who may send only', async t => {
  const { url } = await echo(t)
  const gateway = await proxying(t, url, {
    uses: 'guarded',
    files: {
      'guarded.mjs': plugin(
        'authenticate',
        "route.addHook('onRequest', async request => { if (!request.headers.authorization) route.gateway.deny('token.missing') })"
      ).replace("'authenticate'", "'guard'")
    }
  })
  const head = 'POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 4\r\n'
  const client = rawClient(t, gateway.port)
  client.send(`${head}authorization: x\r\n\r\n`)
  t.equal((await client.next()).status, 100)
  client.send('body')
  const answer = JSON.parse((await client.next()).body) as Seen
  t.match(answer, { body: 'body' })
  t.notOk('expect' in answer.headers)
  const stranger = rawClient(t, gateway.port)
  stranger.send(`${head}\r\n`)
  t.equal((await stranger.next()).status, 401, 'and nothing before it')
  t.equal(await stranger.closed, null)
  const large = rawClient(t, gateway.port)
  large.send(`${head.replace('4\r\n', '99999999\r\n')}authorization: x\r\n\r\n`)
  t.equal((await large.next()).status, 413, 'nor is a body asked for that is too large')
})

t.test('bodies over the limit are refused, and nothing of those that announce it is sent', async t => {
  let requests = 0
  const { url } = await upstream(t, (request, response) => {
    requests++
    request.on('end', () => response.end('ok'))
    request.resume()
  })
  const kibi = 'a'.repeat(1024)
  for (const added of [
    { top: 'limits: { maxBody: 1Ki }' },
    { route: 'maxBody: 1Ki' },
    { top: 'limits: { maxBody: 1Mi }', uses: 'body-limit: { max: 1Ki }' }
  ]) {
    const gateway = await proxying(t, url, {
      ...added,
      uses: added.uses === undefined ? undefined : `{ ${added.uses} }`
    })
    requests = 0
    const announced = await ask(t, gateway, `POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1025\r\n${close}`)
    t.match(announced, { status: 413, headers: { 'content-type': /problem/ } })
    t.match(JSON.parse(announced.body), { code: 'SP_PROTOCOL_SIZE' })
    t.equal(requests, 0)
    const fits = `POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1024\r\n${close}${kibi}`
    t.equal((await ask(t, gateway, fits)).status, 200)
    const chunked = `POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n${close}400\r\n${kibi}\r\n`
    t.equal((await ask(t, gateway, `${chunked}0\r\n\r\n`)).status, 200)
    t.equal((await ask(t, gateway, `${chunked}1\r\na\r\n0\r\n\r\n`)).status, 413)
    t.equal((await ask(t, gateway, `${chunked}1\r\na\r\n`)).status, 413, 'without waiting for the end')
  }
  const raised = await proxying(t, url, { top: 'limits: { maxBody: 1Ki }', route: 'maxBody: 2Ki' })
  const more = `POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2048\r\n${close}${kibi}${kibi}`
  t.equal((await ask(t, raised, more)).status, 200, 'a route may allow more')
})

t.test('a body that grows over the limit aborts the call that is under way', async t => {
  const bodies: IncomingMessage[] = []
  const { url } = await upstream(t, request => void bodies.push(request))
  const gateway = await proxying(t, url, { route: 'maxBody: 1Ki' })
  const client = rawClient(t, gateway.port)
  client.send('POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n')
  while (bodies.length === 0) await new Promise(resolve => setImmediate(resolve))
  const [body] = bodies as [IncomingMessage]
  const broken = once(body.resume(), 'error')
  client.send(`400\r\n${'a'.repeat(1024)}\r\n`)
  t.equal((await client.next()).status, 413)
  t.match(await broken, [{ code: 'ECONNRESET' }])
  t.equal(await client.closed, null)
  t.match(await gateway.recorder.ended(1), [{ status: 413, reason: 'protocol.size' }])
  t.notOk(
    await gateway.metric('sallyport_upstream_errors_total{upstream="backend",reason="upstream.reset"}'),
    'it is no fault of the upstream'
  )
})

t.test('bodies on methods that have none never poison the next request', async t => {
  const { url } = await echo(t)
  const gateway = await proxying(t, url)
  for (const method of ['GET', 'DELETE', 'OPTIONS', 'QUERY', 'SEARCH', 'PURGE']) {
    const client = rawClient(t, gateway.port)
    for (const length of [4, 0, 4]) {
      client.send(
        `${method} /a HTTP/1.1\r\nhost: a\r\ncontent-length: ${length}\r\n\r\n${'GET '.slice(0, length)}`
      )
      t.match(JSON.parse((await client.next()).body), { method, url: '/a', body: 'GET '.slice(0, length) })
    }
    client.send(`${method} /b HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n`)
    t.match(JSON.parse((await client.next()).body), { method, url: '/b', body: 'ab' })
  }
})

t.test('more requests than maxInFlight get 503 at once', async t => {
  const waiting: (() => void)[] = []
  const { url } = await upstream(t, (_request, response) => void waiting.push(() => response.end('ok')))
  const gateway = await proxying(t, url, { more: 'maxInFlight: 2' })
  const first = [fetch(gateway.url), fetch(gateway.url)]
  while (waiting.length < 2) await new Promise(resolve => setImmediate(resolve))
  const third = await fetch(gateway.url)
  t.equal(third.status, 503)
  t.equal(third.headers.get('retry-after'), '1')
  t.match(await third.json(), { reason: 'upstream.saturated' })
  for (const end of waiting.splice(0)) end()
  for (const response of await Promise.all(first)) t.equal(await response.text(), 'ok')
  const later = fetch(gateway.url)
  while (waiting.length < 1) await new Promise(resolve => setImmediate(resolve))
  for (const end of waiting.splice(0)) end()
  t.equal((await later).status, 200)
})

t.test('fields of one connection stay on it, both ways', async t => {
  const heads: string[] = []
  const { url } = await rawUpstream(t, (socket, head) => {
    heads.push(head)
    socket.write(
      'HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Up\r\nconnection: x-too\r\nX-Up: 1\r\nx-too: 1\r\nkeep-alive: timeout=5\r\n' +
        'Proxy-Authenticate: Basic\r\nproxy-authorization: x\r\nproxy-connection: x\r\nupgrade: h2c\r\nte: x\r\nhttp2-settings: x\r\n' +
        'x-sallyport-identity: forged\r\nX-Kept: 1\r\ncontent-length: 0\r\n\r\n'
    )
  })
  const gateway = await proxying(t, url)
  const answer = await ask(
    t,
    gateway,
    'GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Hop, close\r\nx-hop: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\n' +
      'Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic x\r\nproxy-authenticate: x\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n' +
      'Trailer: x\r\nX-Kept: 1\r\n\r\n'
  )
  const up = (heads[0] as string)
    .split('\r\n')
    .slice(1, -2)
    .map(line => line.split(':')[0])
  t.same(up.sort(), [
    'connection',
    'host',
    'traceparent',
    'x-forwarded-for',
    'x-forwarded-host',
    'x-forwarded-port',
    'x-forwarded-proto',
    'x-kept',
    'x-request-id'
  ])
  t.match(heads[0], 'connection: keep-alive\r\n')
  t.same(Object.keys(answer.headers).sort(), ['connection', 'content-length', 'date', 'x-kept'])
})

t.test('forwarded headers say where a request came from', async t => {
  const { url } = await echo(t)
  const theirs =
    'GET / HTTP/1.1\r\nhost: api.example.com:8080\r\nx-forwarded-for: 203.0.113.7, 10.1.1.1\r\nX-Forwarded-Host: evil\r\n' +
    'x-forwarded-proto: https\r\nx-forwarded-port: 443\r\nforwarded: for=1.2.3.4\r\nx-real-ip: 1.2.3.4\r\n' +
    `x-forwarded-prefix: /evil\r\nx-original-url: /admin\r\nX-Rewrite-URL: /admin\r\nx-http-method-override: DELETE\r\n${close}`
  const stranger = await proxying(t, url)
  const port = String(stranger.port)
  const untrusted = await seen(t, stranger, theirs)
  t.match(untrusted.headers, {
    host: new URL(url).host,
    'x-forwarded-for': '127.0.0.1',
    'x-forwarded-host': 'api.example.com:8080',
    'x-forwarded-proto': 'http',
    'x-forwarded-port': port
  })
  t.equal((await stranger.recorder.ended(1))[0]?.clientIp, '127.0.0.1')

  const behind = await proxying(t, url, {
    top: 'trustedProxies: [127.0.0.0/8, 10.0.0.0/8]',
    route: 'rewrite: { host: preserve }'
  })
  const trusted = await seen(t, behind, theirs)
  t.match(trusted.headers, {
    host: 'api.example.com:8080',
    'x-forwarded-for': '203.0.113.7, 10.1.1.1, 127.0.0.1',
    'x-forwarded-host': 'api.example.com:8080',
    'x-forwarded-proto': 'https',
    'x-forwarded-port': '443'
  })
  t.equal((await behind.recorder.ended(1))[0]?.clientIp, '203.0.113.7')
  for (const { headers } of [trusted, untrusted]) {
    const dropped = ['forwarded', 'x-real-ip', 'x-forwarded-prefix', 'x-original-url', 'x-rewrite-url']
    for (const name of [...dropped, 'x-http-method-override']) t.notOk(name in headers, name)
  }
  const odd = await seen(
    t,
    behind,
    `GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-proto: javascript\r\nx-forwarded-port: 1; x\r\n${close}`
  )
  t.match(odd.headers, { 'x-forwarded-proto': 'http', 'x-forwarded-port': String(behind.port) })
})

t.test('paths are rewritten byte for byte', async t => {
  const { url } = await echo(t)
  const rows: [match: string, rewrite: string | undefined, sent: string, forwarded: string][] = [
    ['/*', undefined, '/a%20b/%C3%A9?q=%2e%2e/../&x=%zz', '/a%20b/%C3%A9?q=%2e%2e/../&x=%zz'],
    ['/*', undefined, '/?', '/?'],
    ['/*', undefined, '/a??b?', '/a??b?'],
    ['/api/*', '/*', '/api', '/'],
    ['/api/*', '/*', '/api?a=1', '/?a=1'],
    ['/api/*', '/*', '/api/', '/'],
    ['/api/*', '/*', '/api/x/', '/x/'],
    ['/orders/*', '/v1/orders/*', '/orders/7/%41%42'.replace('%41%42', '%c3%a9'), '/v1/orders/7/%c3%a9'],
    ['/orders/*', '/v1/orders/*', '/orders', '/v1/orders'],
    ['/orders/*', '/v1/orders/*', '/orders/?x', '/v1/orders/?x'],
    ['/u/:id/posts/:post', '/posts/:post/by/:id', '/u/a%20b/posts/%c3%A9!', '/posts/%c3%A9!/by/a%20b'],
    ['/u/:id/*', '/users/:id/*', '/u/1/x%3Fy/z?q', '/users/1/x%3Fy/z?q'],
    ['/old', '/new', '/old?keep=%20', '/new?keep=%20']
  ]
  for (const [match, rewrite, sent, forwarded] of rows) {
    const gateway = await proxying(t, url, {
      match: `{ path: "${match}" }`,
      route: rewrite === undefined ? undefined : `rewrite: { path: "${rewrite}" }`
    })
    const { url: arrived } = await seen(t, gateway, `GET ${sent} HTTP/1.1\r\nhost: a\r\n${close}`)
    t.equal(arrived, forwarded, `${match} > ${rewrite}: ${sent}`)
    await gateway.gateway.close()
  }
})

t.test('an encoded slash goes through where the route says so, and stays one', async t => {
  const { url } = await echo(t)
  const gateway = await proxying(t, url, {
    match: '{ path: "/files/:name" }',
    route: 'encodedSlashes: true\n    rewrite: { path: "/f/:name" }'
  })
  const { url: arrived } = await seen(t, gateway, `GET /files/a%2Fb%25c HTTP/1.1\r\nhost: a\r\n${close}`)
  t.equal(arrived, '/f/a%2Fb%25c')
})

t.test('Location leads back through the gateway', async t => {
  let location = ''
  const { url, port } = await upstream(t, (_request, response) => {
    response.writeHead(302, { location }).end()
  })
  const gateway = await proxying(t, url, {
    match: '{ path: /shop/* }',
    route: 'rewrite: { path: /v1/*, host: preserve }'
  })
  const rows: [string, string][] = [
    [`${url}/v1/7?a=b#c`, '/shop/7?a=b#c'],
    [`HTTP://127.0.0.1:${port}/v1/7`, '/shop/7'],
    [`${url}/v1`, '/shop'],
    [`${url}/v1?x`, '/shop?x'],
    [`${url}/other`, '/other'],
    [`${url}/v10`, '/v10'],
    [url, '/'],
    [`${url}?x`, '/?x'],
    ['/v1/7', '/shop/7'],
    ['7', '7'],
    ['//elsewhere/v1/7', '//elsewhere/v1/7'],
    ['https://elsewhere/v1/7', 'https://elsewhere/v1/7'],
    [`http://127.0.0.1:${port}@elsewhere/v1`, `http://127.0.0.1:${port}@elsewhere/v1`],
    [`http://127.0.0.1:${port}1/v1`, `http://127.0.0.1:${port}1/v1`],
    ['https://api.example.com/v1/7', '/shop/7']
  ]
  for (const [sent, received] of rows) {
    location = sent
    const answer = await ask(t, gateway, `GET /shop/x HTTP/1.1\r\nhost: api.example.com\r\n${close}`)
    t.equal(answer.headers.location, received, sent)
  }
})

t.test("headers of plugins and the upstream's meet in the answer", async t => {
  const { url } = await rawUpstream(t, socket => {
    socket.write(
      'HTTP/1.1 200 OK\r\nSET-COOKIE: a=1\r\nset-cookie: b=2\r\nVary: Accept\r\nLink: <a>\r\nlink: <b>\r\nX-Frame-Options: ALLOW\r\nServer: up\r\ncontent-length: 2\r\n\r\nok'
    )
  })
  for (const hook of ['', "route.addHook('onSend', async (a, b, payload) => payload);"]) {
    const gateway = await proxying(t, url, {
      uses: 'mine, { headers: { response: { set: { X-Frame-Options: DENY }, remove: [Server] } } }',
      files: {
        'mine.mjs': plugin(
          'transform',
          `${hook} route.addHook('onRequest', async (request, reply) => { reply.header('set-cookie', 'c=3').header('Vary', 'Origin') })`
        )
      }
    })
    const call = httpRequest(gateway.url)
    call.end()
    const response = await new Promise<IncomingMessage>(resolve => call.once('response', resolve))
    response.resume()
    t.same(response.headers['set-cookie']?.toSorted(), ['a=1', 'b=2', 'c=3'])
    t.same(response.headers.vary?.split(', ').toSorted(), ['Accept', 'Origin'])
    t.equal(response.headers.link, '<a>, <b>')
    t.equal(response.headers['x-frame-options'], 'DENY')
    t.notOk('server' in response.headers)
    t.equal(response.rawHeaders.filter(name => name.toLowerCase() === 'x-frame-options').length, 1)
  }
})

t.test('names of any case and fields that repeat arrive', async t => {
  const { url } = await echo(t)
  const gateway = await proxying(t, url)
  const { headers } = await seen(
    t,
    gateway,
    `GET / HTTP/1.1\r\nHOST: a\r\nX-UPPER: A\r\nx-two: 1\r\nX-Two: 2\r\ncookie: a=1\r\nCookie: b=2\r\nx-empty:\r\nx-latin: \xe9\r\n${close}`
  )
  t.match(headers, { 'x-upper': 'A', 'x-two': '1, 2', cookie: 'a=1; b=2', 'x-empty': '', 'x-latin': '\xe9' })
})

t.test('claims arrive as one line of printable characters', async t => {
  const { url } = await echo(t)
  const gateway = await proxying(t, url, {
    uses: 'signs-in',
    files: {
      'signs-in.mjs': plugin(
        'guard',
        `const identity = Object.freeze({ kind: 'custom', subject: 'ann\\r\\nx-admin: 1 \\u00e9\\ud800%', issuer: 'x', email: 'a'.repeat(5000),
          scopes: [], roles: [], claims: {}, expiresAt: null, groups: ['a,b', 'c d', ...Array(2000).fill('group')] })
         route.addHook('onRequest', async request => { request.gateway.identity = identity })`
      )
    }
  })
  const { headers } = await seen(t, gateway, `GET / HTTP/1.1\r\nhost: a\r\n${close}`)
  t.equal(headers['x-forwarded-user'], 'ann%0D%0Ax-admin:%201%20%C3%A9%EF%BF%BD%25')
  t.notOk('x-admin' in headers)
  t.equal(headers['x-forwarded-email']?.length, 1024)
  t.match(headers['x-forwarded-groups'], /^a%2Cb,c%20d,group,(group,)*group$/)
  t.ok(headers['x-forwarded-groups']!.length <= 4096)
})

t.test('a trace is continued when it is well formed', async t => {
  const { url } = await echo(t)
  const gateway = await proxying(t, url)
  const trace = '4bf92f3577b34da6a3ce929d0e0e4736'
  const rows: [string, RegExp][] = [
    [`00-${trace}-00f067aa0ba902b7-01`, new RegExp(`^00-${trace}-(?!00f067aa0ba902b7)[0-9a-f]{16}-01$`)],
    [`cc-${trace}-00f067aa0ba902b7-ff-later`, new RegExp(`^00-${trace}-[0-9a-f]{16}-03$`)]
  ]
  for (const [sent, expected] of rows) {
    const bytes = `GET / HTTP/1.1\r\nhost: a\r\ntraceparent: ${sent}\r\ntracestate: a=b\r\n${close}`
    const { headers } = await seen(t, gateway, bytes)
    t.match(headers.traceparent, expected)
    t.equal(headers.tracestate, 'a=b')
  }
  const malformed = [
    '',
    'x',
    `ff-${trace}-00f067aa0ba902b7-01`,
    `00-${trace.toUpperCase()}-00f067aa0ba902b7-01`,
    `00-${'0'.repeat(32)}-00f067aa0ba902b7-01`,
    `00-${trace}-0000000000000000-01`,
    `00-${trace}-00f067aa0ba902b7-01-more`,
    `cc-${trace}-00f067aa0ba902b7-01more`,
    `cc-${trace}-00f067aa0ba902b7-01-${'a'.repeat(100)}`,
    `00-${trace}-00f067aa0ba902b7-0g`
  ]
  for (const sent of malformed) {
    const bytes = `GET / HTTP/1.1\r\nhost: a\r\ntraceparent: ${sent}\r\ntracestate: a=b\r\n${close}`
    const { headers } = await seen(t, gateway, bytes)
    t.match(headers.traceparent, /^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/)
    t.notMatch(headers.traceparent, trace, sent)
    t.notOk('tracestate' in headers)
  }
})

t.test("a request id is the gateway's own unless the route takes the client's", async t => {
  const { url } = await echo(t)
  const bytes = (id: string) => `GET / HTTP/1.1\r\nhost: a\r\nx-request-id: ${id}\r\n${close}`
  const own = await proxying(t, url)
  t.match((await seen(t, own, bytes('theirs'))).headers['x-request-id'], /^[0-9a-f-]{36}$/)
  const taking = await proxying(t, url, { uses: '{ request-id: { accept: true } }' })
  t.equal((await seen(t, taking, bytes('theirs'))).headers['x-request-id'], 'theirs')
  for (const id of ['a b', 'a'.repeat(129), '<script>', 'a"b']) {
    t.match((await seen(t, taking, bytes(id))).headers['x-request-id'], /^[0-9a-f-]{36}$/)
  }
})

t.test('a thousand requests on one connection leave nothing behind', async t => {
  const warnings: string[] = []
  const onWarning = (warning: Error) => void warnings.push(String(warning))
  process.on('warning', onWarning)
  t.teardown(() => process.off('warning', onWarning))
  const { url } = await echo(t)
  const gateway = await proxying(t, url, { uses: 'metrics' })
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  t.teardown(() => agent.destroy())
  const sockets = new Set<unknown>()
  for (let i = 0; i < 1000; i++) {
    await new Promise<void>((resolve, reject) => {
      const call = httpRequest(gateway.url, { agent, method: i % 3 === 0 ? 'POST' : 'GET' }, response => {
        sockets.add(response.socket)
        response.resume().once('end', resolve)
      })
      call.once('error', reject)
      call.end(i % 3 === 0 ? 'body' : undefined)
    })
  }
  t.equal(sockets.size, 1)
  await gateway.recorder.ended(1000)
  t.equal(await gateway.metric('sallyport_requests_in_flight{route="all"}'), 0)
  t.same(warnings, [])
})
