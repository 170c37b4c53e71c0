import { once } from 'node:events'
import { request } from 'node:http'
import { connect } from 'node:http2'
import t from 'tap'
import { callsGateway } from '../fixtures/grpc/calls-gateway.ts'
import { quiet } from '../fixtures/grpc/gateway.ts'
import { message } from '../fixtures/grpc/message.ts'
import { rawUpstream, type SeenCall, sleep, succeed } from '../fixtures/grpc/raw-upstream.ts'
import { readWeb, type WebMode, webCall } from '../fixtures/grpc/web-call.ts'
import { rawClient } from '../fixtures/raw.ts'

const method = '/shop.v1.Orders/Get'
const modes: readonly WebMode[] = ['web', 'web-text']
const web = { route: 'grpcWeb: true' }

/** Each message comes back, with what the upstream saw of the call in the trailers. */
async function echoMessages(seen: SeenCall): Promise<void> {
  seen.respond({ 'x-initial': 'one' })
  const body = await seen.body()
  seen.finish(
    {
      'x-type': String(seen.headers['content-type']),
      'grpc-status-details-bin': 'AAEC',
      'grpc-message': 'fine'
    },
    body
  )
}

t.test('a call of a browser is a call of gRPC to the upstream, in both modes', async t => {
  const upstream = await rawUpstream(t, echoMessages)
  const gateway = await callsGateway(t, upstream.url, web)
  for (const mode of modes) {
    for (const messages of [['a'], ['ab'], ['abc'], ['', 'x'.repeat(100_000), 'y']]) {
      const answer = await webCall(`${gateway.url}${method}`, mode, messages)
      t.equal(answer.status, 200)
      t.equal(answer.headers.get('content-type'), `application/grpc-${mode}+proto`)
      t.equal(answer.headers.get('x-initial'), 'one')
      t.equal(answer.headers.get('grpc-status'), null)
      t.same(answer.messages, messages)
      t.match(answer.trailers, {
        'grpc-status': '0',
        'grpc-message': 'fine',
        'grpc-status-details-bin': 'AAEC',
        'x-type': 'application/grpc+proto'
      })
    }
    const seen = upstream.calls.at(-1)?.headers
    t.equal(seen?.te, 'trailers')
    t.equal(seen?.['content-length'], undefined)
  }
  const bytes = await fetch(`${gateway.url}${method}`, {
    method: 'POST',
    headers: { 'content-type': 'application/grpc-web+json' },
    body: new Uint8Array(message('{}'))
  })
  t.equal(bytes.headers.get('content-type'), 'application/grpc-web+proto', "the upstream's encoding")
  t.equal(upstream.calls.at(-1)?.headers['content-type'], 'application/grpc+json')
  await quiet(gateway, 'calls')
})

t.test('an answer without messages is its headers', async t => {
  const upstream = await rawUpstream(t, seen =>
    seen.trailersOnly({
      'grpc-status': '5',
      'grpc-message': 'no such order',
      'grpc-status-details-bin': 'AAEC'
    })
  )
  const gateway = await callsGateway(t, upstream.url, web)
  for (const mode of modes) {
    const answer = await webCall(`${gateway.url}${method}`, mode, ['a'])
    t.equal(answer.status, 200)
    t.equal(answer.headers.get('grpc-status'), '5')
    t.equal(answer.headers.get('grpc-message'), 'no such order')
    t.equal(answer.headers.get('grpc-status-details-bin'), 'AAEC')
    t.same(answer.messages, [])
    t.same(answer.trailers, {})
  }
  t.equal((await gateway.recorder.ended(2)).at(-1)?.grpcStatus, 5)
})

