import { once } from 'node:events'
import t from 'tap'
import type { Http2Response } from '../../../src/gate/http2-server.ts'
import {
  block,
  data,
  flag,
  frame,
  frameClient,
  head,
  headers,
  ping,
  preface,
  type,
  windowUpdate
} from '../../fixtures/http2-frames.ts'
import { answerSeen, judgingHttp2Server } from '../../fixtures/judging-http2-server.ts'
import { type ManualTimers, manualTimers } from '../../fixtures/manual-timers.ts'

const tick = (): Promise<void> => new Promise(resolve => setImmediate(resolve))

/** Moves the clock second by second, with what the server does in between. */
async function pass(timers: ManualTimers, seconds: number): Promise<void> {
  for (let i = 0; i < seconds; i++) {
    timers.advance(1000)
    await tick()
  }
}

async function until(is: () => boolean): Promise<void> {
  while (!is()) await tick()
}

const heads: [string, Buffer[]][] = [
  ['that sends nothing', []],
  ['that sends half of a preface', [preface.subarray(0, 10)]],
  ['that sends a preface and no SETTINGS', [preface]],
  ['that sends half of its SETTINGS', [preface, frame(type.settings, 0, 0, '123456').subarray(0, 12)]]
]

for (const [name, bytes] of heads) {
  t.test(`a client ${name} is closed when the time for a head is up`, async t => {
    const timers = manualTimers()
    const { port, server } = await judgingHttp2Server(t, { timers })
    const accepted = once(server, 'connection')
    const raw = frameClient(t, port, { bare: true })
    await accepted
    raw.send(...bytes)
    await pass(timers, 9)
    t.equal(raw.isClosed, false)
    await pass(timers, 2)
    await raw.closed
  })
}

t.test('a head that is never whole ends its connection, however slowly it comes', async t => {
  const timers = manualTimers()
  const { port, passed } = await judgingHttp2Server(t, { timers })
  const raw = frameClient(t, port, { answersPing: false })
  raw.send(headers(1, head('/first')))
  await raw.outcome(1)
  raw.send(frame(type.headers, flag.endStream, 3, block(head())))
  // Read in the order that it was sent.
  const other = frameClient(t, port)
  other.send(ping())
  await other.find(each => each.type === type.ping)
  await pass(timers, 5)
  raw.send(frame(type.continuation, 0, 3, block([['a', 'b']])))
  await pass(timers, 4)
  t.equal(raw.isClosed, false)
  await pass(timers, 3)
  await raw.closed
  t.same(passed, ['/first'])
})

t.test('a head that was refused by its frames is not taken for one that is not whole', async t => {
  const timers = manualTimers()
  const { port } = await judgingHttp2Server(t, { timers })
  const raw = frameClient(t, port)
  raw.send(headers(1, head('/', 'GET', ['connection', 'close'])))
  t.equal(await raw.outcome(1), 'reset 1')
  timers.advance(1000)
  await raw.find(each => each.type === type.ping)
  // Its answer to that PING comes before this one.
  raw.send(ping())
  await raw.find(each => each.type === type.ping && (each.flags & flag.ack) !== 0)
  await pass(timers, 20)
  raw.send(headers(3, head()))
  t.equal(await raw.outcome(3), '200')
})

t.test('a client that never acknowledges SETTINGS is closed: our limits would not hold for it', async t => {
  const timers = manualTimers()
  const { port } = await judgingHttp2Server(t, { timers })
  const raw = frameClient(t, port, { acknowledges: false })
  raw.send(headers(1, head()))
  t.equal(await raw.outcome(1), '200')
  await pass(timers, 11)
  await raw.closed
  t.equal(raw.goaway(), 4)
})

t.test('a connection without streams is closed, politely, when it has been idle', async t => {
  const timers = manualTimers()
  const { port } = await judgingHttp2Server(t, { timers })
  const raw = frameClient(t, port)
  raw.send(headers(1, head()))
  await raw.outcome(1)
  await pass(timers, 30)
  raw.send(headers(3, head()))
  await raw.outcome(3)
  await pass(timers, 59)
  raw.send(ping())
  t.equal(raw.isClosed, false)
  await pass(timers, 2)
  await raw.closed
  t.equal(raw.goaway(), 0)
})

