import { once } from 'node:events'
import { connect, constants } from 'node:http2'
import t from 'tap'
import {
  block,
  data,
  flag,
  frame,
  frameClient,
  head,
  headers,
  ping,
  reset,
  settings,
  type,
  uint32,
  windowUpdate
} from '../../fixtures/http2-frames.ts'
import { judgingHttp2Server } from '../../fixtures/judging-http2-server.ts'

/** Longest that a flood may keep the event loop, in milliseconds. */
const mostLate = 100

interface Flood {
  name: string
  /** Sent once before. */
  first?: Buffer
  /** One of the frames, or the few of them, that are sent again and again; `stream` is a new one each time. */
  each(stream: number): Buffer
  /** Whether `each` opens streams: then it is made anew each time. */
  opens?: boolean
}

const get = (stream: number): Buffer => headers(stream, head('/x'))
const post = (stream: number): Buffer => headers(stream, head('/x', 'POST'), flag.endHeaders)
const empty = Buffer.alloc(0)

function opening(name: string, each: (stream: number) => Buffer[]): Flood {
  return { name, each: stream => Buffer.concat(each(stream)), opens: true }
}

const floods: readonly Flood[] = [
  opening('rapid resets', stream => [get(stream), reset(stream)]),
  opening('rapid resets with NO_ERROR of uploads', stream => [post(stream), reset(stream, 0)]),
  opening('rapid resets of HEAD', stream => [headers(stream, head('/x', 'HEAD')), reset(stream)]),
  opening('rapid resets of HEAD with NO_ERROR', stream => [
    headers(stream, head('/x', 'HEAD')),
    reset(stream, 0)
  ]),
  opening('streams beyond the limit', stream => [post(stream)]),
  opening('server resets by an empty WINDOW_UPDATE', stream => [post(stream), windowUpdate(stream, 0)]),
  opening('server resets by a WINDOW_UPDATE too large', stream => [
    post(stream),
    windowUpdate(stream, 0x7fffffff)
  ]),
  opening('server resets by a false length', stream => [
    headers(stream, head('/x', 'POST', ['content-length', '5']), flag.endHeaders),
    data(stream, '', flag.endStream)
  ]),
  opening('server resets by a second head', stream => [
    post(stream),
    headers(stream, [['a', 'b']], flag.endHeaders)
  ]),
  opening('server resets by DATA after the end', stream => [get(stream), data(stream, 'abc')]),
  opening('server resets by a bad PRIORITY', stream => [
    post(stream),
    frame(type.priority, 0, stream, Buffer.concat([uint32(stream), Buffer.from([1])]))
  ]),
  opening('malformed requests', stream => [headers(stream, head('/x', 'GET', ['connection', 'close']))]),
  opening('heads without fields', stream => [frame(type.headers, flag.endHeaders | flag.endStream, stream)]),
  { name: 'resets of streams long closed', first: get(1), each: () => reset(1) },
  { name: 'PING', each: () => ping() },
  { name: 'SETTINGS', each: () => settings([4, 65_535]) },
  { name: 'SETTINGS without entries', each: () => settings() },
  { name: 'DATA without content', first: post(1), each: () => data(1, empty) },
  {
    name: 'DATA of padding alone',
    first: post(1),
    each: () => frame(type.data, flag.padded, 1, Buffer.from([0]))
  },
  { name: 'DATA on a closed stream', first: get(1), each: () => data(1, empty) },
  { name: 'trailers without fields', first: post(1), each: () => frame(type.headers, flag.endHeaders, 1) },
  {
    name: 'CONTINUATION',
    first: frame(type.headers, flag.endStream, 1, block(head())),
    each: () => frame(type.continuation, 0, 1, block([['a', 'b']]))
  },
  {
    name: 'CONTINUATION without content',
    first: frame(type.headers, flag.endStream, 1, block(head())),
    each: () => frame(type.continuation, 0, 1)
  },
  { name: 'PRIORITY', each: () => frame(type.priority, 0, 3, Buffer.from([0, 0, 0, 0, 1])) },
  { name: 'WINDOW_UPDATE of the connection', each: () => windowUpdate(0, 1) },
  { name: 'WINDOW_UPDATE of a stream', first: post(1), each: () => windowUpdate(1, 1) },
  { name: 'frames of an unknown type', each: () => frame(0x77, 0, 0) },
  { name: 'frames of an unknown type, large', each: () => frame(0x77, 0, 0, Buffer.alloc(16_000)) }
]

