import t from 'tap'
import { grpcGateway, openRoute, quiet } from '../fixtures/grpc/gateway.ts'
import { message } from '../fixtures/grpc/message.ts'
import { begin, openSession, statusOf } from '../fixtures/grpc/raw-call.ts'
import { rawUpstream } from '../fixtures/grpc/raw-upstream.ts'
import { settled } from '../fixtures/settled.ts'

const method = '/shop.v1.Orders/Watch'
const chunk = message(Buffer.alloc(16 * 1024 - 5, 'x'))
const total = 16 * 1024 * 1024
/** What may be held for a stream that stands still. */
const bound = 1024 * 1024

/** Writes the bytes as fast as they are taken. Says how many were handed to the connection. */
function pour(stream: NodeJS.WritableStream): { readonly sent: number; readonly done: Promise<void> } {
  const progress = { sent: 0, done: Promise.resolve() }
  progress.done = new Promise(resolve => {
    const next = () => {
      if (progress.sent >= total) return resolve()
      stream.write(chunk, error => {
        if (error) return
        progress.sent += chunk.length
        next()
      })
    }
    next()
  })
  return progress
}

t.test('a client that does not read stops the upstream, and goes on when it reads', async t => {
  let poured: ReturnType<typeof pour> | undefined
  const upstream = await rawUpstream(t, async seen => {
    seen.stream.resume()
    seen.respond()
    poured = pour(seen.stream)
    await poured.done
    seen.finish()
  })
  const gateway = await grpcGateway(t, openRoute(upstream.url))
  const { stream, head, answer } = begin(openSession(t, gateway.h2c), method)
  stream.end()
  await head
  const held = await settled(() => poured?.sent ?? 0)
  t.ok(held > 0, 'it has begun')
  t.ok(held <= bound, `${held} bytes have left the upstream`)
  const got = await answer()
  t.equal(got.body.length, total)
  t.equal(statusOf(got), 0)
  await quiet(gateway, 'open')
})

t.test('an upstream that does not read stops the client, and goes on when it reads', async t => {
  const upstream = await rawUpstream(t, () => {})
  const gateway = await grpcGateway(t, openRoute(upstream.url))
  const { stream, answer } = begin(openSession(t, gateway.h2c), method)
  const poured = pour(stream)
  const seen = await upstream.next()
  const held = await settled(() => poured.sent)
  t.ok(held <= bound, `${held} bytes have left the client`)
  const ended = answer()
  const body = seen.body()
  await poured.done
  stream.end()
  t.equal((await body).length, total)
  seen.trailersOnly({ 'grpc-status': '0' })
  t.equal(statusOf(await ended), 0)
  await quiet(gateway, 'open')
})

t.test('a call that stands still holds up no other call of its connection', async t => {
  const upstream = await rawUpstream(t, async seen => {
    seen.stream.resume()
    seen.respond()
    if (seen.path.endsWith('Watch')) await pour(seen.stream).done
    seen.finish()
  })
  const gateway = await grpcGateway(t, openRoute(upstream.url))
  const session = openSession(t, gateway.h2c)
  for (let i = 0; i < 8; i++) {
    const stuck = begin(session, method)
    stuck.stream.end()
    await stuck.head
  }
  await settled(() => upstream.open())
  for (let i = 0; i < 5; i++) {
    const other = begin(openSession(t, gateway.h2c), '/shop.v1.Orders/Get')
    other.stream.end()
    t.equal(statusOf(await other.answer()), 0)
  }
  session.destroy()
  await quiet(gateway, 'open')
})
