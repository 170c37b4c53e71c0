import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import t from 'tap'
import type { Timers } from '../../src/gate/timers.ts'
import { judgingServer } from '../fixtures/judging-server.ts'
import { rawClient } from '../fixtures/raw.ts'

const get = 'GET /x HTTP/1.1\r\nhost: a\r\n\r\n'

/** Time that passes when the test says so. */
class Clock implements Timers {
  #now = 0
  readonly #timers = new Map<() => void, number>()
  now = () => this.#now
  every = () => ({ cancel() {} })

  after(delay: number, callback: () => void) {
    this.#timers.set(callback, this.#now + delay)
    return { cancel: () => void this.#timers.delete(callback) }
  }

  pass(ms: number): void {
    this.#now += ms
    for (const [callback, at] of [...this.#timers]) {
      if (at <= this.#now && this.#timers.delete(callback)) callback()
    }
  }
}

async function halfClosed(t: Parameters<typeof judgingServer>[0] & { teardown(end: () => void): void }) {
  const timers = new Clock()
  const responses: ServerResponse[] = []
  let ended = () => {}
  const bothEnded = new Promise<void>(resolve => {
    ended = resolve
  })
  const server = await judgingServer(t, { timers, lingerTimeout: 1e9 }, (request, response) => {
    responses.push(response)
    request.socket.once('end', ended)
  })
  const client = rawClient(t, server.port)
  client.send(get)
  client.halfClose()
  await bothEnded
  return { timers, response: responses[0] as ServerResponse, client }
}

t.test('a client that has closed its side only is asked, and gets its answer', async t => {
  const { timers, response, client } = await halfClosed(t)
  timers.pass(499)
  timers.pass(1)
  t.equal((await client.next()).status, 102)
  timers.pass(500)
  t.equal((await client.next()).status, 102)
  response.end('answer')
  t.equal((await client.next()).body, 'answer')
})

t.test('an answer in time is the only one', async t => {
  const { timers, response, client } = await halfClosed(t)
  timers.pass(400)
  response.end('answer')
  t.equal((await client.next()).body, 'answer')
  timers.pass(1000)
  await client.closed
  t.equal(client.unread(), '')
})

t.test('a client that has closed both sides is found out', async t => {
  const { timers, response, client } = await halfClosed(t)
  client.destroy()
  // The first look brings the reset, which the system tells with the next.
  while (!response.destroyed && !response.closed) {
    timers.pass(500)
    await new Promise(resolve => setImmediate(resolve))
  }
  t.notOk(response.writableFinished)
})

t.test(
  'a half-closed client gets a slow body, but waits for nothing no longer than five seconds',
  async t => {
    const { timers, response, client } = await halfClosed(t)
    response.write('one')
    while (!client.unread().includes('one')) await once(client.socket, 'data')
    for (let i = 0; i < 10; i++) timers.pass(500)
    t.notOk(response.destroyed)
    response.write('two')
    while (!client.unread().includes('two')) await once(client.socket, 'data')
    for (let i = 0; i < 10; i++) timers.pass(500)
    t.notOk(response.destroyed)
    const closed = once(response, 'close')
    timers.pass(500)
    await closed
  }
)
