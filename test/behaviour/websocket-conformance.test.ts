import t, { type Test } from 'tap'
import {
  binary,
  close,
  compressed,
  continuation,
  deflated,
  type Frame,
  frame,
  inflated,
  opcode,
  ping,
  pong,
  RawClient,
  text
} from '../fixtures/frames.ts'
import { socketGateway, socketUpstream } from '../fixtures/web-sockets.ts'

// In the manner of Autobahn's test suite: each case is sent to an echo server once directly and once through the gateway, and
// what comes back must be the same.
t.setTimeout(280_000)

// Each message by itself, so that one can be inflated without those before it.
const deflateOffer = { 'sec-websocket-extensions': 'permessage-deflate; server_no_context_takeover' }
const mebibyte = 2 ** 20

interface Case {
  name: string
  frames: Buffer[]
  /** One write each, and only when the frame before it was answered or the connection has had a turn. */
  isSlow?: boolean
  isDeflated?: boolean
  /**
   * The last frame breaks the protocol, and is sent when what came before was answered. Sent at once, the gateway fails the
   * connection while the answer is still on its way to it (RFC 6455, 7.1.7): an echo server answers in no time at all.
   */
  awaitsEcho?: boolean
}

const invalid = Buffer.from([0xce, 0xba, 0xe1, 0xbd, 0xb9, 0xed, 0xa0, 0x80])
const greek = Buffer.from('κόσμε – 𝄞')

const sizes = [0, 1, 125, 126, 127, 128, 1000, 65_535, 65_536, 65_537, mebibyte, 16 * mebibyte]
const contents = (size: number) => Buffer.alloc(size, 'The quick brown fox jumps over the lazy dog. ')

