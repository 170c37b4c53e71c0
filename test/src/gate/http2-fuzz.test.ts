import fc from 'fast-check'
import t from 'tap'
import { hostileFrames } from '../../fixtures/hostile-http2.ts'
import {
  data,
  flag,
  frame,
  frameClient,
  head,
  headers,
  reset,
  windowUpdate
} from '../../fixtures/http2-frames.ts'
import { judgingHttp2Server } from '../../fixtures/judging-http2-server.ts'

const runs = 1500
const seed = 20_261_123
const perBatch = 25

const stream = fc.integer({ min: 0, max: 7 }).map(each => each * 2 + 1)
const someFrames: fc.Arbitrary<Buffer> = fc.oneof(
  fc.constantFrom(...hostileFrames).map(each => Buffer.concat(each.frames)),
  fc
    .tuple(
      stream,
      fc.constantFrom('GET', 'POST', 'HEAD'),
      fc.constantFrom(flag.endHeaders, flag.endHeaders | flag.endStream)
    )
    .map(([id, method, flags]) => headers(id, head('/x', method), flags)),
  fc.tuple(stream, fc.nat(50), fc.nat(1)).map(([id, size, flags]) => data(id, Buffer.alloc(size), flags)),
  fc.tuple(stream, fc.nat(13)).map(([id, code]) => reset(id, code)),
  fc.tuple(stream, fc.nat(100_000)).map(([id, size]) => windowUpdate(id, size)),
  fc
    .tuple(fc.nat(11), fc.nat(255), fc.oneof(stream, fc.constant(0)), fc.uint8Array({ maxLength: 40 }))
    .map(([kind, flags, id, payload]) => frame(kind, flags, id, Buffer.from(payload)))
)

/** Packets, and for some a byte that is another than it was. */
const connection = fc.record({
  packets: fc.array(fc.tuple(someFrames, fc.option(fc.tuple(fc.nat(), fc.nat(255)), { freq: 9 })), {
    minLength: 1,
    maxLength: 12
  }),
  acknowledges: fc.boolean(),
  isReset: fc.boolean()
})

t.test(
  'whatever frames come, nothing is thrown, no stream is left, and the next client is served',
  async t => {
    const { port, front } = await judgingHttp2Server(t)
    const all = fc.sample(connection, { numRuns: runs, seed })
    for (let at = 0; at < all.length; at += perBatch) {
      await Promise.all(
        all.slice(at, at + perBatch).map(async ({ packets, acknowledges, isReset }) => {
          const client = frameClient(null, port, { acknowledges })
          for (const [packet, change] of packets) {
            const bytes = Buffer.from(packet)
            if (change !== null && bytes.length > 0) bytes[change[0] % bytes.length] = change[1]
            client.send(bytes)
            await new Promise(resolve => setImmediate(resolve))
          }
          if (isReset) client.socket.resetAndDestroy()
          else client.destroy()
        })
      )
      const fresh = frameClient(null, port)
      fresh.send(headers(1, head('/good')))
      if ((await fresh.outcome(1)) !== '200') t.fail(`not answered after connection ${at}`)
      fresh.destroy()
    }
    while (front.underWay > 0) await new Promise(resolve => setImmediate(resolve))
    t.pass(`${runs} connections`)
  }
)