t.test('a refusal is in the words of gRPC-Web', async t => {
  const upstream = await rawUpstream(t, succeed)
  const gateway = await callsGateway(t, upstream.url, {
    ...web,
    uses: '{ protocol: { rpcs: [shop.v1.Orders/List], maxMessage: 1Ki } }'
  })
  for (const mode of modes) {
    const other = await webCall(`${gateway.url}${method}`, mode, ['a'])
    t.equal(other.status, 200)
    t.equal(other.headers.get('content-type'), `application/grpc-${mode}+proto`)
    t.equal(other.headers.get('grpc-status'), '12')
    const large = await webCall(`${gateway.url}/shop.v1.Orders/List`, mode, ['x'.repeat(1025)])
    t.equal(large.headers.get('grpc-status'), '8')
    const fits = await webCall(`${gateway.url}/shop.v1.Orders/List`, mode, [
      'x'.repeat(1024),
      'x'.repeat(1024)
    ])
    t.equal(fits.trailers['grpc-status'], '0', 'each of them, not all together')
    const form = await webCall(`${gateway.url}/shop.v1.Orders/List`, mode, ['x'], { 'grpc-timeout': 'soon' })
    t.equal(form.headers.get('grpc-status'), '13')
  }
  await quiet(gateway, 'calls')
})

t.test('a route takes it only where it says so', async t => {
  const upstream = await rawUpstream(t, succeed)
  const gateway = await callsGateway(t, upstream.url)
  for (const mode of modes) {
    const answer = await webCall(`${gateway.url}${method}`, mode, ['a'])
    t.equal(answer.headers.get('grpc-status'), '13')
    t.match(answer.headers.get('grpc-message'), 'protocol.content_type')
  }
  const plain = await fetch(`${gateway.url}${method}`, {
    method: 'POST',
    headers: { 'content-type': 'application/grpc' },
    body: new Uint8Array(message('a'))
  })
  t.equal(plain.status, 505, 'gRPC itself never comes over HTTP/1')
  t.match(await plain.json(), { reason: 'request.malformed' })
  t.equal(upstream.calls.length, 0)
  await quiet(gateway, 'calls')
})

t.test('base64 in pieces, and what is none', async t => {
  const upstream = await rawUpstream(t, echoMessages)
  const gateway = await callsGateway(t, upstream.url, web)

  async function send(pieces: readonly string[]) {
    const call = request(`${gateway.url}${method}`, {
      method: 'POST',
      headers: { 'content-type': 'application/grpc-web-text' }
    })
    const answered = once(call, 'response')
    for (const piece of pieces) await new Promise<void>(sent => call.write(piece, () => sent()))
    call.end()
    const [answer] = await answered
    const chunks: Buffer[] = []
    for await (const chunk of answer) chunks.push(chunk)
    const read = readWeb(Buffer.concat(chunks), 'web-text')
    return { ...read, code: answer.headers['grpc-status'] ?? read.trailers['grpc-status'] }
  }

  const text = Buffer.concat([message('hello'), message('you')]).toString('base64')
  t.same((await send([...text])).messages, ['hello', 'you'], 'one character at a time')
  const padded = message('hello!').toString('base64') + message('you').toString('base64')
  t.match(padded, /=[^=]/)
  t.same((await send([padded])).messages, ['hello!', 'you'], 'padding in the middle')
  t.same((await send([...padded])).messages, ['hello!', 'you'], 'and one character at a time')
  for (const bad of [
    'AAA',
    'A===',
    'AA=A',
    '====',
    'AAAA*AAA',
    'AAAA AAA',
    'AAAAAAA\r\n',
    'AA-_',
    'ä'.repeat(4)
  ]) {
    t.equal((await send([bad])).code, '13', JSON.stringify(bad))
  }
  await quiet(gateway, 'calls')
})

t.test('messages of a stream arrive one by one', async t => {
  const upstream = await rawUpstream(t, seen => {
    seen.stream.resume()
    seen.respond()
  })
  const gateway = await callsGateway(t, upstream.url, web)
  for (const mode of modes) {
    const bytes = message('')
    const answering = fetch(`${gateway.url}${method}`, {
      method: 'POST',
      headers: { 'content-type': `application/grpc-${mode}` },
      body: mode === 'web' ? new Uint8Array(bytes) : bytes.toString('base64')
    })
    const seen = await upstream.next()
    seen.stream.write('')
    const answer = await answering
    t.equal(answer.status, 200, 'the head comes before any message')
    const reader = (answer.body as ReadableStream<Uint8Array>).getReader()
    for (const text of ['one', 'two', 'three']) {
      seen.stream.write(message(text))
      const { value } = await reader.read()
      t.same(readWeb(Buffer.from(value as Uint8Array), mode).messages, [text])
    }
    seen.finish({ 'grpc-status': '0' })
    let rest = Buffer.alloc(0)
    for (let part = await reader.read(); !part.done; part = await reader.read())
      rest = Buffer.concat([rest, part.value])
    t.equal(readWeb(rest, mode).trailers['grpc-status'], '0')
  }
  await quiet(gateway, 'calls')
})