const cases: Case[] = [
  ...sizes.map(size => ({ name: `text of ${size}`, frames: [text(contents(size)), close(1000)] })),
  ...sizes.map(size => ({ name: `binary of ${size}`, frames: [binary(contents(size)), close(1000)] })),
  { name: 'a length in more bits than it needs: 16', frames: [text('abc', { lengthBits: 16 }), close(1000)] },
  { name: 'a length in more bits than it needs: 64', frames: [text('abc', { lengthBits: 64 }), close(1000)] },
  { name: 'a text of characters of every length', frames: [text(greek), close(1000)] },
  { name: 'a text byte by byte', frames: split(Buffer.concat([text(greek), close(1000)]), 1), isSlow: true },
  {
    name: 'many messages in one write',
    frames: [...Array(500).keys()].map(i => text(`${i}`)).concat(close(1000))
  },

  // Fragments. ws and the gateway put messages together again: compared are messages.
  { name: 'two fragments', frames: [text('ab', { fin: false }), continuation('cd'), close(1000)] },
  {
    name: 'empty fragments',
    frames: [text('', { fin: false }), continuation('', { fin: false }), continuation(''), close(1000)]
  },
  {
    name: 'a character across two fragments',
    frames: [text(greek.subarray(0, 1), { fin: false }), continuation(greek.subarray(1)), close(1000)]
  },
  {
    name: 'a ping between fragments',
    frames: [text('ab', { fin: false }), ping('p'), continuation('cd'), close(1000)]
  },
  {
    name: 'pings and pongs between many fragments',
    frames: [
      text('a', { fin: false }),
      ...[...Array(20).keys()].flatMap(i => [ping(`${i}`), continuation('x', { fin: false }), pong('?')]),
      continuation('z'),
      close(1000)
    ]
  },
  {
    name: 'a thousand fragments',
    frames: [
      binary(Buffer.from('0'), { fin: false }),
      ...Array(999).fill(continuation('x', { fin: false })),
      continuation('1'),
      close(1000)
    ]
  },
  { name: 'a continuation of nothing', frames: [continuation('x')] },
  {
    name: 'a continuation that does not end of nothing',
    frames: [continuation('x', { fin: false }), text('y')]
  },
  { name: 'a message inside of a message', frames: [text('a', { fin: false }), text('b')] },
  {
    name: 'a continuation after the end',
    awaitsEcho: true,
    frames: [text('a', { fin: false }), continuation('b'), continuation('c')]
  },
  { name: 'a fragmented ping', frames: [frame({ opcode: opcode.ping, fin: false, payload: 'a' })] },
  { name: 'a fragmented close', frames: [frame({ opcode: opcode.close, fin: false })] },

  // Pings.
  { name: 'an empty ping', frames: [ping(), close(1000)] },
  { name: 'a ping of 125', frames: [ping('p'.repeat(125)), close(1000)] },
  { name: 'a ping of 126', frames: [frame({ opcode: opcode.ping, payload: 'p'.repeat(126) })] },
  { name: 'ten pings', frames: [...[...Array(10).keys()].map(i => ping(`${i}`)), close(1000)] },
  { name: 'a pong that nobody asked for', frames: [pong('hello'), text('still here'), close(1000)] },
  { name: 'a binary ping', frames: [ping(Buffer.from([0, 255, 254, 253])), close(1000)] },

  // UTF-8.
  { name: 'invalid UTF-8', frames: [text(invalid)] },
  {
    name: 'invalid UTF-8 in the second fragment',
    frames: [text('good', { fin: false }), continuation(invalid)]
  },
  {
    name: 'invalid UTF-8 across fragments',
    frames: [text(invalid.subarray(0, 6), { fin: false }), continuation(invalid.subarray(6))]
  },
  { name: 'a text that ends inside of a character', frames: [text(greek.subarray(0, 1))] },
  { name: 'an overlong encoding', frames: [text(Buffer.from([0xc0, 0xaf]))] },
  { name: 'beyond Unicode', frames: [text(Buffer.from([0xf4, 0x90, 0x80, 0x80]))] },
  { name: 'a surrogate', frames: [text(Buffer.from([0xed, 0xa0, 0x80]))] },
  { name: 'a null character', frames: [text('a\0b'), close(1000)] },
  { name: 'invalid UTF-8 is fine in binary', frames: [binary(invalid), close(1000)] },
  { name: 'good before bad', frames: [text('good'), text(invalid)], awaitsEcho: true },

  // Reserved.
  ...[1, 2, 3, 4, 5, 6, 7].map(rsv => ({ name: `reserved bits ${rsv}`, frames: [text('x', { rsv })] })),
  ...[3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map(code => ({
    name: `opcode ${code}`,
    frames: [frame({ opcode: code, payload: 'x' })]
  })),
  { name: 'a reserved bit on a ping', frames: [frame({ opcode: opcode.ping, rsv: 4 })], isDeflated: true },
  { name: 'no mask', frames: [text('x', { mask: false })] },
  { name: 'a ping without a mask', frames: [frame({ opcode: opcode.ping, mask: false })] },

  // Lengths.
  { name: 'a frame of 2^63 bytes', frames: [binary(Buffer.alloc(0), { length: 2n ** 63n, lengthBits: 64 })] },
  { name: 'a frame of 2^53 bytes', frames: [binary(Buffer.alloc(0), { length: 2n ** 53n, lengthBits: 64 })] },
  { name: 'a frame of 1 TiB', frames: [binary(Buffer.alloc(0), { length: 2n ** 40n, lengthBits: 64 })] },
  {
    name: 'a frame that is one byte too long',
    frames: [binary(Buffer.alloc(0), { length: 32 * mebibyte + 1 })]
  },
  {
    name: 'fragments that are too long together',
    frames: [binary(Buffer.alloc(20 * mebibyte), { fin: false }), continuation(Buffer.alloc(13 * mebibyte))]
  },

  // Closing.
  { name: 'a close without a code', frames: [close()] },
  { name: 'a close of one byte', frames: [frame({ opcode: opcode.close, payload: 'x' })] },
  { name: 'a close with a reason', frames: [close(1000, 'the end – Ende')] },
  { name: 'a close with a reason of 123', frames: [close(1000, 'x'.repeat(123))] },
  { name: 'a close with a reason of 124', frames: [close(1000, 'x'.repeat(124))] },
  { name: 'a close with a reason that is not UTF-8', frames: [close(1000, invalid)] },
  { name: 'two closes', frames: [close(1000), close(1001)] },
  { name: 'a message after the close', frames: [close(1000), text('late')] },
  { name: 'a ping after the close', frames: [close(1000), ping('late')] },
  { name: 'a close inside of a message', frames: [text('a', { fin: false }), close(1000)] },
  { name: 'a message and the end of the connection', frames: [text('last words'), close(1001, 'gone')] },
  ...[
    0, 1, 999, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 1015,
    1016, 1100, 2000, 2999, 3000, 3999, 4000, 4999, 5000, 65_535
  ].map(code => ({ name: `close code ${code}`, frames: [close(code)] })),

  // Compression.
  ...sizes.map(size => ({
    name: `compressed text of ${size}`,
    isDeflated: true,
    frames: [compressed(1, contents(size)), close(1000)]
  })),
  {
    name: 'not compressed where it could be',
    isDeflated: true,
    frames: [text('plain'), binary(contents(2000)), close(1000)]
  },
  {
    name: 'compressed, then not, then compressed',
    isDeflated: true,
    frames: [compressed(1, contents(2000)), text('b'), compressed(2, contents(3000)), close(1000)]
  },
  {
    name: 'compressed in fragments',
    isDeflated: true,
    frames: [
      text(deflated(contents(2000)).subarray(0, 20), { fin: false, rsv: 4 }),
      ping('p'),
      continuation(deflated(contents(2000)).subarray(20)),
      close(1000)
    ]
  },
  {
    name: 'a bit for compression on a continuation',
    isDeflated: true,
    frames: [text('a', { fin: false }), continuation('b', { rsv: 4 })]
  },
  {
    name: 'what does not inflate',
    isDeflated: true,
    frames: [text(Buffer.from([0xff, 0xff, 0xff, 0xff]), { rsv: 4 })]
  },
  { name: 'invalid UTF-8, compressed', isDeflated: true, frames: [compressed(1, invalid)] },
  {
    name: 'a bomb: 40 MiB in 40 KiB',
    isDeflated: true,
    frames: [compressed(2, Buffer.alloc(40 * mebibyte))]
  },
  { name: 'compressed without having asked', frames: [compressed(1, 'x')] }
]

t.test('what comes back through the gateway is what comes back directly', async t => {
  // A pong for each ping, as any server: the gateway answers none itself.
  const server = { maxPayload: 32 * mebibyte, perMessageDeflate: true }
  const upstream = await socketUpstream(t, { server })
  const gateway = await socketGateway(t, upstream.url, { uses: 'protocol: { maxMessage: 32Mi }' })
  for (const one of cases) {
    await t.test(one.name, async t => {
      const [direct, through] = await Promise.all([run(t, upstream.port, one), run(t, gateway.port, one)])
      t.same(through, direct)
    })
  }
  t.ok(cases.length > 130, `${cases.length} cases`)
})

/** Sends the frames of a case, waits for the end of the connection, and tells what came back. */
async function run(
  t: Test,
  port: number,
  { frames, isSlow, isDeflated, awaitsEcho }: Case
): Promise<string[]> {
  const client = new RawClient(t, port)
  const answer = await client.open({ headers: isDeflated ? deflateOffer : {} })
  t.equal(answer.status, 101)
  t.ok(client.isProven(answer))
  if (isSlow) {
    for (const one of frames) {
      client.send(one)
      await new Promise(resolve => setImmediate(resolve))
    }
  } else if (awaitsEcho) {
    client.send(...frames.slice(0, -1))
    await client.got(1)
    client.send(...frames.slice(-1))
  } else client.send(...frames)
  const code = await client.closeCode()
  client.socket.end()
  await client.closed
  return [...messages(client.frames), `closed ${code}`]
}

/**
 * Messages and control frames, each as one line. Legal differences are taken out: how a message is cut into frames, whether it is
 * compressed, and where control frames stand between the fragments of a message (RFC 6455, 5.4, lets an intermediary change
 * the first and RFC 7692 negotiates the second with each side).
 */
function messages(frames: Frame[]): string[] {
  const lines: string[] = []
  let kind = 0
  let isCompressed = false
  let parts: Buffer[] = []
  for (const one of frames) {
    if (one.opcode >= 8) {
      lines.push(`${one.opcode} ${one.payload.toString('hex')}`)
      continue
    }
    if (one.opcode !== 0) {
      kind = one.opcode
      isCompressed = one.rsv === 4
      parts = []
    }
    parts.push(one.payload)
    if (!one.fin) continue
    const whole = isCompressed ? inflated(Buffer.concat(parts)) : Buffer.concat(parts)
    lines.push(`${kind} ${whole.length} ${whole.subarray(0, 60).toString('hex')} ${sum(whole)}`)
  }
  return lines
}

function sum(bytes: Buffer): number {
  let total = 0
  for (const byte of bytes) total = (total * 31 + byte) | 0
  return total
}

function split(bytes: Buffer, size: number): Buffer[] {
  const parts: Buffer[] = []
  for (let at = 0; at < bytes.length; at += size) parts.push(bytes.subarray(at, at + size))
  return parts
}
