import fc from 'fast-check'
import t, { type Test } from 'tap'
import { heldBytes } from '../../src/body/allowance.ts'
import { echoUpstream } from '../fixtures/echo.ts'
import { proxying } from '../fixtures/proxying.ts'
import { rawClient } from '../fixtures/raw.ts'

const uses = `{ authorize: { body: { maxSize: 4Ki }, allow: 'request.body.amount < 1000' } }`

interface Row {
  readonly what: string
  /** The bytes of the body; texts are latin1. */
  readonly body: string | Buffer
  readonly type?: string
  /** Further header lines. */
  readonly fields?: string
  readonly status: number
  readonly reason: string | null
}

function row(what: string, body: string | Buffer, status: number, reason: string | null): Row {
  return { what, body, status, reason }
}

function malformed(what: string, body: string | Buffer): Row {
  return row(what, body, 400, 'request.malformed')
}

function typed(what: string, type: string, status: number): Row {
  const reason = status === 415 ? 'protocol.content_type' : null
  return { what, body: '{"amount":1}', type, status, reason }
}

const nested = (depth: number) => `{"amount":1,"a":${'['.repeat(depth - 1)}${']'.repeat(depth - 1)}}`

const rows: readonly Row[] = [
  row('plain', '{"amount":1}', 200, null),
  row('with space around everything', ' \r\n\t{ "amount" \n:\t1 } \n', 200, null),
  row('escaped name', '{"\\u0061mount":1}', 200, null),
  row('as deep as may be', nested(32), 200, null),
  row('too much', '{"amount":1000}', 403, 'policy.denied'),
  row('not a number', '{"amount":"1"}', 403, 'policy.error'),
  row('null', 'null', 403, 'policy.error'),
  row('a list', '[{"amount":1}]', 403, 'policy.error'),
  row('a text', '"amount"', 403, 'policy.error'),
  row('amount of the prototype', '{"constructor":{"amount":1}}', 403, 'policy.error'),
  row('the name in another case', '{"AMOUNT":1}', 403, 'policy.error'),
  row('amount is a list', '{"amount":[1]}', 403, 'policy.error'),
  row('amount is missing', '{}', 403, 'policy.error'),
  malformed('twice, the good one last', '{"amount":1000,"amount":1}'),
  malformed('twice, the good one first', '{"amount":1,"amount":1000}'),
  malformed('twice, one of them escaped', '{"amount":1,"\\u0061mount":1000}'),
  malformed('twice in another object', '{"amount":1,"items":[{"a":1,"a":2}]}'),
  malformed('twice but for the case', '{"amount":1,"Amount":1000}'),
  malformed('twice but for the Kelvin sign', '{"amount":1,"k":1,"\\u212a":2}'),
  malformed('twice, one of them NUL-ended', '{"amount":1,"amount\\u0000":1000}'),
  malformed('twice, one with half a surrogate', '{"amount":1,"amount\\ud800":1000}'),
  malformed('half a surrogate in a value', '{"amount":1,"note":"\\udead"}'),
  malformed('NUL in a value', '{"amount":1,"user":"root\\u0000"}'),
  malformed('a raw NUL', '{"amount":1}\0'),
  malformed('__proto__', '{"__proto__":{"amount":1}}'),
  malformed('__proto__ below', '{"amount":1,"a":{"__proto__":1}}'),
  malformed('BOM of UTF-8', '\xef\xbb\xbf{"amount":1}'),
  malformed('UTF-16', Buffer.from('{"amount":1}', 'utf16le')),
  malformed('UTF-16 with BOM', Buffer.from('\ufeff{"amount":1}', 'utf16le')),
  malformed('invalid UTF-8', '{"amount":1,"a":"\xff"}'),
  malformed('overlong UTF-8', '{"amount":1,"a":"\xc0\xaf"}'),
  malformed('a surrogate in UTF-8', '{"amount":1,"a":"\xed\xa0\x80"}'),
  malformed('latin1', '{"amount":1,"a":"\xe4"}'),
  malformed('UTF-8 that is cut off', '{"amount":1,"a":"\xe2\x82"}'),
  malformed('a number beyond a double', '{"amount":1,"id":9007199254740993}'),
  malformed('a number that is rounded to the limit', '{"amount":999.99999999999999999}'),
  malformed('infinity', '{"amount":-1e999}'),
  malformed('too small to be', '{"amount":1e-999}'),
  malformed('a number with a plus', '{"amount":+1}'),
  malformed('a number with a zero before', '{"amount":01}'),
  malformed('a hexadecimal number', '{"amount":0x1}'),
  malformed('NaN', '{"amount":NaN}'),
  malformed('no digit behind the point', '{"amount":1.}'),
  malformed('behind it', '{"amount":1}{"amount":1000}'),
  malformed('behind it a comma', '{"amount":1},'),
  malformed('two lines of JSON', '{"amount":1}\n{"amount":1000}'),
  malformed('a comma too much', '{"amount":1,}'),
  malformed('a comment', '{"amount":1/*,"amount":1000*/}'),
  malformed('a comment to the end of the line', '{"amount":1} // "amount":1000'),
  malformed('single quotes', "{'amount':1}"),
  malformed('no quotes', '{amount:1}'),
  malformed('a line break in a text', '{"amount":1,"a":"\n"}'),
  malformed('an unknown escape', '{"amount":1,"a":"\\x41"}'),
  malformed('unclosed', '{"amount":1'),
  malformed('a text that is unclosed', '{"amount":1,"a":"'),
  malformed('too deep', nested(33)),
  malformed('very deep', `{"amount":1,"a":${'['.repeat(4000)}`),
  malformed('a guard of JSON', ')]}\',\n{"amount":1}'),
  malformed('nothing but space', '  '),
  malformed('a form', 'amount=1'),
  row('larger than may be', `{"amount":1,"a":"${'x'.repeat(4096)}"}`, 413, 'protocol.size'),
  typed('parameter charset', 'application/json; charset=utf-8', 200),
  typed('parameter charset in quotes and capitals', 'Application/JSON;Charset="UTF-8"', 200),
  typed('another parameter', 'application/json; version=2', 200),
  typed('a type with +json', 'application/vnd.shop.v1+json', 200),
  typed('utf-16', 'application/json; charset=utf-16', 415),
  typed('latin1', 'application/json; charset=iso-8859-1', 415),
  typed('UTF-7', 'application/json; charset=utf-7', 415),
  typed('two charsets', 'application/json; charset=utf-8; charset=utf-16', 415),
  typed('a charset hidden in quotes', 'application/json; a="; charset=utf-8"; charset=utf-16', 415),
  typed('a form', 'application/x-www-form-urlencoded', 415),
  typed('text', 'text/plain', 415),
  typed('text/json', 'text/json', 415),
  typed('two types', 'application/json, text/plain', 415),
  typed('only begins so', 'application/jsonp', 415),
  typed('JSON lines', 'application/json-seq', 415),
  typed('an unclosed quote', 'application/json; charset="utf-8', 415),
  typed('an empty type', '', 415),
  { ...typed('gzip', 'application/json', 415), fields: 'content-encoding: gzip\r\n' },
  { ...typed('identity', 'application/json', 415), fields: 'content-encoding: identity\r\n' }
]

