import { EventEmitter, once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { type ClientHttp2Session, connect, constants } from 'node:http2'
import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import Fastify from 'fastify'
import t from 'tap'
import { connectionInfo, type Http2Request, type Http2Response } from '../../../src/gate/http2-server.ts'
import { data, flag, frameClient, head, headers, type } from '../../fixtures/http2-frames.ts'
import { judgingHttp2Server } from '../../fixtures/judging-http2-server.ts'

interface Closer {
  teardown(callback: () => unknown): unknown
}

function client(t: Closer, port: number): ClientHttp2Session {
  const session = connect(`http://127.0.0.1:${port}`)
  session.on('error', () => {})
  t.teardown(() => session.destroy())
  return session
}

interface Answer {
  status: number
  headers: Record<string, unknown>
  body: string
}

async function call(
  session: ClientHttp2Session,
  fields: Record<string, string | string[]>,
  body?: string
): Promise<Answer> {
  const stream = session.request(fields, { endStream: body === undefined })
  if (body !== undefined) stream.end(body)
  const [got] = await once(stream, 'response')
  return { status: got[':status'], headers: got, body: await text(stream) }
}

t.test('a handler sees a request of HTTP/2 as one of HTTP/1', async t => {
  const { port } = await judgingHttp2Server(t)
  const session = client(t, port)
  const answer = await call(
    session,
    {
      ':authority': 'a.test:8080',
      ':path': '/p?q=1',
      ':method': 'POST',
      cookie: ['a=1', 'b=2'],
      'x-a': ['1', '2'],
      te: 'trailers'
    },
    'body'
  )
  t.match(answer, { status: 200 })
  t.same(JSON.parse(answer.body), {
    method: 'POST',
    url: '/p?q=1',
    headers: { host: 'a.test:8080', cookie: 'a=1; b=2', 'x-a': '1, 2', te: 'trailers' },
    rawHeaders: [
      'host',
      'a.test:8080',
      'cookie',
      'a=1',
      'cookie',
      'b=2',
      'x-a',
      '1',
      'x-a',
      '2',
      'te',
      'trailers'
    ],
    trailers: {},
    bytes: 4
  })
})

t.test('a host stands in for :authority, and may say the same', async t => {
  const { port } = await judgingHttp2Server(t)
  const raw = frameClient(t, port)
  raw.send(headers(1, [...head('/1').filter(each => each[0] !== ':authority'), ['host', 'b.test']]))
  raw.send(headers(3, head('/3', 'GET', ['host', 'API.example.com'])))
  const bodies: unknown[] = []
  for (const stream of [1, 3]) {
    t.equal(await raw.outcome(stream), '200')
    const frames = raw.received.filter(each => each.type === type.data && each.stream === stream)
    bodies.push(JSON.parse(Buffer.concat(frames.map(each => each.payload)).toString()))
  }
  t.match(bodies, [
    { headers: { host: 'b.test' }, rawHeaders: ['host', 'b.test'] },
    { headers: { host: 'api.example.com' } }
  ])
})

t.test('what is known of the connection is there at once, and after it has gone', async t => {
  let seen: Http2Request | null = null
  const { port } = await judgingHttp2Server(t, {}, (request, response) => {
    seen = request
    response.end()
  })
  const session = client(t, port)
  await call(session, { ':path': '/' })
  const { localPort } = session.socket
  session.destroy()
  await once(session, 'close')
  const request = seen as unknown as Http2Request
  t.match(connectionInfo(request), {
    remoteAddress: '127.0.0.1',
    remotePort: localPort,
    localAddress: '127.0.0.1',
    localPort: port,
    encrypted: false,
    tls: null
  })
  t.equal(request.socket.remoteAddress, '127.0.0.1')
  t.equal(request.connection, request.socket)
})

t.test('trailers never become headers', async t => {
  const { port } = await judgingHttp2Server(t)
  const raw = frameClient(t, port)
  raw.send(
    headers(1, head('/', 'POST'), flag.endHeaders),
    data(1, 'abc'),
    headers(1, [
      ['authorization', 'Bearer root'],
      ['x', 'a']
    ])
  )
  t.equal(await raw.outcome(1), '200')
  const body = raw.received.filter(each => each.type === type.data).map(each => each.payload)
  t.match(JSON.parse(Buffer.concat(body).toString()), {
    headers: { host: 'api.example.com', authorization: undefined },
    trailers: { authorization: 'Bearer root', x: 'a' },
    bytes: 3
  })
})

t.test('a Fastify instance for HTTP/1 routes them', async t => {
  const app = Fastify({ forceCloseConnections: false, return503OnClosing: false })
  const seen: string[] = []
  app.addHook('onRequest', async request => {
    seen.push(`${request.method} ${request.url} ${request.host} ${request.ip} ${request.protocol}`)
  })
  app.addHook('onResponse', async (request, reply) => {
    seen.push(`${request.url} ${reply.statusCode}`)
  })
  app.get('/json', async (_request, reply) => reply.header('x-a', ['1', '2']).send({ ok: true }))
  app.post('/json', async request => ({ got: request.body }))
  app.get('/stream', async (_request, reply) => reply.send(Readable.from(['a', 'b', 'c'])))
  app.get('/raw', (_request, reply) => {
    reply.hijack()
    reply.raw.writeHead(201, ['x-b', '1', 'x-b', '2', 'connection', 'close', 'content-length', '2'] as never)
    reply.raw.end('ok')
  })
  app.get('/fails', async () => {
    throw new Error('broken')
  })
  app.route({ method: 'HEAD', url: '/head', handler: async (_request, reply) => reply.send('never sent') })
  app.delete('/none', async (_request, reply) => reply.code(204).send())
  await app.ready()
  t.teardown(() => app.close())

  const { port, front } = await judgingHttp2Server(t, {}, (request, response) => {
    if (request.url === '/renamed') request.url = '/json'
    app.routing(request as unknown as IncomingMessage, response as unknown as ServerResponse)
  })
  const session = client(t, port)
  const get = (path: string, method = 'GET'): Promise<Answer> =>
    call(session, { ':path': path, ':method': method })
  t.match(await get('/json'), { status: 200, headers: { 'x-a': '1, 2' }, body: '{"ok":true}' })
  t.match(await get('/renamed'), { status: 200, body: '{"ok":true}' })
  t.match(
    await call(
      session,
      { ':path': '/json', ':method': 'POST', 'content-type': 'application/json' },
      '{"a":1}'
    ),
    { status: 200, body: '{"got":{"a":1}}' }
  )
  t.match(await get('/stream'), { status: 200, body: 'abc' })
  t.match(await get('/raw'), { status: 201, headers: { 'x-b': '1, 2', connection: undefined }, body: 'ok' })
  t.match(await get('/fails'), { status: 500 })
  t.match(await get('/nowhere'), { status: 404 })
  t.match(await get('/head', 'HEAD'), { status: 200, body: '' })
  t.match(await get('/none', 'DELETE'), { status: 204, body: '' })
  t.same(seen.slice(0, 2), [`GET /json 127.0.0.1:${port} 127.0.0.1 http`, '/json 200'])
  while (front.underWay > 0) await new Promise(resolve => setImmediate(resolve))
  t.equal(seen.length, 18, 'onResponse runs for every one')
})

t.test('an answer leaves out what HTTP/2 has no place for', async t => {
  process.on('warning', fail)
  t.teardown(() => process.off('warning', fail))
  function fail(warning: Error): void {
    t.fail(warning.message)
  }
  const { port } = await judgingHttp2Server(t, {}, (request, response) => {
    response.setHeader('Connection', 'close').setHeader('Keep-Alive', 'timeout=5')
    response.appendHeader('Upgrade', 'h2c')
    if (request.url === '/object') response.writeHead(200, { 'Transfer-Encoding': 'chunked', 'x-a': 'b' })
    else response.writeHead(200, 'Fine', ['Proxy-Connection', 'close', 'x-a', 'b', 'x-a', 'c'])
    response.end('ok')
  })
  const session = client(t, port)
  for (const path of ['/object', '/array']) {
    const { status, headers } = await call(session, { ':path': path })
    t.equal(status, 200)
    t.same(Object.keys(headers).sort(), [':status', 'date', 'x-a'], path)
  }
})

t.test('a header that cannot be sent throws, and another answer can take its place', async t => {
  const { port } = await judgingHttp2Server(t, {}, (_request, response) => {
    t.throws(() => response.setHeader('x a', 'b'), { code: 'ERR_INVALID_HTTP_TOKEN' })
    t.throws(() => response.writeHead(200, { ':path': '/' }), { code: 'ERR_INVALID_HTTP_TOKEN' })
    t.throws(() => response.writeHead(99), { code: 'ERR_HTTP2_STATUS_INVALID' })
    response.setHeader('X-A', 'b').setTrailer('x-end', 'c')
    t.same({ ...response.getHeaders() }, { 'x-a': 'b' })
    response.writeHead(500, [['x-a', 'd']]).end('no')
    t.throws(() => response.setHeader('x-a', 'e'), { code: 'ERR_HTTP2_HEADERS_SENT' })
  })
  const stream = client(t, port).request({ ':path': '/' })
  const trailers = once(stream, 'trailers')
  const [got] = await once(stream, 'response')
  t.match(got, { ':status': 500, 'x-a': 'd' })
  t.equal(await text(stream), 'no')
  t.match(await trailers, [{ 'x-end': 'c' }])
})

t.test('a body where none may be is thrown away', async t => {
  const { port } = await judgingHttp2Server(t, {}, (request, response) => {
    response.writeHead(Number(request.url.slice(1)), { 'x-a': 'b' })
    response.write('some')
    response.end('thing')
  })
  const session = client(t, port)
  t.match(await call(session, { ':path': '/200', ':method': 'HEAD' }), { status: 200, body: '' })
  t.match(await call(session, { ':path': '/204' }), { status: 204, body: '' })
  t.match(await call(session, { ':path': '/304' }), { status: 304, body: '' })
  t.match(await call(session, { ':path': '/200' }), { status: 200, body: 'something' })
})

t.test('an answer that is cut off closes, is not finished, and is no longer under way', async t => {
  const answers: Http2Response[] = []
  const { port, front } = await judgingHttp2Server(t, {}, (_request, response) => {
    answers.push(response)
    session.emit('taken')
  })
  const session = client(t, port)
  for (const method of ['GET', 'HEAD', 'POST']) {
    const stream = session.request({ ':path': '/', ':method': method }, { endStream: method !== 'POST' })
    stream.on('error', () => {})
    await once(session, 'taken')
    t.equal(front.underWay, 1)
    const response = answers.at(-1) as Http2Response
    let finished = 0
    let closed = 0
    response.on('finish', () => finished++)
    response.on('close', () => closed++)
    stream.close(constants.NGHTTP2_CANCEL)
    await once(response, 'close')
    t.same([finished, closed, response.writableFinished, response.destroyed], [0, 1, false, true], method)
    t.equal(front.underWay, 0)
  }
})

t.test('an upload that breaks off is an error, and never looks complete', async t => {
  for (const code of [constants.NGHTTP2_NO_ERROR, constants.NGHTTP2_CANCEL]) {
    const events: string[] = []
    const { port } = await judgingHttp2Server(t, {}, (request, response) => {
      for (const event of ['aborted', 'end', 'error', 'close']) request.on(event, () => events.push(event))
      request.once('data', () => {
        t.equal(request.complete, false)
        raw.send(data(1, 'more'), Buffer.concat([Buffer.from([0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, code])]))
      })
      response.on('close', () => {
        t.equal(request.complete, false)
        setImmediate(() => session.emit('over'))
      })
    })
    const session = new EventEmitter()
    const raw = frameClient(t, port)
    raw.send(headers(1, head('/', 'POST'), flag.endHeaders), data(1, 'abc'))
    await once(session, 'over')
    t.same(events.sort(), ['aborted', 'close', 'error'], `code ${code}`)
    raw.destroy()
  }
})

t.test('100 Continue is sent to whom the body is read of, and to nobody else', async t => {
  const { port } = await judgingHttp2Server(t)
  const session = client(t, port)
  const fields = { ':path': '/', ':method': 'POST', expect: '100-continue' }
  const asked = session.request(fields)
  await once(asked, 'continue')
  asked.end('body')
  const [got] = await once(asked, 'response')
  t.equal(got[':status'], 200)
  t.match(JSON.parse(await text(asked)), { bytes: 4 })

  const refused = session.request({ ...fields, ':path': '/a/../b' })
  refused.on('continue', () => t.fail('a body that nobody reads was asked for'))
  const [refusal] = await once(refused, 'response')
  t.equal(refusal[':status'], 400)
  refused.close()
  t.match(await call(session, { ...fields, expect: '200-maybe' }, ''), { status: 417 })
})

t.test('a method that no upstream gets says which ones do', async t => {
  const { port } = await judgingHttp2Server(t)
  const { status, headers } = await call(client(t, port), { ':method': 'TRACE', ':path': '/' })
  t.equal(status, 405)
  t.equal(headers.allow, 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS')
})

t.test('a connection has at most so many streams, and is told', async t => {
  const { port, passed } = await judgingHttp2Server(t, { maxStreams: 3 }, () => {})
  const raw = frameClient(t, port)
  const settings = await raw.find(each => each.type === type.settings)
  t.equal(settings?.payload.includes(Buffer.from([0, 3, 0, 0, 0, 3])), true)
  raw.send(...[1, 3, 5, 7].map(stream => headers(stream, head())))
  // The connection ends for a client that has acknowledged the limit.
  t.match(await raw.outcome(7), /^(reset 7|goaway 1)$/)
  t.equal(passed.length, 3)
})
