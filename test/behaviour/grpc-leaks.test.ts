import { constants } from 'node:http2'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { grpcGateway, openRoute, quiet } from '../fixtures/grpc/gateway.ts'
import { message } from '../fixtures/grpc/message.ts'
import { begin, call, openSession, statusOf } from '../fixtures/grpc/raw-call.ts'
import { echo, rawUpstream, sleep } from '../fixtures/grpc/raw-upstream.ts'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

t.test('2,000 calls, of which 200 are cancelled midway, leave nothing behind', async t => {
  const upstream = await rawUpstream(t, seen => (seen.path.endsWith('Watch') ? sleep(seen) : echo(seen)))
  const gateway = await grpcGateway(t, openRoute(upstream.url))
  const session = openSession(t, gateway.h2c)
  const body = message(Buffer.alloc(2000, 'x'))

  async function calls(count: number): Promise<number> {
    let good = 0
    const worker = async () => {
      for (let i = 0; i < count / 20; i++) {
        if (i % 10 === 9) await cancelled()
        else if (statusOf(await call(session, '/shop.v1.Orders/Get', {}, body)) === 0) good++
      }
    }
    await Promise.all(Array.from({ length: 20 }, worker))
    await quiet(gateway, 'open')
    return good
  }

  async function cancelled(): Promise<void> {
    const { stream, answer } = begin(session, '/shop.v1.Orders/Watch')
    const ended = answer()
    await new Promise(resolve => stream.write(body, resolve))
    stream.close(constants.NGHTTP2_CANCEL)
    await ended
  }

  async function heap(): Promise<number> {
    upstream.forget()
    for (let i = 0; i < 3; i++) {
      await new Promise(setImmediate)
      collect()
    }
    return process.memoryUsage().heapUsed
  }

  t.equal(await calls(1000), 900)
  const before = await heap()
  t.equal(await calls(1000), 900)
  const grown = (await heap()) - before
  t.ok(grown < 2 * 1024 * 1024, `the heap has grown by ${grown} bytes in 1,000 calls`)
  t.equal(upstream.open(), 0, 'no stream is open at the upstream')
  t.ok(upstream.sessions.size <= 4, `${upstream.sessions.size} connections`)
  t.equal(await gateway.metric('sallyport_requests_in_flight{route="open"}'), 0)
})
