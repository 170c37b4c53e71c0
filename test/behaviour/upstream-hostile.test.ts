import { once } from 'node:events'
import type { Socket } from 'node:net'
import t from 'tap'
import { plugin, proxying, rawUpstream } from '../fixtures/proxying.ts'

const good = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'
const secret = 'upstream-secret'

/** What an upstream may send instead of an answer; each is 502 `upstream.protocol` unless it says otherwise. */
const hostile: Record<string, string> = {
  'no HTTP at all': `${secret}\r\n\r\n`,
  'a bad status line': `HTTP/1.1 abc ${secret}\r\n\r\n`,
  'another version': `HTTP/3.7 200 ${secret}\r\ncontent-length: 0\r\n\r\n`,
  'status 600': `HTTP/1.1 600 ${secret}\r\ncontent-length: 0\r\n\r\n`,
  'status 999': `HTTP/1.1 999 ${secret}\r\ncontent-length: 0\r\n\r\n`,
  'status 099': `HTTP/1.1 099 ${secret}\r\ncontent-length: 0\r\n\r\n`,
  'status 000': `HTTP/1.1 000 ${secret}\r\ncontent-length: 0\r\n\r\n`,
  'status 20': `HTTP/1.1 20 ${secret}\r\ncontent-length: 0\r\n\r\n`,
  'status 2000': `HTTP/1.1 2000 ${secret}\r\ncontent-length: 0\r\n\r\n`,
  'an unsolicited 101': 'HTTP/1.1 101 Switching Protocols\r\n\r\n',
  'an unsolicited upgrade':
    'HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n',
  'a 100 that nobody asked for': `HTTP/1.1 100 Continue\r\n\r\n${good}`,
  'a flood of 103': 'HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n'.repeat(1000),
  'both lengths': `HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`,
  'two lengths': `HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok`,
  'two lengths in one field': `HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nok`,
  'a negative length': `HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nok`,
  'a hex length': `HTTP/1.1 200 OK\r\ncontent-length: 0x2\r\n\r\nok`,
  'a length beyond all bounds': `HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999999\r\n\r\nok`,
  'another transfer coding': `HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n`,
  'chunked twice': `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n`,
  'a body on 204': 'HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\nhello',
  'a chunked 204': 'HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n',
  'NUL in a value': `HTTP/1.1 200 OK\r\nx-a: a\0b\r\ncontent-length: 2\r\n\r\nok`,
  'NUL in a name': `HTTP/1.1 200 OK\r\nx\0a: b\r\ncontent-length: 2\r\n\r\nok`,
  'a bare CR in a value': `HTTP/1.1 200 OK\r\nx-a: a\rb\r\ncontent-length: 2\r\n\r\nok`,
  'a folded field': `HTTP/1.1 200 OK\r\nx-a: a\r\n b: c\r\ncontent-length: 2\r\n\r\nok`,
  'a space before the colon': `HTTP/1.1 200 OK\r\nx-a : b\r\ncontent-length: 2\r\n\r\nok`,
  'a field without a name': `HTTP/1.1 200 OK\r\n: b\r\ncontent-length: 2\r\n\r\nok`,
  'a header without end': `HTTP/1.1 200 OK\r\nx-a: ${'a'.repeat(200_000)}`
}

for (const [name, bytes] of Object.entries(hostile)) {
  t.test(`an upstream that sends ${name} costs its own request only`, async t => {
    const upstream = await rawUpstream(t, (socket, _head, index) => {
      socket.write(index === 0 ? bytes : good, 'latin1')
    })
    const { url, recorder, metric } = await proxying(t, upstream.url, { uses: 'metrics' })
    const response = await fetch(`${url}/first`)
    const text = await response.text()
    t.equal(response.status, 502)
    t.match(JSON.parse(text), { status: 502, code: 'SP_UPSTREAM_PROTOCOL', reason: 'upstream.protocol' })
    const shown = JSON.stringify([...response.headers]) + text
    t.notMatch(shown, /upstream-secret|HPE_|UND_ERR|x-a/, 'without a word of the upstream or the parser')
    const socket = upstream.connections[0] as Socket
    if (!socket.closed) await once(socket, 'close')
    const next = await fetch(`${url}/second`)
    t.equal(await next.text(), 'ok')
    t.equal(upstream.connections.length, 2, 'on a new connection')
    const [outcome] = await recorder.ended(2)
    t.match(outcome, { status: 502, reason: 'upstream.protocol', plugin: null })
    t.equal(await metric('sallyport_upstream_errors_total{upstream="backend",reason="upstream.protocol"}'), 1)
    t.equal(await metric('sallyport_requests_in_flight{route="all"}'), 0)
  })
}