function head({ type = 'application/json', fields = '' }: Row): string {
  return `POST /orders HTTP/1.1\r\nhost: a\r\ncontent-type: ${type}\r\n${fields}`
}

function framed(body: Buffer, isChunked: boolean): Buffer {
  if (!isChunked) return Buffer.concat([Buffer.from(`content-length: ${body.length}\r\n\r\n`), body])
  const pieces = [...body].map(byte => Buffer.from([0x31, 0x0d, 0x0a, byte, 0x0d, 0x0a]))
  return Buffer.concat([
    Buffer.from('transfer-encoding: chunked\r\n\r\n'),
    ...pieces,
    Buffer.from('0\r\n\r\n')
  ])
}

async function deciding(t: Test, mode: 'enforce' | 'shadow') {
  const echo = await echoUpstream(t)
  const options = uses.replace('{ body', `{ mode: ${mode}, body`)
  return { ...(await proxying(t, echo.url, { uses: options })), echo }
}

async function send(port: number, bytes: Buffer): Promise<{ status: number; reason: string | null }> {
  const client = rawClient(null, port)
  client.send(bytes)
  const { status, body } = await client.next()
  client.destroy()
  return { status, reason: status < 400 ? null : (JSON.parse(body) as { reason: string }).reason }
}

/** Every row, with a length and byte by byte: what the client is told, and what of it the upstream got. */
async function* sendAll({ port, echo }: Awaited<ReturnType<typeof deciding>>) {
  for (const one of rows) {
    const body = Buffer.isBuffer(one.body) ? one.body : Buffer.from(one.body, 'latin1')
    for (const isChunked of [false, true]) {
      const before = echo.requests.length
      const answer = await send(port, Buffer.concat([Buffer.from(head(one)), framed(body, isChunked)]))
      yield { one, body, answer, reached: echo.requests.slice(before) }
    }
  }
}

