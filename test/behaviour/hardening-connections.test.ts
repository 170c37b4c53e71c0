import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import t, { type Test } from 'tap'
import { type Proxying, plugin, proxying } from '../fixtures/proxying.ts'
import { rawClient } from '../fixtures/raw.ts'
import { echo, upstream } from '../helper.ts'

/** Whatever a client does to its connection, nothing is left behind: no count, no place, no socket, no upstream call. */

const places = '{ concurrency: { limit: 4 } }'

async function settled(t: Test, running: Proxying, ended: number): Promise<void> {
  await running.recorder.ended(ended)
  t.equal(await running.metric('sallyport_requests_in_flight{route="all"}'), 0)
  const client = rawClient(t, running.port)
  for (let i = 0; i < 5; i++) client.send('GET /after HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n')
  t.equal((await client.next()).status, 200, 'the places are free again')
  client.destroy()
}

/** An upstream that holds every answer but those to `/after`. */
async function holding(t: Test) {
  const held: ServerResponse[] = []
  let wake = () => {}
  let closed = 0
  const { url } = await upstream(t, (request, response) => {
    if (request.url === '/after') {
      response.end()
      return
    }
    held.push(response)
    request.socket.once('close', () => {
      closed++
      wake()
    })
    wake()
  })
  async function until(isSo: () => boolean): Promise<void> {
    while (!isSo()) await new Promise<void>(resolve => (wake = resolve))
  }
  return { url, held, until, closed: () => closed }
}

const requests: Record<string, [bytes: string, count: number]> = {
  'a request': ['GET /held HTTP/1.1\r\nHost: a\r\n\r\n', 1],
  'an unfinished upload': ['POST /held HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\nabc', 1],
  'an unfinished chunked upload': [
    'POST /held HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n',
    1
  ],
  'pipelined requests': ['GET /held HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(4), 4]
}

for (const [name, [bytes, count]] of Object.entries(requests)) {
  for (const stage of ['before the answer', 'inside the answer']) {
    t.test(`a client that goes ${stage} to ${name} leaves nothing behind`, async t => {
      const { url, held, until, closed } = await holding(t)
      const running = await proxying(t, url, { uses: places })
      const client = rawClient(t, running.port)
      client.send(bytes)
      await until(() => held.length === count)
      if (stage === 'inside the answer') {
        for (const response of held) response.write('begun')
        await once(client.socket, 'data')
      }
      client.socket.resetAndDestroy()
      await until(() => closed() === count)
      await settled(t, running, count)
      for (const { reason } of running.recorder.outcomes.slice(0, count)) t.equal(reason, 'client.aborted')
    })
  }
}

t.test('a client that goes while a plugin thinks leaves nothing behind', async t => {
  const { url } = await echo(t)
  const slow = plugin(
    'limit',
    `route.addHook('onRequest', (request, reply, done) => {
      if (request.raw.url !== '/after') globalThis.sallyportThinks(done)
      else done()
    })`
  )
  let go = () => {}
  const thinks = new Promise<void>(resolve => {
    ;(globalThis as { sallyportThinks?: unknown }).sallyportThinks = (done: () => void) => {
      go = done
      resolve()
    }
  })
  const running = await proxying(t, url, { uses: `${places}, slow`, files: { 'slow.mjs': slow } })
  const client = rawClient(t, running.port)
  client.send('GET /held HTTP/1.1\r\nHost: a\r\n\r\n')
  await thinks
  client.socket.resetAndDestroy()
  await running.recorder.ended(1)
  go()
  await settled(t, running, 1)
  t.equal(running.recorder.outcomes[0]?.upstream, null, 'nobody was asked for a client that has gone')
})

t.test('an upgrade that nobody takes does not keep its connection', async t => {
  const { url } = await echo(t)
  const running = await proxying(t, url)
  const client = rawClient(t, running.port)
  const closed = new Promise(resolve => client.socket.once('close', resolve))
  client.socket.removeAllListeners('end').on('error', () => {})
  client.send(
    'GET /a?token=canary HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
      'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n'
  )
  t.equal((await client.next()).status, 426)
  // Not answered by a FIN of ours, and kept writing: only a destroyed socket resets.
  const writing = setInterval(() => client.socket.write('x'), 20)
  t.teardown(() => clearInterval(writing))
  await closed
  t.notMatch(JSON.stringify(running.lines), /canary/)
})

t.test('one connection cannot take every place of an upstream by pipelining', async t => {
  const { url, held, until } = await holding(t)
  const running = await proxying(t, url)
  const client = rawClient(t, running.port)
  client.send('GET /held HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(400))
  await until(() => held.length >= 16)
  const fresh = rawClient(t, running.port)
  fresh.send('GET /after HTTP/1.1\r\nHost: a\r\n\r\n')
  t.equal((await fresh.next()).status, 200)
  t.ok(held.length <= 100, `${held.length} at once`)
})
