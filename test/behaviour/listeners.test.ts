import { once } from 'node:events'
import { type ClientHttp2Session, connect, constants, type IncomingHttpHeaders } from 'node:http2'
import { request as requestHttps } from 'node:https'
import { connect as connectTcp } from 'node:net'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { authority } from '../fixtures/certificates.ts'
import { socketUpstream } from '../fixtures/web-sockets.ts'
import { buildGateway, echo, upstream } from '../helper.ts'

interface Answer {
  status: number
  headers: IncomingHttpHeaders
  body: string
}

async function ask(
  session: ClientHttp2Session,
  headers: Record<string, string>,
  body: string | null = null
): Promise<Answer> {
  const stream = session.request(headers, { endStream: body === null })
  if (body !== null) stream.end(body)
  const [got] = (await once(stream, 'response')) as [IncomingHttpHeaders & { ':status': number }]
  let text = ''
  for await (const chunk of stream.setEncoding('utf8')) text += chunk
  return { status: got[':status'], headers: got, body: text }
}

function session(t: Test, origin: string, options = {}): ClientHttp2Session {
  const client = connect(origin, options)
  client.on('error', () => undefined)
  t.teardown(() => client.destroy())
  return client
}

function config(url: string, listeners: string, more = ''): string {
  return `listeners:
  ${listeners}
  admin: { host: 127.0.0.1, port: 0 }
upstreams: { backend: { url: "${url}" } }
plugins: [access-log, metrics]
routes:
  open: { match: { path: /open/* }, public: true, upstream: backend }
  small: { match: { path: /small }, public: true, upstream: backend, maxBody: 1Ki }
${more}`
}

const all = `http: { host: 127.0.0.1, port: 0 }
  h2c: { host: 127.0.0.1, port: 0 }
  https: { host: 127.0.0.1, port: 0, tls: { cert: { file: CERT }, key: { file: KEY } } }`

async function everywhere(t: Test, url: string) {
  const root = await authority(t)
  const leaf = await root.leaf({ names: ['DNS:localhost', 'IP:127.0.0.1'] })
  const yaml = config(url, all.replace('CERT', leaf.certPath).replace('KEY', leaf.keyPath))
  const running = await buildGateway(t, yaml)
  const { http, h2c, https } = running.gateway.addresses as { http: string; h2c: string; https: string }
  return { running, http, h2c, https, ca: root.cert }
}

t.test('one table of routes answers HTTP/1.1 and HTTP/2, in the clear and over TLS', async t => {
  const { url } = await echo(t)
  const { running, http, h2c, https, ca } = await everywhere(t, url)
  const seen: { headers: Record<string, string>; body: string }[] = []

  const plain = await fetch(`${http}/open/a?b=1`, { method: 'POST', body: 'hello' })
  seen.push((await plain.json()) as (typeof seen)[number])

  for (const client of [session(t, h2c), session(t, https, { ca })]) {
    const answer = await ask(client, { ':path': '/open/a?b=1', ':method': 'POST' }, 'hello')
    t.equal(answer.status, 200)
    t.notOk(answer.headers.connection)
    seen.push(JSON.parse(answer.body))
    t.equal((await ask(client, { ':path': '/nowhere' })).status, 404)
  }

  const secure = requestHttps(`${https}/open/a?b=1`, { ca, method: 'POST', agent: false })
  secure.end('hello')
  const [response] = await once(secure, 'response')
  let text = ''
  for await (const chunk of response.setEncoding('utf8')) text += chunk
  seen.push(JSON.parse(text))

  t.same(
    seen.map(({ headers, body }) => [headers['x-forwarded-proto'], headers['x-forwarded-for'], body]),
    [
      ['http', '127.0.0.1', 'hello'],
      ['http', '127.0.0.1', 'hello'],
      ['https', '127.0.0.1', 'hello'],
      ['https', '127.0.0.1', 'hello']
    ]
  )
  for (const [i, origin] of [http, h2c, https, https].entries()) {
    t.equal(seen[i]?.headers['x-forwarded-host'], new URL(origin).host)
    t.equal(seen[i]?.headers['x-forwarded-port'], new URL(origin).port)
    t.notOk(Object.keys(seen[i]?.headers ?? {}).some(name => name.startsWith(':')))
  }
  const series = 'sallyport_requests_total{route="open",protocol="http",method="POST",code="200"}'
  t.equal(await running.metric(series), 4)
  t.equal(await running.metric('sallyport_requests_in_flight{route="open"}'), 0)
})

