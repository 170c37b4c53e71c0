import { once } from 'node:events'
import { request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http'
import t from 'tap'
import { plugin, proxying, rawUpstream } from '../fixtures/proxying.ts'
import { rawClient } from '../fixtures/raw.ts'
import { settled } from '../fixtures/settled.ts'
import { upstream } from '../helper.ts'

const chunk = Buffer.alloc(2 ** 16, 'x')
/** What two sockets, their kernels and two streams may hold before one side has to wait; far below what is offered. */
const held = 32 * 2 ** 20
const offered = 256 * 2 ** 20

const sees = {
  'see.mjs': plugin('transform', "route.addHook('onSend', async (request, reply, payload) => payload)")
}

/** Writes until the other side takes no more; counts what it took. */
function offer(into: ServerResponse | ReturnType<typeof httpRequest>): { sent: number } {
  const count = { sent: 0 }
  const more = () => {
    while (count.sent < offered && !into.destroyed) {
      count.sent += chunk.length
      if (!into.write(chunk)) return void into.once('drain', more)
    }
    into.end()
  }
  more()
  return count
}

for (const [name, added] of [
  ['', {}],
  [' on a route whose plugins see answers', { uses: 'see', files: sees }]
] as const) {
  t.test(`a client that does not read makes the upstream wait${name}`, async t => {
    let count = { sent: 0 }
    const { url } = await upstream(t, (_request, response) => {
      count = offer(response)
    })
    const gateway = await proxying(t, url, added)
    const client = rawClient(t, gateway.port)
    client.socket.pause()
    client.send('GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n')
    const stopped = await settled(() => count.sent)
    t.ok(stopped > 0 && stopped < held, `${stopped} bytes are held`)
    let received = 0
    client.socket.removeAllListeners('data')
    client.socket.on('data', data => {
      received += data.length
    })
    client.socket.resume()
    await client.closed
    t.ok(received > offered, 'and all of it comes when the client reads')
    t.match(await gateway.recorder.ended(1), [{ reason: null, bytesOut: offered }])
  })

  t.test(`an answer is passed on piece by piece, at once${name}`, async t => {
    let response: ServerResponse | null = null
    const { url } = await upstream(t, (_request, answer) => {
      response = answer
      answer.writeHead(200, { 'content-type': 'text/event-stream' })
      answer.flushHeaders()
    })
    const gateway = await proxying(t, url, added)
    const call = httpRequest(`${gateway.url}/events`)
    call.end()
    const arrived = once(call, 'response')
    if (name !== '') {
      // Node sends the head of a piped answer with its first bytes.
      while (response === null) await new Promise(resolve => setImmediate(resolve))
      ;(response as ServerResponse).write(': hello\n\n')
    }
    const [answer] = (await arrived) as [IncomingMessage]
    if (name !== '') await once(answer, 'data')
    for (let i = 0; i < 5; i++) {
      const event = `data: ${i}\n\n`
      ;(response as unknown as ServerResponse).write(event)
      const [data] = await once(answer, 'data')
      t.equal(String(data), event)
    }
    ;(response as unknown as ServerResponse).end()
    answer.resume()
    await once(answer, 'end')
  })
}

t.test('an upstream that does not read makes the client wait', async t => {
  let incoming: IncomingMessage | null = null
  let received = 0
  const { url } = await upstream(t, (request, response) => {
    incoming = request
    request.pause()
    request.on('end', () => response.end(String(received)))
  })
  const gateway = await proxying(t, url, { route: 'maxBody: 1Gi' })
  const call = httpRequest(`${gateway.url}/`, { method: 'POST' })
  const arrived = once(call, 'response')
  const count = offer(call)
  const stopped = await settled(() => count.sent)
  t.ok(stopped > 0 && stopped < held, `${stopped} bytes are held`)
  ;(incoming as unknown as IncomingMessage).on('data', data => {
    received += data.length
  })
  ;(incoming as unknown as IncomingMessage).resume()
  const [answer] = (await arrived) as [IncomingMessage]
  t.equal(
    String(await once(answer, 'data')),
    String(offered),
    'and all of it arrives when the upstream reads'
  )
  t.match(await gateway.recorder.ended(1), [{ reason: null, bytesIn: offered }])
})

t.test('both sides may talk at the same time', async t => {
  const { url } = await upstream(t, (request, response) => {
    response.writeHead(200)
    request.pipe(response)
  })
  const gateway = await proxying(t, url)
  const call = httpRequest(`${gateway.url}/`, { method: 'POST' })
  call.write('0')
  const [answer] = (await once(call, 'response')) as [IncomingMessage]
  t.equal(String((await once(answer, 'data'))[0]), '0')
  for (let i = 1; i < 5; i++) {
    call.write(String(i))
    t.equal(String((await once(answer, 'data'))[0]), String(i))
  }
  call.end()
  answer.resume()
  await once(answer, 'end')
  t.match(await gateway.recorder.ended(1), [{ reason: null, bytesIn: 5, bytesOut: 5 }])
})

t.test('trailers are dropped', async t => {
  const chunked =
    'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n'
  const counted = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntrailer: x-sum\r\n\r\nok'
  for (const added of [{}, { uses: 'see', files: sees }]) {
    const { url } = await rawUpstream(
      t,
      (socket, head) => void socket.write(head.includes('/c') ? counted : chunked)
    )
    const gateway = await proxying(t, url, added)
    const client = rawClient(t, gateway.port)
    for (const path of ['/c', '/d', '/c']) {
      client.send(`GET ${path} HTTP/1.1\r\nhost: a\r\nte: trailers\r\n\r\n`)
      const answer = await client.next()
      t.match(answer, { status: 200, body: 'ok' })
      t.notOk('trailer' in answer.headers)
      t.notMatch(client.unread(), 'x-sum')
    }
  }
})

t.test('trailers of a request are dropped', async t => {
  const heads: string[] = []
  const { url, connections } = await rawUpstream(t, (socket, head) => {
    heads.push(head)
    socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok')
  })
  const gateway = await proxying(t, url)
  const client = rawClient(t, gateway.port)
  client.send(
    'POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n0\r\nx-sum: 1\r\n\r\n'
  )
  t.equal((await client.next()).status, 200)
  t.notMatch(heads.join(''), /trailer|x-sum/)
  t.ok(connections.length > 0)
})

t.test(
  'an answer before the end of the body closes the client and spares the upstream connection',
  async t => {
    const { url, connections } = await rawUpstream(t, socket => {
      socket.write('HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno')
    })
    const gateway = await proxying(t, url)
    const client = rawClient(t, gateway.port)
    client.send('POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\nfirst')
    const answer = await client.next()
    t.match(answer, { status: 403, body: 'no', headers: { connection: 'close' } })
    client.send(`GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n`)
    t.equal(await client.closed, null)
    t.equal(client.unread(), '')
    if (!connections[0]?.closed) await once(connections[0]!, 'close')
    t.equal((await fetch(gateway.url)).status, 403)
    t.equal(gateway.recorder.outcomes.length, 2)
  }
)
