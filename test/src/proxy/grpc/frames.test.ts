import t from 'tap'
import { Base64Decoder } from '../../../../src/proxy/grpc/base64.ts'
import { MessageCounter } from '../../../../src/proxy/grpc/frames.ts'
import { message } from '../../../fixtures/grpc/message.ts'

/** The bytes in chunks of this size. */
function* cut(bytes: Buffer, size: number): Iterable<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

t.test('each message is bounded, however the bytes are cut', async t => {
  const fits = Buffer.concat([
    message('x'.repeat(10)),
    message(''),
    message('y', true),
    message('z'.repeat(10))
  ])
  for (let size = 1; size <= fits.length; size++) {
    const counter = new MessageCounter(10)
    t.ok(
      [...cut(fits, size)].every(chunk => counter.take(chunk)),
      `chunks of ${size}`
    )
    const tooLarge = new MessageCounter(9)
    t.notOk([...cut(fits, size)].every(chunk => tooLarge.take(chunk)))
    const last = new MessageCounter(10)
    t.notOk([...cut(Buffer.concat([fits, message('x'.repeat(11))]), size)].every(chunk => last.take(chunk)))
  }
})

t.test('a length is read without a sign', async t => {
  t.notOk(new MessageCounter(2 ** 31).take(Buffer.from([0, 0xff, 0xff, 0xff, 0xff])))
  t.ok(new MessageCounter(2 ** 32).take(Buffer.from([0, 0xff, 0xff, 0xff, 0xff])))
  t.ok(new MessageCounter(0).take(message('')))
})

t.test('base64 is decoded however it is cut and padded', async t => {
  const parts = ['a', 'bc', 'def', '', 'ghij'].map(text => Buffer.from(text))
  const text = parts.map(part => part.toString('base64')).join('')
  for (let size = 1; size <= text.length; size++) {
    const decoder = new Base64Decoder()
    const pieces = [...cut(Buffer.from(text), size)].map(piece => decoder.take(piece) as Buffer)
    t.same(Buffer.concat(pieces), Buffer.concat(parts), `chunks of ${size}`)
    t.ok(decoder.isComplete)
  }
  for (const bad of ['A===', '====', 'AA=A', 'A=AA', '=AAA', 'AAA*', 'AA A', 'AAAA\n', 'AA-_'])
    t.equal(new Base64Decoder().take(Buffer.from(bad)), null, bad)
  const partial = new Base64Decoder()
  t.same(partial.take(Buffer.from('AAAAA')), Buffer.alloc(3))
  t.notOk(partial.isComplete)
})