t.test(
  'a body that is too large on HTTP/2 is refused, announced or not, and its client told to stop',
  async t => {
    const { url } = await echo(t)
    const { running, h2c } = await everywhere(t, url)
    const client = session(t, h2c)
    const announced = await ask(
      client,
      { ':path': '/small', ':method': 'POST', 'content-length': '1025' },
      'x'.repeat(1025)
    )
    t.equal(announced.status, 413)

    const stream = client.request({ ':path': '/small', ':method': 'POST' })
    const closed = once(stream, 'close')
    stream.on('error', () => undefined).resume()
    stream.write('x'.repeat(1025))
    const [head] = await once(stream, 'response')
    t.equal(head[':status'], 413)
    await closed
    t.equal(stream.rstCode, constants.NGHTTP2_NO_ERROR)
    t.equal((await ask(client, { ':path': '/open/a' })).status, 200, 'the connection stays')
    t.equal(await running.metric('sallyport_requests_in_flight{route="small"}'), 0)
  }
)

t.test('an upstream that breaks off in the middle is a broken stream on HTTP/2', async t => {
  const { url } = await upstream(t, (_request, response) => {
    response.writeHead(200, { 'content-length': 100 })
    response.write('half', () => response.socket?.destroy())
  })
  const { h2c } = await everywhere(t, url)
  const stream = session(t, h2c).request({ ':path': '/open/a' })
  const [error] = (await once(stream.resume(), 'error')) as [NodeJS.ErrnoException]
  t.equal(error.code, 'ERR_HTTP2_STREAM_ERROR')
  t.equal(stream.rstCode, constants.NGHTTP2_INTERNAL_ERROR)
})

t.test('a client that resets its stream cancels the call to the upstream', async t => {
  const { promise: arrived, resolve: arrive } = Promise.withResolvers<void>()
  const { promise: gone, resolve: leave } = Promise.withResolvers<void>()
  const { url } = await upstream(t, (_request, response) => {
    response.on('close', () => leave())
    arrive()
  })
  const { running, h2c } = await everywhere(t, url)
  const stream = session(t, h2c).request({ ':path': '/open/a' })
  stream.on('error', () => undefined)
  await arrived
  stream.close(constants.NGHTTP2_CANCEL)
  await gone
  const series = 'sallyport_requests_total{route="open",protocol="http",method="GET",code="499"}'
  t.equal(await running.metric(series), 1)
})

t.test('a drain sends GOAWAY, lets streams end and closes', async t => {
  const { promise: arrived, resolve: arrive } = Promise.withResolvers<() => void>()
  const { url } = await upstream(t, (_request, response) => arrive(() => response.end('late')))
  const root = await authority(t)
  const leaf = await root.leaf({ names: ['IP:127.0.0.1'] })
  const yaml = config(
    url,
    all.replace('CERT', leaf.certPath).replace('KEY', leaf.keyPath),
    'limits: { drainDelay: 0s, drainTimeout: 30s, overload: { eventLoopLag: 60s } }\n'
  )
  const { gateway } = await buildGateway(t, yaml)
  const client = session(t, gateway.addresses.https as string, { ca: root.cert })
  const answer = ask(client, { ':path': '/open/a' })
  const goaway = once(client, 'goaway')
  const finish = await arrived
  const drained = gateway.drain()
  t.equal((await goaway)[0], constants.NGHTTP2_NO_ERROR)
  finish()
  t.equal((await answer).body, 'late')
  t.equal(await drained, true)
})