t.test(
  'a browser that goes is heard by the upstream, and a deadline ends the stream with a last frame',
  async t => {
    const upstream = await rawUpstream(t, sleep)
    const gateway = await callsGateway(t, upstream.url, web)
    const abort = new AbortController()
    const gone = fetch(`${gateway.url}${method}`, {
      method: 'POST',
      headers: { 'content-type': 'application/grpc-web' },
      body: new Uint8Array(message('a')),
      signal: abort.signal
    })
    const seen = await upstream.next()
    abort.abort()
    await t.rejects(gone)
    t.equal(await seen.closed, 8)
    const late = await webCall(`${gateway.url}${method}`, 'web', ['a'], { 'grpc-timeout': '50m' })
    t.equal(late.headers.get('grpc-status'), '4')
    t.match(
      (await gateway.recorder.ended(2)).map(outcome => outcome.reason),
      ['client.aborted', 'client.deadline']
    )
    await quiet(gateway, 'calls')
  }
)

t.test('over HTTP/2 as well', async t => {
  const upstream = await rawUpstream(t, echoMessages)
  const gateway = await callsGateway(t, upstream.url, web)
  const session = connect(`http://127.0.0.1:${gateway.h2c.port}`)
  t.teardown(() => session.destroy())
  for (const mode of modes) {
    const call = session.request({
      ':method': 'POST',
      ':path': method,
      'content-type': `application/grpc-${mode}`
    })
    const body = message('hello')
    call.end(mode === 'web' ? body : body.toString('base64'))
    const [headers] = await once(call, 'response')
    t.equal(headers['content-type'], `application/grpc-${mode}+proto`)
    const chunks: Buffer[] = []
    for await (const chunk of call) chunks.push(chunk)
    t.match(readWeb(Buffer.concat(chunks), mode), { messages: ['hello'], trailers: { 'grpc-status': '0' } })
  }
  await quiet(gateway, 'calls')
})

t.test('a page of another site may call and read how it ended, where cors lets it', async t => {
  const upstream = await rawUpstream(t, seen => seen.trailersOnly({ 'grpc-status': '5' }))
  const origin = 'https://shop.example'
  const gateway = await callsGateway(t, upstream.url, {
    ...web,
    uses: `{ cors: { origins: ["${origin}"], exposeHeaders: [x-initial] } }, { protocol: { rpcs: [shop.v1.Orders/Get] } }`
  })
  const preflight = await fetch(`${gateway.url}${method}`, {
    method: 'OPTIONS',
    headers: {
      origin,
      'access-control-request-method': 'POST',
      'access-control-request-headers': 'content-type,x-grpc-web,x-user-agent'
    }
  })
  t.equal(preflight.status, 204)
  t.equal(preflight.headers.get('access-control-allow-origin'), origin)
  t.equal(preflight.headers.get('access-control-allow-headers'), 'content-type,x-grpc-web,x-user-agent')
  for (const [path, status] of [
    [method, '5'],
    ['/shop.v1.Orders/Delete', '12']
  ] as const) {
    const answer = await webCall(`${gateway.url}${path}`, 'web', ['a'], { origin })
    t.equal(answer.headers.get('grpc-status'), status)
    t.equal(answer.headers.get('access-control-allow-origin'), origin)
    t.equal(
      answer.headers.get('access-control-expose-headers'),
      'x-initial, grpc-status, grpc-message, grpc-status-details-bin'
    )
  }
  t.equal(upstream.calls.length, 1)
})

t.test('the connection of HTTP/1 goes on after a call, and after a refusal', async t => {
  const upstream = await rawUpstream(t, succeed)
  const gateway = await callsGateway(t, upstream.url, web)
  const client = rawClient(t, gateway.port)
  const body = message('a').toString('latin1')
  const head = `POST ${method} HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc-web\r\ncontent-length: ${body.length}\r\n`
  for (const more of ['', 'grpc-timeout: x\r\n', '']) {
    client.send(`${head}${more}\r\n${body}`)
    t.equal((await client.next()).status, 200)
  }
  t.equal(upstream.calls.length, 2)
})
