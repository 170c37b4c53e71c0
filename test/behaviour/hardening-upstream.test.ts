import t from 'tap'
import { rawUpstream } from '../fixtures/proxying.ts'
import { type Frame, rawClient } from '../fixtures/raw.ts'
import { buildGateway } from '../helper.ts'

/**
 * A byte that an upstream sends late, or too much of, is nobody's answer. The surplus comes when the connection has had the
 * time to go back to the pool: it must not be there for the next client.
 */

const evil = 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL'

const rows: Record<string, { method: string; first: string }> = {
  'an answer to HEAD': { method: 'HEAD', first: `HTTP/1.1 200 OK\r\nContent-Length: ${evil.length}\r\n\r\n` },
  'a chunked answer to HEAD': {
    method: 'HEAD',
    first: 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'
  },
  'a 304': { method: 'GET', first: `HTTP/1.1 304 Not Modified\r\nContent-Length: ${evil.length}\r\n\r\n` },
  'a chunked 304': {
    method: 'GET',
    first: 'HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n'
  },
  'a 204 that announces a body': {
    method: 'GET',
    first: `HTTP/1.1 204 No Content\r\nContent-Length: ${evil.length}\r\n\r\n`
  },
  'a 204 in chunks': { method: 'GET', first: 'HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n' }
}

for (const [name, { method, first }] of Object.entries(rows)) {
  t.test(`a late body after ${name} is not the next client's answer`, async t => {
    let late = () => {}
    const upstream = await rawUpstream(t, (socket, head) => {
      if (head.includes('/first')) {
        socket.write(first)
        late = () => socket.write(evil)
      } else {
        // The surplus wins the race against the true answer, where the connection is the same.
        late()
        setImmediate(() => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood'))
      }
    })
    const { port } = await buildGateway(
      t,
      `upstreams: { raw: { url: "${upstream.url}" } }
routes: { all: { match: { path: /* }, public: true, upstream: raw } }
`
    )
    const attacker = rawClient(t, port, () => method === 'HEAD')
    attacker.send(`${method} /first HTTP/1.1\r\nHost: a\r\n\r\n`)
    await attacker.next()
    // A round trip through the gateway's loop: the connection is back in the pool if it ever is.
    await (await fetch(`http://127.0.0.1:${port}/other`)).text()
    const victims: Frame[] = []
    for (let i = 0; i < 3; i++) {
      const victim = rawClient(t, port)
      victim.send('GET /victim HTTP/1.1\r\nHost: a\r\n\r\n')
      victims.push(await victim.next())
      victim.destroy()
    }
    for (const { status, body } of victims) {
      t.notMatch(body, /EVIL/)
      t.ok(status === 200 || status === 502, String(status))
    }
  })
}

t.test('an early answer to an unfinished upload ends both connections', async t => {
  const upstream = await rawUpstream(t, socket => {
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly')
  })
  const { port } = await buildGateway(
    t,
    `upstreams: { raw: { url: "${upstream.url}" } }
routes: { all: { match: { path: /* }, public: true, upstream: raw } }
`
  )
  const client = rawClient(t, port)
  client.send('POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\npart')
  const answer = await client.next()
  t.equal(answer.status, 200)
  t.equal(answer.headers.connection, 'close')
  // What would be the next request, were the rest of the body not a body.
  client.send('GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n')
  const other = rawClient(t, port)
  other.send('GET /other HTTP/1.1\r\nHost: a\r\n\r\n')
  t.equal((await other.next()).body, 'early')
  t.equal(upstream.connections.length, 2, 'the connection of the upload is not used again')
  client.halfClose()
  t.strictSame(await client.rest(), [])
})