t.test('a stream that is open keeps its connection', async t => {
  const timers = manualTimers()
  const answers: Http2Response[] = []
  const { port } = await judgingHttp2Server(t, { timers }, (_request, response) => answers.push(response))
  const raw = frameClient(t, port)
  raw.send(headers(1, head()))
  await until(() => answers.length === 1)
  await pass(timers, 300)
  answers[0]?.end('late')
  t.equal(await raw.outcome(1), '200')
})

t.test('an idle client that does not close is cut off', async t => {
  const timers = manualTimers()
  const { port, server } = await judgingHttp2Server(t, { timers })
  const accepted = once(server, 'connection')
  const raw = frameClient(t, port)
  const [socket] = await accepted
  await raw.find(each => each.type === type.settings)
  raw.socket.removeAllListeners('end')
  raw.socket.pause()
  await pass(timers, 61)
  await pass(timers, 4)
  if (!socket.destroyed) await once(socket, 'close')
  t.equal(socket.destroyed, true)
})

t.test('a stream whose client opens no window is ended, and the others go on', async t => {
  const timers = manualTimers()
  const answers: Http2Response[] = []
  const { port, front } = await judgingHttp2Server(t, { timers }, (request, response) => {
    if (request.url === '/') {
      answerSeen(request, response)
      return
    }
    answers.push(response)
    response.write(Buffer.alloc(200_000))
  })
  // A window of ten bytes a stream.
  const raw = frameClient(t, port, { settings: [[4, 10]] })
  raw.send(headers(1, head('/stuck')))
  await raw.find(each => each.type === type.data && each.stream === 1)
  await pass(timers, 230)
  t.equal(front.underWay, 1, 'each 64 KiB has the whole time')
  await pass(timers, 15)
  t.equal(await raw.outcome(1), 'reset 8')
  t.equal(answers[0]?.destroyed, true)
  raw.send(headers(3, head()), windowUpdate(3, 1000))
  t.equal(await raw.outcome(3), '200')
})

t.test('a stream whose client takes a chunk now and then is not ended', async t => {
  const timers = manualTimers()
  const { port } = await judgingHttp2Server(t, { timers }, (_request, response) => {
    let left = 20
    function more(): void {
      if (left-- > 0) response.write(Buffer.alloc(1000), more)
      else response.end()
    }
    more()
  })
  const raw = frameClient(t, port, { settings: [[4, 0]] })
  raw.send(headers(1, head('/')))
  await raw.find(each => each.type === type.headers)
  for (let i = 0; i < 20; i++) {
    await pass(timers, 50)
    raw.send(windowUpdate(1, 1000))
    await until(() => raw.received.filter(each => each.type === type.data).length > i)
  }
  // Its window is used up, and the end waits for more.
  await pass(timers, 50)
  raw.send(windowUpdate(1, 1))
  t.equal(await raw.outcome(1), '200')
})

t.test('a connection whose client reads nothing is cut off, with little held for it', async t => {
  const timers = manualTimers()
  let written = 0
  const { port, server, front } = await judgingHttp2Server(t, { timers }, (_request, response) => {
    const chunk = Buffer.alloc(65_536)
    function fill(): void {
      do written += chunk.length
      while (response.write(chunk))
    }
    response.on('drain', fill)
    fill()
  })
  const accepted = once(server, 'connection')
  const raw = frameClient(t, port, { settings: [[4, 0x7fffffff]] })
  const [socket] = await accepted
  await raw.find(each => each.type === type.settings)
  raw.socket.pause()
  raw.send(windowUpdate(0, 0x7fff0000), ...[1, 3, 5].map(stream => headers(stream, head())))
  await until(() => front.underWay === 3)
  for (let last = -1; last !== written; ) {
    last = written
    for (let i = 0; i < 50; i++) await tick()
  }
  await pass(timers, 2)
  await pass(timers, 50)
  t.equal(socket.destroyed, false)
  t.equal(written < 30 * 1024 * 1024, true, `${written} bytes written`)
  await pass(timers, 15)
  t.equal(socket.destroyed, true)
  await until(() => front.underWay === 0)
})

