import { once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Test } from 'tap'
import { answerTarget, type JudgingServerMaker } from '../../fixtures/judging-server.ts'
import { manualTimers } from '../../fixtures/manual-timers.ts'
import type { RawClientMaker } from '../../fixtures/raw.ts'

const get = (path: string, headers = ''): string => `GET ${path} HTTP/1.1\r\nHost: a.test\r\n${headers}\r\n`
const post = (headers: string, body = ''): string =>
  `POST /p HTTP/1.1\r\nHost: a.test\r\n${headers}\r\n${body}`
const path = (body: string): string => JSON.parse(body).target

/** A handler that answers when it is told to. */
function held(): {
  handler: (request: IncomingMessage, response: ServerResponse) => void
  next: () => Promise<ServerResponse>
  count: () => number
} {
  const responses: ServerResponse[] = []
  let wake: () => void = () => {}
  let count = 0
  return {
    count: () => count,
    handler: (_request, response) => {
      count++
      responses.push(response)
      wake()
    },
    next: async () => {
      while (responses.length === 0)
        await new Promise<void>(resolve => {
          wake = resolve
        })
      return responses.shift()!
    }
  }
}

/** How a client of the test reaches the server of the test. */
export interface Transport {
  judgingServer: JudgingServerMaker
  rawClient: RawClientMaker
}