/** Faults that show only when the head has gone out: the client sees a broken connection, not a short 200. */
const midway: Record<string, string> = {
  'an invalid chunk': `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\nzz\r\n`,
  'a chunk longer than its size': `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nokay\r\n0\r\n\r\n`,
  'a chunk size beyond all bounds': `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\nfffffffffffffffff\r\n`
}

for (const [name, bytes] of Object.entries(midway)) {
  t.test(`an upstream that sends ${name} breaks the answer off`, async t => {
    const upstream = await rawUpstream(t, (socket, _head, index) => {
      socket.write(index === 0 ? bytes : good, 'latin1')
    })
    const { url, recorder } = await proxying(t, upstream.url)
    await t.rejects((async () => (await fetch(`${url}/`)).text())())
    const [outcome] = await recorder.ended(1)
    t.match(outcome, { reason: 'upstream.protocol' })
    t.equal(await (await fetch(`${url}/`)).text(), 'ok')
  })
}

t.test('an upstream that closes before the announced end breaks the answer off', async t => {
  const upstream = await rawUpstream(t, (socket, _head, index) => {
    if (index === 0) socket.end('HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort')
    else socket.write(good)
  })
  const { url, recorder } = await proxying(t, upstream.url)
  await t.rejects((async () => (await fetch(`${url}/`)).text())())
  t.match((await recorder.ended(1))[0], { status: 200, reason: 'upstream.reset' })
  t.equal(await (await fetch(`${url}/`)).text(), 'ok')
})

t.test('an answer that follows unasked is for nobody', async t => {
  const upstream = await rawUpstream(t, (socket, _head, index) => {
    const poison = 'HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison'
    socket.write(index === 0 ? good + poison : good)
  })
  const { url } = await proxying(t, upstream.url)
  t.equal(await (await fetch(`${url}/`)).text(), 'ok')
  t.equal(await (await fetch(`${url}/`)).text(), 'ok')
  t.equal(upstream.connections.length, 2)
})

t.test('the body of an answer to HEAD, and of a 304, is for nobody', async t => {
  for (const status of ['200 OK', '304 Not Modified']) {
    const upstream = await rawUpstream(t, (socket, _head, index) => {
      socket.write(index === 0 ? `HTTP/1.1 ${status}\r\ncontent-length: 6\r\n\r\npoison` : good)
    })
    const { url } = await proxying(t, upstream.url)
    const first = await fetch(`${url}/`, { method: status.startsWith('200') ? 'HEAD' : 'GET' })
    t.equal(await first.text(), '')
    t.equal(await (await fetch(`${url}/`)).text(), 'ok')
    t.equal(upstream.connections.length, 2)
  }
})

t.test('early hints before the answer are dropped', async t => {
  const upstream = await rawUpstream(t, socket => {
    socket.write(`HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n${good}`)
  })
  const { url } = await proxying(t, upstream.url)
  const response = await fetch(`${url}/`)
  t.equal(response.status, 200)
  t.equal(response.headers.get('link'), null)
  t.equal(await response.text(), 'ok')
})

t.test('names that mean something to JavaScript are headers like others', async t => {
  const upstream = await rawUpstream(t, socket => {
    socket.write(
      'HTTP/1.1 200 OK\r\nconstructor: a\r\ntoString: b\r\n__proto__: c\r\ncontent-length: 0\r\n\r\n'
    )
  })
  const { url } = await proxying(t, upstream.url)
  const { headers } = await fetch(`${url}/`)
  t.match(Object.fromEntries(headers), { constructor: 'a', tostring: 'b' })
})

t.test('a hostile answer on a route whose plugins see answers is a problem document too', async t => {
  for (const [name, bytes] of Object.entries(hostile)) {
    if (name === 'a header without end') continue
    const upstream = await rawUpstream(t, socket => void socket.write(bytes, 'latin1'))
    const { url, recorder } = await proxying(t, upstream.url, {
      uses: 'see',
      files: {
        'see.mjs': plugin('transform', "route.addHook('onSend', async (request, reply, payload) => payload)")
      }
    })
    const response = await fetch(`${url}/first`)
    t.equal(response.status, 502, name)
    t.match(await response.json(), { reason: 'upstream.protocol' })
    t.match(await recorder.ended(1), [{ status: 502, reason: 'upstream.protocol', plugin: null }])
  }
})