t.test('a stream that does not end is cut at the drain deadline', async t => {
  const { promise: arrived, resolve: arrive } = Promise.withResolvers<void>()
  const { url } = await upstream(t, () => arrive())
  const limits = 'limits: { drainDelay: 0s, drainTimeout: 50ms, overload: { eventLoopLag: 60s } }\n'
  const running = await buildGateway(t, config(url, 'h2c: { host: 127.0.0.1, port: 0 }', limits))
  const stream = session(t, running.gateway.addresses.h2c as string).request({ ':path': '/open/a' })
  stream.on('error', () => undefined)
  const closed = once(stream, 'close')
  await arrived
  t.equal(await running.gateway.drain(), false)
  await closed
  const line = running.lines.find(one => one.msg === 'request')
  t.equal(line?.reason, 'gateway.draining')
})

t.test('`maxConnections` counts all listeners together', async t => {
  const { url } = await echo(t)
  const listeners = 'http: { host: 127.0.0.1, port: 0 }\n  h2c: { host: 127.0.0.1, port: 0 }'
  const limits = 'limits: { maxConnections: 2, overload: { eventLoopLag: 60s } }\n'
  const { gateway } = await buildGateway(t, config(url, listeners, limits))
  const { http, h2c } = gateway.addresses as { http: string; h2c: string }
  const first = connectTcp(Number(new URL(http).port), '127.0.0.1')
  const second = session(t, h2c)
  t.teardown(() => first.destroy())
  await Promise.all([once(first, 'connect'), once(second, 'remoteSettings')])
  const third = connectTcp(Number(new URL(h2c).port), '127.0.0.1')
  await once(third, 'close')
  t.equal((await ask(second, { ':path': '/open/a' })).status, 200)
})

t.test('a gateway with nothing but TLS starts, serves HTTP/1.1 and stops', async t => {
  const { url } = await echo(t)
  const root = await authority(t)
  const leaf = await root.leaf({ names: ['IP:127.0.0.1'] })
  const https = `https: { host: 127.0.0.1, port: 0, tls: { cert: { file: ${leaf.certPath} }, key: { file: ${leaf.keyPath} } } }`
  const { gateway } = await buildGateway(t, config(url, https))
  t.equal(gateway.addresses.http, null)
  const request = requestHttps(`${gateway.addresses.https}/open/a`, { ca: root.cert, agent: false }).end()
  const [response] = await once(request, 'response')
  t.equal(response.statusCode, 200)
  response.resume()
  await once(response, 'end')
  await gateway.drain()
})

t.test('a WebSocket runs over the TLS of the gateway, and a drain closes it with 1001', async t => {
  const { url } = await socketUpstream(t)
  const root = await authority(t)
  const leaf = await root.leaf({ names: ['IP:127.0.0.1'] })
  const { gateway } = await buildGateway(
    t,
    `listeners:
  https: { host: 127.0.0.1, port: 0, tls: { cert: { file: ${leaf.certPath} }, key: { file: ${leaf.keyPath} } } }
  admin: { host: 127.0.0.1, port: 0 }
upstreams: { backend: { url: "${url}" } }
limits: { drainDelay: 0s, drainTimeout: 30s, overload: { eventLoopLag: 60s } }
routes: { live: { match: { path: /live, protocol: websocket }, public: true, upstream: backend } }
`
  )
  const origin = (gateway.addresses.https as string).replace('https', 'wss')
  const client = new WebSocket(`${origin}/live`, { ca: root.cert })
  t.teardown(() => client.terminate())
  await once(client, 'open')
  client.send('hello')
  const [message] = await once(client, 'message')
  t.equal(String(message), 'hello')
  const closed = once(client, 'close')
  t.equal(await gateway.drain(), true)
  t.equal((await closed)[0], 1001)
})