/** What holds of a connection of HTTP/1, whatever carries it. */
export function connectionCases(t: Test, { judgingServer, rawClient }: Transport): void {
  t.test('pipelined good requests are answered in order', async t => {
    const { port } = await judgingServer(t)
    const client = rawClient(t, port)
    client.send(get('/1') + post('Content-Length: 3\r\n', 'abc') + get('/3'))
    t.equal(path((await client.next()).body), '/1')
    t.equal(path((await client.next()).body), '/p')
    t.equal(path((await client.next()).body), '/3')
  })

  t.test('a pipelined request that does not parse waits for the answers before it', async t => {
    const { handler, next } = held()
    const { port, refused } = await judgingServer(t, {}, handler)
    const client = rawClient(t, port)
    client.send(`${get('/1') + get('/2')}BAD LINE\r\n\r\n`)
    const first = await next()
    const second = await next()
    t.equal(client.unread(), '')
    t.match(refused, [
      { status: 400, reason: 'request.malformed', remoteAddress: '127.0.0.1', detail: 'HPE_INVALID_METHOD' }
    ])
    second.end('two')
    first.write('on')
    t.equal(client.unread().includes('400'), false)
    first.end('e')
    t.match(await client.next(), { status: 200, body: 'one' })
    t.match(await client.next(), { status: 200, body: 'two' })
    const answer = await client.next()
    t.match(answer, {
      status: 400,
      headers: { connection: 'close', 'content-type': 'application/problem+json' }
    })
    t.same(JSON.parse(answer.body), {
      type: 'urn:sallyport:problem:request.malformed',
      title: 'Bad request',
      status: 400,
      code: 'SP_REQUEST_MALFORMED',
      reason: 'request.malformed'
    })
    t.equal(await client.closed, null)
  })

  t.test(
    'a pipelined request that is refused waits for the answers before it, and nothing after it is handled',
    async t => {
      const { handler, next, count } = held()
      const { port, passed } = await judgingServer(t, {}, handler)
      const client = rawClient(t, port)
      client.send(get('/1') + get('/a/../b') + get('/smuggled'))
      const first = await next()
      client.send(get('/smuggled-too'))
      first.end('one')
      t.match(await client.next(), { status: 200, body: 'one' })
      t.match(await client.next(), { status: 400, headers: { connection: 'close' } })
      t.equal(await client.closed, null)
      t.equal(client.unread(), '')
      t.equal(count(), 1)
      t.same(passed, ['/1'])
    }
  )

  t.test('what follows a refused request in the same packet is not handled', async t => {
    const { port, passed } = await judgingServer(t)
    const client = rawClient(t, port)
    client.send(post('Transfer-Encoding: Chunked\r\n', '0\r\n\r\n') + get('/smuggled'))
    t.match(
      (await client.rest()).map(frame => frame.status),
      [400]
    )
    t.same(passed, [])
  })

  t.test('CONNECT behind a large answer waits for it', async t => {
    const { port } = await judgingServer(t, {}, (_request, response) => {
      let left = 60
      response.on('drain', pump)
      function pump(): void {
        while (left-- > 0) if (!response.write(Buffer.alloc(65_536, 'a'))) return
        response.end()
      }
      pump()
    })
    const client = rawClient(t, port)
    client.send(`${get('/large')}CONNECT a.test:443 HTTP/1.1\r\nHost: a.test\r\n\r\n`)
    t.equal((await client.next()).body.length, 60 * 65_536)
    t.match(await client.next(), { status: 405, headers: { allow: /GET/ } })
    t.equal(await client.closed, null)
  })

  t.test('a body that breaks off in bad chunks is 400 in place of the answer', async t => {
    const { port } = await judgingServer(t)
    const client = rawClient(t, port)
    client.send(get('/1') + post('Transfer-Encoding: chunked\r\n', '3\r\nabc\r\nxyz\r\n'))
    t.match(
      (await client.rest()).map(frame => frame.status),
      [200, 400]
    )
  })

  t.test('an answer that has begun is never written into', async t => {
    const timers = manualTimers()
    const { handler, next } = held()
    const { port, refused } = await judgingServer(t, { timers }, handler)
    const client = rawClient(t, port)
    client.send(post('Transfer-Encoding: chunked\r\n', '3\r\nabc\r\n'))
    const response = await next()
    response.writeHead(200, { 'content-length': 6 })
    response.write('abc')
    while (!client.unread().endsWith('abc')) await once(client.socket, 'data')
    client.send('xyz\r\n')
    while (refused.length === 0) await new Promise(resolve => setImmediate(resolve))
    timers.advance(5000)
    await client.closed
    t.equal(client.unread().endsWith('\r\n\r\nabc'), true)
  })

  t.test('a half-closed client gets its answers', async t => {
    const { handler, next } = held()
    const { port } = await judgingServer(t, {}, handler)
    const client = rawClient(t, port)
    client.send(get('/1') + get('/2'))
    client.halfClose()
    const first = await next()
    const second = await next()
    first.end('one')
    second.end('two')
    t.match(
      (await client.rest()).map(frame => frame.body),
      ['one', 'two']
    )
  })

  t.test('a client that goes away inside its request is not counted as refused', async t => {
    const { handler, next } = held()
    const { port, refused } = await judgingServer(t, {}, handler)
    const client = rawClient(t, port)
    client.send(post('Content-Length: 10\r\n', 'abc'))
    const response = await next()
    client.halfClose()
    await once(response, 'close')
    t.equal(response.writableFinished, false)
    t.same(refused, [])
    t.equal(await client.closed, null)
  })

  t.test(
    'the handler learns from the response that the client of a request without a body has gone',
    async t => {
      const timers = manualTimers()
      const { handler, next } = held()
      const { port } = await judgingServer(t, { timers }, handler)
      const client = rawClient(t, port)
      client.send(get('/1'))
      const response = await next()
      client.reset()
      let hasClosed = false
      response.once('close', () => {
        hasClosed = true
      })
      // Where the reset is not seen, the looks at a client that seems half closed find out.
      while (!hasClosed) {
        timers.advance(500)
        await new Promise(resolve => setImmediate(resolve))
      }
      t.equal(response.writableFinished, false)
    }
  )

  t.test('bytes after Connection: close do not cost the answer', async t => {
    const { handler, next } = held()
    const { port, refused, passed } = await judgingServer(t, {}, handler)
    const client = rawClient(t, port)
    client.send(get('/1', 'Connection: close\r\n') + get('/2'))
    const response = await next()
    response.end('one')
    t.match(await client.rest(), [{ status: 200, body: 'one' }])
    t.same(refused, [])
    t.same(passed, ['/1'])
  })

  t.test('a body on GET, HEAD and DELETE does not poison the next request', async t => {
    const { port, passed } = await judgingServer(t, {}, (_request, response) => void response.end('ok'))
    for (const method of ['GET', 'HEAD', 'DELETE', 'OPTIONS']) {
      passed.length = 0
      const body = get('/smuggled')
      const client = rawClient(t, port, index => index === 0 && method === 'HEAD')
      client.send(
        `${method} /1 HTTP/1.1\r\nHost: a.test\r\nContent-Length: ${body.length}\r\n\r\n${body}${get('/2')}`
      )
      t.equal((await client.next()).status, 200)
      t.equal((await client.next()).status, 200)
      t.same(passed, ['/1', '/2'], method)
    }
  })

  for (const headers of [{}, { connection: 'close' }]) {
    t.test(
      `an answer before the whole body is read closes the connection, and arrives ${JSON.stringify(headers)}`,
      async t => {
        const { port } = await judgingServer(t, { lingerTimeout: 20 }, (_request, response) => {
          response.writeHead(413, headers).end('too large')
        })
        const client = rawClient(t, port)
        client.send(post('Content-Length: 50000000000\r\n'))
        const block = Buffer.alloc(65_536)
        const send = (): void => {
          while (client.socket.writable && client.socket.write(block));
        }
        client.socket.on('drain', send)
        send()
        t.match(await client.next(), { status: 413, body: 'too large' })
        t.equal(await client.closed, null)
      }
    )
  }

  t.test('an answer before a small body has come keeps the connection', async t => {
    const timers = manualTimers()
    const { port } = await judgingServer(
      t,
      { timers },
      (_request, response) => void response.writeHead(401).end()
    )
    const client = rawClient(t, port)
    client.send(post('Content-Length: 3\r\n'))
    t.equal((await client.next()).status, 401)
    client.send(`abc${get('/2')}`)
    t.equal((await client.next()).status, 401)
    timers.advance(10_000)
    client.send(get('/3'))
    t.equal((await client.next()).status, 401)
  })

  t.test('HTTP/1.0 gets no chunks and a closed connection', async t => {
    const { port } = await judgingServer(t, {}, (_request, response) => {
      response.write('a')
      response.end('b')
    })
    const client = rawClient(t, port)
    client.send('GET / HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\n\r\n')
    const [answer] = await client.rest()
    t.match(answer, { status: 200, body: 'ab', headers: { connection: 'close' } })
    t.equal(answer?.headers['transfer-encoding'], undefined)
  })

  t.test('100 Continue is sent when the body is wanted, and not before a refusal', async t => {
    const { port } = await judgingServer(t, {}, (request, response) => {
      if (request.url === '/p') answerTarget(request, response)
      else response.writeHead(401).end()
    })
    const wanted = rawClient(t, port)
    wanted.send(post('Expect: 100-continue\r\nContent-Length: 3\r\n'))
    t.equal((await wanted.next()).status, 100)
    wanted.send('abc')
    t.equal(JSON.parse((await wanted.next()).body).bytes, 3)

    const refused = rawClient(t, port)
    refused.send(post('Expect: 100-continue\r\nContent-Length: 3\r\n').replace('/p', '/other'))
    t.match(await refused.rest(), [{ status: 401, headers: { connection: 'close' } }])
  })

  t.test('slow headers, a silent client and a slow body are 408', async t => {
    const { port, refused } = await judgingServer(t, {
      headerTimeout: 1,
      requestTimeout: 1,
      timeoutCheckInterval: 10
    })
    for (const bytes of ['', 'GET / HT', get('/').slice(0, -2), post('Content-Length: 10\r\n', 'abc')]) {
      const client = rawClient(t, port)
      if (bytes !== '') client.send(bytes)
      t.match(
        (await client.rest()).map(frame => frame.status),
        [408],
        JSON.stringify(bytes)
      )
    }
    t.match(
      refused.map(each => each.status),
      [408, 408, 408, 408]
    )
  })

  t.test('slow headers behind an answer that is due do not cost that answer', async t => {
    const { handler, next } = held()
    const { port, refused } = await judgingServer(
      t,
      { headerTimeout: 1, requestTimeout: 1, timeoutCheckInterval: 10 },
      handler
    )
    const client = rawClient(t, port)
    client.send(`${get('/1')}GET /2 HT`)
    const response = await next()
    while (refused.length === 0) await new Promise(resolve => setImmediate(resolve))
    response.end('one')
    t.match(
      (await client.rest()).map(frame => frame.status),
      [200, 408]
    )
  })

  t.test('a client that never reads is cut, one that reads slowly is not', async t => {
    const timers = manualTimers()
    const { handler, next } = held()
    const { port } = await judgingServer(t, { timers }, handler)
    const client = rawClient(t, port)
    client.send(get('/large'))
    client.socket.pause()
    const response = await next()
    const written = response.socket!
    const block = Buffer.alloc(1_048_576)
    // Until the kernel takes no more.
    async function fill(): Promise<void> {
      do {
        response.write(block)
        await new Promise(resolve => setImmediate(resolve))
      } while (written.writableLength === 0)
    }
    await fill()
    timers.advance(55_000)
    client.socket.resume()
    await once(response, 'drain')
    client.socket.pause()
    await fill()
    timers.advance(10_000)
    t.equal(written.destroyed, false, 'it has read in the meantime')
    timers.advance(65_000)
    t.equal(written.destroyed, true)
  })

  t.test('an upgrade to WebSocket leaves, judged; anything else stays HTTP', async t => {
    const { port, refused } = await judgingServer(t)
    const upgrade = 'Connection: Upgrade\r\nUpgrade: WebSocket\r\n'
    const good = rawClient(t, port)
    good.send(get('/live', upgrade))
    t.equal((await good.next()).status, 101)

    const bad = rawClient(t, port)
    bad.send(get('/a/../live', upgrade))
    t.match(await bad.rest(), [{ status: 400, headers: { connection: 'close' } }])
    t.match(refused, [{ status: 400, detail: 'the target is not in canonical form' }])
  })

  t.test(
    'an upgrade that is not taken up is answered as HTTP, and is the last request of its connection',
    async t => {
      // Node drops the rest of the packet behind such a request, so what comes next would be read from its middle.
      const { port, passed } = await judgingServer(t)
      const requests = [
        get('/1', 'Connection: Upgrade\r\nUpgrade: h2c\r\n'),
        `${get('/1', 'Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n')}abc`
      ]
      for (const request of requests) {
        passed.length = 0
        const client = rawClient(t, port)
        client.send(request + get('/2'))
        client.send(get('/3'))
        t.match(await client.rest(), [{ status: 200, headers: { connection: 'close' } }])
        t.same(passed, ['/1'])
      }
    }
  )

  t.test('an upgrade behind an answer that is due stays HTTP', async t => {
    const { handler, next } = held()
    const { port } = await judgingServer(t, {}, handler)
    const client = rawClient(t, port)
    client.send(get('/1') + get('/live', 'Connection: Upgrade\r\nUpgrade: websocket\r\n'))
    const first = await next()
    const second = await next()
    client.send(get('/3'))
    first.end('one')
    second.end('two')
    t.match(
      (await client.rest()).map(frame => frame.body),
      ['one', 'two']
    )
  })

  t.test('connections beyond the most are dropped and counted', async t => {
    const { port, refused } = await judgingServer(t, { maxConnections: 1 })
    const first = rawClient(t, port)
    first.send(get('/1'))
    await first.next()
    const second = rawClient(t, port)
    await second.closed
    t.match(refused, [{ status: 503, reason: 'gateway.overloaded' }])
  })
}