function withoutFraming(body: string): string {
  let rest = body
  let text = ''
  for (let end = rest.indexOf('\r\n'); end > 0; end = rest.indexOf('\r\n')) {
    const size = Number.parseInt(rest.slice(0, end), 16)
    text += rest.slice(end + 2, end + 2 + size)
    rest = rest.slice(end + 4 + size)
  }
  return text
}

t.test(`${rows.length} bodies, with a length and byte by byte`, async t => {
  const running = await deciding(t, 'enforce')
  for await (const { one, body, answer, reached } of sendAll(running)) {
    t.same(answer, { status: one.status, reason: one.reason }, one.what)
    const bodies = reached.map(request => request.body)
    t.same(bodies, one.status === 200 ? [body.toString('latin1')] : [], `${one.what}: what got through`)
  }
  t.equal(heldBytes(), 0)
})

t.test('in shadow mode each of them passes, byte for byte, and is counted for the same reason', async t => {
  const running = await deciding(t, 'shadow')
  const counted = new Map<string, number>()
  for await (const { one, body, answer, reached } of sendAll(running)) {
    t.same(answer, { status: 200, reason: null }, one.what)
    const [first] = reached
    const isFramed = /transfer-encoding: chunked/i.test(first!.head)
    const text = isFramed ? withoutFraming(first!.body) : first!.body
    t.equal(text, body.toString('latin1'), `${one.what}: what got through`)
    if (one.reason !== null) counted.set(one.reason, (counted.get(one.reason) ?? 0) + 1)
  }
  for (const [reason, times] of counted) {
    const series = `sallyport_decisions_total{route="all",plugin="authorize",verdict="shadow",reason="${reason}"}`
    t.equal(await running.metric(series), times, reason)
  }
  t.equal(heldBytes(), 0)
})

t.test('whatever is sent in whatever pieces, the upstream gets the same bytes or nothing', async t => {
  const enforcing = await deciding(t, 'enforce')
  const shadowing = await deciding(t, 'shadow')
  const json = fc
    .record({ amount: fc.integer({ min: 0, max: 2000 }), more: fc.jsonValue({ maxDepth: 3 }) })
    .map(value => Buffer.from(JSON.stringify(value)))
  const bytes = fc.uint8Array({ minLength: 1, maxLength: 6000 }).map(Buffer.from)
  const cuts = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 12 })
  const asked = fc.record({ body: fc.oneof(json, bytes), cuts, writes: cuts, isChunked: fc.boolean() })
  const property = fc.asyncProperty(asked, async ({ body, cuts, writes, isChunked }) => {
    const pieces = split(body, cuts).map(piece =>
      isChunked ? Buffer.concat([Buffer.from(`${piece.length.toString(16)}\r\n`), piece, crlf]) : piece
    )
    const end = isChunked ? '0\r\n\r\n' : ''
    const framing = isChunked ? 'transfer-encoding: chunked' : `content-length: ${body.length}`
    const start = `POST / HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n${framing}\r\n\r\n`
    const all = Buffer.concat([Buffer.from(start), ...pieces, Buffer.from(end)])
    for (const running of [enforcing, shadowing]) {
      const before = running.echo.requests.length
      const client = rawClient(null, running.port)
      for (const part of split(all, writes)) {
        client.send(part)
        await new Promise(setImmediate)
      }
      const { status } = await client.next()
      client.destroy()
      const got = running.echo.requests
        .slice(before)
        .map(({ head, body }) => (/transfer-encoding/i.test(head) ? withoutFraming(body) : body))
      const wanted = status === 200 ? [body.toString('latin1')] : []
      if (JSON.stringify(got) !== JSON.stringify(wanted)) throw new Error(`${status}: ${got.length} other`)
      if (running === shadowing && status !== 200) throw new Error(`shadow refuses with ${status}`)
    }
  })
  await fc.assert(property, { numRuns: 300, endOnFailure: true })
  const passed = enforcing.echo.requests.length
  t.ok(passed > 20 && passed < 280, `${passed} of 300 passed`)
})

const crlf = Buffer.from('\r\n')

function split(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const places = [0, ...cuts.map(cut => Math.floor(cut * bytes.length)).sort((a, b) => a - b), bytes.length]
  return places
    .slice(1)
    .map((end, at) => bytes.subarray(places[at], end))
    .filter(piece => piece.length > 0)
}