/** Frames of a flood in packets of about 64 KiB, as many as a second of it may have. */
function packets({ each, opens }: Flood): Buffer[] {
  const size = each(1).length
  const count = Math.ceil(65_536 / size)
  const all: Buffer[] = []
  let stream = 3
  for (let i = 0; i < (opens ? 16 : 1); i++) {
    const frames: Buffer[] = []
    for (let k = 0; k < count; k++, stream += 2) frames.push(each(stream))
    all.push(Buffer.concat(frames))
  }
  return all
}

for (const flood of floods) {
  for (const acknowledges of [true, false]) {
    t.test(
      `${flood.name} end the connection${acknowledges ? '' : ' of a client that acknowledges no SETTINGS'}`,
      async t => {
        const { port, front } = await judgingHttp2Server(t)
        const sent = packets(flood)
        // Another program may keep the processor: the flood is at fault for what it does every time.
        let late = mostLate
        for (let attempt = 0; attempt < 3 && late >= mostLate; attempt++)
          late = await attack(port, flood, sent, acknowledges)
        t.equal(late < mostLate, true, `the event loop is ${Math.round(late)} ms late`)
        const fresh = frameClient(t, port)
        fresh.send(headers(1, head('/good')))
        t.equal(await fresh.outcome(1), '200', 'a good request on a fresh connection is answered')
        while (front.underWay > 0) await new Promise(resolve => setImmediate(resolve))
      }
    )
  }
}

/** Sends a flood until the server closes; returns how many milliseconds the event loop was late at most. */
async function attack(port: number, flood: Flood, sent: Buffer[], acknowledges: boolean): Promise<number> {
  const client = frameClient(null, port, { acknowledges })
  await client.find(each => each.type === type.settings)
  if (flood.first !== undefined) client.send(flood.first)
  let late = 0
  let last = performance.now()
  const interval = setInterval(() => {
    const now = performance.now()
    late = Math.max(late, now - last - 5)
    last = now
  }, 5)
  for (let i = 0; !client.isClosed; i++) {
    const packet = sent[i]
    if (packet === undefined && flood.opens) break
    // Of a flood that opens no streams one packet serves for all.
    await write(client.socket, packet ?? (sent[0] as Buffer))
  }
  await client.closed
  clearInterval(interval)
  client.destroy()
  return late
}

function write(socket: import('node:net').Socket, bytes: Buffer): Promise<void> {
  return new Promise(resolve => {
    if (!socket.writable) {
      setImmediate(resolve)
      return
    }
    socket.write(bytes, () => setImmediate(resolve))
  })
}

t.test(
  'one call in ten cancelled, at any moment and as fast as can be, does not end the connection',
  async t => {
    const { port, refused } = await judgingHttp2Server(t, {}, (_request, response) => {
      setImmediate(() => response.end('ok'))
    })
    const session = connect(`http://127.0.0.1:${port}`)
    t.teardown(() => session.destroy())
    let started = 0
    let answered = 0
    let failed = 0
    const total = 6000
    await new Promise<void>(resolve => {
      function call(): void {
        if (started === total) return
        const isCancelled = started++ % 10 === 0
        const stream = session.request({ ':path': '/call' })
        stream.on('error', () => failed++)
        stream.on('response', () => answered++)
        stream.on('close', () => {
          call()
          if (started === total && --open === 0) resolve()
        })
        stream.resume()
        if (isCancelled) setImmediate(() => stream.close(constants.NGHTTP2_CANCEL))
      }
      let open = 80
      for (let i = 0; i < 80; i++) call()
    })
    t.equal(session.destroyed, false)
    t.same(refused, [])
    t.equal(failed, 0)
    t.equal(answered >= total * 0.9, true, `${answered} of ${total} answered`)
  }
)

t.test('a PING for every burst of data does not end the connection', async t => {
  const { port, refused } = await judgingHttp2Server(t, {}, (_request, response) => {
    response.end(Buffer.alloc(1000))
  })
  const client = frameClient(t, port)
  for (let stream = 1; stream < 2000; stream += 2) {
    client.send(headers(stream, head('/stream')), ping(), windowUpdate(0, 1000))
    await client.outcome(stream)
  }
  t.equal(client.isClosed, false)
  t.same(refused, [])
})

t.test('a flood is reported, and its client told why the connection ends', async t => {
  const { port, refused } = await judgingHttp2Server(t)
  const client = frameClient(t, port)
  client.send(...Array.from({ length: 200 }, () => ping()))
  await client.closed
  t.equal(client.goaway(), constants.NGHTTP2_ENHANCE_YOUR_CALM)
  t.same(refused, [
    { status: 429, reason: 'request.malformed', remoteAddress: '127.0.0.1', detail: 'HTTP/2 flood: PING' }
  ])
  await once(client.socket, 'close')
})