t.test('an upload that nobody reads is stopped once its answer is out', async t => {
  const timers = manualTimers()
  const { port } = await judgingHttp2Server(t, { timers }, (request, response) => {
    request.once('data', () => {
      response.writeHead(413)
      response.end()
    })
  })
  const raw = frameClient(t, port)
  raw.send(headers(1, head('/', 'POST'), flag.endHeaders), data(1, 'abc'))
  t.equal(await raw.outcome(1), '413')
  await pass(timers, 5)
  const ended = await raw.find(each => each.type === type.reset)
  t.equal(ended?.payload.readUInt32BE(0), 0, 'without blame (RFC 9113, 8.1)')
  raw.send(headers(3, head('/', 'POST'), flag.endHeaders), data(3, 'abc', flag.endStream))
  t.equal(await raw.outcome(3), '413')
})

t.test('draining serves what is under way, and each new client once', async t => {
  const answers: Http2Response[] = []
  const { port, front } = await judgingHttp2Server(t, {}, (request, response) => {
    if (request.url === '/held') answers.push(response)
    else response.end()
  })
  const idle = frameClient(t, port)
  idle.send(headers(1, head()))
  await idle.outcome(1)
  const busy = frameClient(t, port)
  busy.send(headers(1, head('/held')))
  await until(() => answers.length === 1)
  front.startDraining()
  await idle.closed
  t.equal(idle.goaway(), 0)
  const goaway = await busy.find(each => each.type === type.goaway)
  t.equal(goaway?.payload.readUInt32BE(0), 1, 'the last stream that is served')
  answers[0]?.end()
  t.ok(await busy.find(each => each.stream === 1 && (each.flags & flag.endStream) !== 0))
  await busy.closed

  const late = frameClient(t, port)
  late.send(headers(1, head()))
  t.ok(await late.find(each => each.stream === 1 && (each.flags & flag.endStream) !== 0))
  await late.closed
  t.equal(late.goaway(), 0)
})

t.test('closing waits for the last stream, and takes no other', async t => {
  const timers = manualTimers()
  const answers: Http2Response[] = []
  const { port, front, passed } = await judgingHttp2Server(t, { timers }, (_request, response) =>
    answers.push(response)
  )
  const busy = frameClient(t, port)
  const idle = frameClient(t, port)
  busy.send(headers(1, head('/busy')))
  idle.send(ping())
  await idle.find(each => each.type === type.ping)
  await until(() => answers.length === 1)
  let isClosed = false
  const closed = front.close().then(() => {
    isClosed = true
  })
  await idle.closed
  await busy.find(each => each.type === type.goaway && each.payload.readUInt32BE(0) === 1)
  busy.send(headers(3, head('/late')), ping())
  await busy.find(each => each.type === type.ping)
  t.equal(isClosed, false)
  t.same(passed, ['/busy'])
  const none = frameClient(t, port)
  await none.closed
  answers[0]?.end('done')
  await busy.find(each => each.stream === 1 && (each.flags & flag.endStream) !== 0)
  await pass(timers, 4)
  await closed
  t.equal(front.underWay, 0)
})

t.test('destroying ends everything at once', async t => {
  const answers: Http2Response[] = []
  const { port, front } = await judgingHttp2Server(t, {}, (_request, response) => answers.push(response))
  const raw = frameClient(t, port)
  raw.send(headers(1, head()), headers(3, head()))
  await until(() => answers.length === 2)
  const ended = Promise.all(answers.map(response => once(response, 'close')))
  front.destroy()
  await ended
  await raw.closed
  await front.close()
  t.equal(front.underWay, 0)
})
