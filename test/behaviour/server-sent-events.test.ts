import { once } from 'node:events'
import type { RequestListener, ServerResponse } from 'node:http'
import { constants } from 'node:http2'
import { brotliCompressSync, createBrotliCompress, createGzip, gzipSync, constants as zlib } from 'node:zlib'
import t, { type Test } from 'tap'
import { authority } from '../fixtures/certificates.ts'
import { browse, skipWithoutBrowser } from '../fixtures/chromium.ts'
import { arrivals, type EventClient, http1Client, http2Client, http2Upstream } from '../fixtures/events.ts'
import { type Proxying, plugin, proxying } from '../fixtures/proxying.ts'
import { settled } from '../fixtures/settled.ts'
import { upstream } from '../helper.ts'

interface Way {
  name: string
  client: EventClient
  /** Origin that the client asks. */
  origin(gateway: Proxying): string
  /** YAML of the listeners, when it is not `http` alone, and of the upstream. */
  listeners?(t: Test): string | Promise<string>
  more?: string
  /** Its client closes its connection, which says less than a stream that is reset. */
  leavesSilently: boolean
  serve(t: Test, handler: RequestListener): Promise<{ url: string }>
}

const ways: readonly Way[] = [
  {
    name: 'HTTP/1.1 to HTTP/1.1',
    client: http1Client,
    origin: gateway => gateway.url,
    leavesSilently: true,
    serve: upstream
  },
  {
    name: 'HTTP/1.1 to HTTP/2',
    client: http1Client,
    origin: gateway => gateway.url,
    leavesSilently: true,
    more: 'protocol: h2c',
    serve: http2Upstream
  },
  {
    name: 'HTTP/2 to HTTP/1.1',
    client: http2Client,
    origin: ({ gateway }) => gateway.addresses.h2c as string,
    listeners: () => listening('h2c: { host: 127.0.0.1, port: 0 }'),
    leavesSilently: false,
    serve: upstream
  },
  {
    name: 'HTTP/2 with TLS to HTTP/2',
    client: http2Client,
    origin: ({ gateway }) => gateway.addresses.https as string,
    listeners: listeningWithTls,
    leavesSilently: false,
    more: 'protocol: h2c',
    serve: http2Upstream
  }
]

function listening(listener: string): string {
  return `listeners:
  http: { host: 127.0.0.1, port: 0 }
  ${listener}
  admin: { host: 127.0.0.1, port: 0 }
`
}

async function listeningWithTls(t: Test): Promise<string> {
  const { certPath, keyPath } = await (await authority(t)).leaf({ names: ['IP:127.0.0.1'] })
  const tls = `tls: { cert: { file: ${certPath} }, key: { file: ${keyPath} } }`
  return listening(`https: { host: 127.0.0.1, port: 0, ${tls} }`)
}

type Added = Parameters<typeof proxying>[2] & { more?: string }

/** A gateway of this way, and what arrives behind it. */
async function begin(t: Test, way: Way, added: Added = {}) {
  const { take, next } = arrivals()
  const { url } = await way.serve(t, take)
  const more = [way.more, added.more].filter(Boolean).join(', ')
  const gateway = await proxying(t, url, {
    ...added,
    top: `${(await way.listeners?.(t)) ?? ''}${added.top ?? ''}`,
    ...(more === '' ? {} : { more })
  })

  async function open(
    headers: Record<string, string> = {},
    answer: Record<string, string> = {},
    first: Buffer | null = null
  ) {
    const asked = way.client(t, way.origin(gateway), '/events', { accept: 'text/event-stream', ...headers })
    const arrived = await next()
    arrived.response.writeHead(200, {
      'content-type': 'text/event-stream',
      'cache-control': 'no-cache, no-transform',
      ...answer
    })
    if (first === null) arrived.response.flushHeaders()
    else arrived.response.write(first)
    return { ...arrived, answer: await asked }
  }
  return { gateway, open }
}

for (const way of ways) {
  t.test(way.name, async t => {
    t.jobs = 6
    t.test('each event arrives before the next is sent', async t => {
      const { gateway, open } = await begin(t, way)
      const { headers, response, answer } = await open({ 'last-event-id': '41' })
      t.equal(headers['last-event-id'], '41', 'the upstream hears where to go on')
      t.equal(headers.accept, 'text/event-stream')
      t.match(answer, {
        status: 200,
        headers: { 'content-type': 'text/event-stream', 'cache-control': 'no-cache, no-transform' }
      })
      t.notOk('content-length' in answer.headers)
      for (let id = 42; id < 62; id++) {
        const event = `id: ${id}\ndata: {"price":${id}}\n\n`
        response.write(event)
        t.equal(String(await answer.next()), event)
      }
      response.end('data: last\n\n')
      t.equal(String(await answer.rest()), 'data: last\n\n')
      t.equal(await answer.ended, 'whole')
      t.match(await gateway.recorder.ended(1), [{ status: 200, reason: null }])
    })

    t.test('comments keep a stream alive that has nothing to say, for longer than the idle time', async t => {
      const { open } = await begin(t, way, { more: 'timeouts: { idle: 1s }' })
      const { response, answer } = await open()
      const begun = performance.now()
      const beat = setInterval(() => response.write(': ping\n\n'), 50)
      t.teardown(() => clearInterval(beat))
      while (performance.now() - begun < 2500) t.match(String(await answer.next()), ': ping\n\n')
      clearInterval(beat)
      response.end('data: after\n\n')
      t.match(String(await answer.rest()), /data: after\n\n$/)
      t.equal(await answer.ended, 'whole')
    })

    t.test('a stream that is silent for longer than the idle time is broken off', async t => {
      const { gateway, open } = await begin(t, way, { more: 'timeouts: { idle: 200ms }' })
      const { response, answer } = await open()
      response.write('data: one\n\n')
      t.equal(String(await answer.rest()), 'data: one\n\n')
      t.equal(await answer.ended, 'broken', 'an EventSource then comes back')
      t.match(await gateway.recorder.ended(1), [{ status: 200, reason: 'upstream.timeout' }])
    })

    for (const [coding, create] of [
      ['gzip', () => createGzip({ flush: zlib.Z_SYNC_FLUSH })],
      ['br', () => createBrotliCompress({ flush: zlib.BROTLI_OPERATION_FLUSH })]
    ] as const) {
      t.test(`events in ${coding} pass byte for byte, one by one`, async t => {
        const { open } = await begin(t, way)
        const { headers, response, answer } = await open(
          { 'accept-encoding': 'gzip, br' },
          { 'content-encoding': coding, vary: 'accept-encoding' }
        )
        t.equal(headers['accept-encoding'], 'gzip, br')
        t.match(answer.headers, { 'content-encoding': coding, vary: 'accept-encoding' })
        const encoder = create()
        for (let id = 0; id < 5; id++) {
          encoder.write(`data: ${id} and some more text for the compressor\n\n`)
          const [piece] = (await once(encoder, 'data')) as [Buffer]
          response.write(piece)
          t.ok(piece.equals(await answer.next()), `event ${id}`)
        }
        response.end()
        t.equal((await answer.rest()).length, 0)
      })
    }

    t.test('a compressed page passes byte for byte, with its length', async t => {
      const text = Buffer.alloc(200_000, 'Sallyport ')
      for (const [coding, body] of [
        ['gzip', gzipSync(text)],
        ['br', brotliCompressSync(text)]
      ] as const) {
        const { open } = await begin(t, way)
        const { response, answer } = await open(
          {},
          { 'content-type': 'text/html', 'content-encoding': coding, 'content-length': String(body.length) },
          // The head of an answer that has a length goes out with its first bytes.
          body.subarray(0, 100)
        )
        t.match(answer.headers, { 'content-encoding': coding, 'content-length': String(body.length) })
        response.end(body.subarray(100))
        t.ok(body.equals(await answer.rest()), coding)
      }
    })

    t.test('the upstream hears at once that the client has left', async t => {
      const { gateway, open } = await begin(t, way)
      const { response, answer } = await open()
      response.write('data: one\n\n')
      t.equal(String(await answer.next()), 'data: one\n\n')
      const closed = once(response, 'close')
      const left = performance.now()
      answer.leave()
      // A FIN may be a client that has closed its side only: the first event that it does not take tells the two apart.
      if (way.leavesSilently) go()
      await closed
      t.ok(performance.now() - left < 2000, 'within a moment')

      function go() {
        const beat = setInterval(() => response.write(': ping\n\n'), 50)
        response.once('close', () => clearInterval(beat))
      }
      t.match(await gateway.recorder.ended(1), [{ status: 200, reason: 'client.aborted' }])
    })

    t.test('a stream that the upstream breaks off inside an event is broken for the client', async t => {
      const { gateway, open } = await begin(t, way)
      const { response, answer } = await open()
      response.write('data: ha')
      t.equal(String(await answer.next()), 'data: ha')
      breakOff(response)
      t.equal(String(await answer.rest()), '', 'nothing that would look like its end')
      t.equal(await answer.ended, 'broken')
      t.match(await gateway.recorder.ended(1), [{ status: 200, reason: 'upstream.reset' }])
    })

    t.test('of a client that stops reading, at most 1 MiB waits in the gateway', async t => {
      const { open } = await begin(t, way, { uses: 'watch', files: { 'watch.mjs': watching } })
      const { response, answer } = await open()
      answer.stall()
      const piece = `data: ${'x'.repeat(16_000)}\n\n`
      const offered = 256 * 2 ** 20
      let sent = 0
      const offer = () => {
        while (sent < offered && !response.destroyed) {
          sent += piece.length
          if (!response.write(piece)) return void response.once('drain', offer)
        }
      }
      offer()
      await settled(() => sent)
      t.ok(sent < offered / 2, `the upstream waits after ${sent} bytes`)
      t.ok(held() > 0 && held() <= 2 ** 20, `${held()} bytes are held`)
      answer.leave()
      if (!response.destroyed) await once(response, 'close')
    })

    t.test('a drain lets an open stream go on until the deadline, and then breaks it off', async t => {
      const { gateway, open } = await begin(t, way, {
        top: 'limits: { drainDelay: 1ms, drainTimeout: 1s }\n'
      })
      const { response, answer } = await open()
      response.write('data: before\n\n')
      t.equal(String(await answer.next()), 'data: before\n\n')
      const drained = gateway.gateway.drain()
      response.write('data: meanwhile\n\n')
      t.equal(String(await answer.next()), 'data: meanwhile\n\n')
      t.equal(await drained, false, 'not everything could end')
      t.equal(await answer.ended, 'broken')
      t.match(await gateway.recorder.ended(1), [{ status: 200, reason: 'gateway.draining' }])
    })

    t.test('a stream that ends by itself during a drain is whole', async t => {
      const { gateway, open } = await begin(t, way, {
        top: 'limits: { drainDelay: 1ms, drainTimeout: 1m }\n'
      })
      const { response, answer } = await open()
      response.write('data: before\n\n')
      t.equal(String(await answer.next()), 'data: before\n\n')
      const drained = gateway.gateway.drain()
      response.end('data: last\n\n')
      t.equal(String(await answer.rest()), 'data: last\n\n')
      t.equal(await answer.ended, 'whole')
      t.equal(await drained, true)
    })
  })
}

const page = `<script>
  const [{ nextHopProtocol }] = performance.getEntriesByType('navigation')
  const events = new EventSource('/events')
  events.onmessage = event => fetch('/heard?' + nextHopProtocol + ' ' + event.lastEventId + '=' + event.data)
</script>`

// Browsers speak HTTP/2 with TLS only.
for (const [protocol, way] of [
  ['http/1.1', ways[0] as Way],
  ['h2', ways[3] as Way]
] as const) {
  t.test(
    `a browser's EventSource comes back with the number of its last event: ${way.name}`,
    { skip: skipWithoutBrowser },
    async t => {
      const streams = arrivals()
      const heard: string[] = []
      const { url } = await way.serve(t, (request, response) => {
        if (request.url === '/events') {
          streams.take(request, response)
          return
        }
        if (request.url?.startsWith('/heard?')) heard.push(decodeURI(request.url.slice('/heard?'.length)))
        response.writeHead(200, { 'content-type': 'text/html' }).end(page)
      })
      const gateway = await proxying(t, url, {
        ...(way.listeners === undefined ? {} : { top: await way.listeners(t) }),
        ...(way.more === undefined ? {} : { more: way.more })
      })
      await browse(t, `${way.origin(gateway)}/page`)

      const first = await streams.next()
      t.notOk('last-event-id' in first.headers)
      first.response.writeHead(200, { 'content-type': 'text/event-stream' })
      first.response.end('retry: 50\nid: 41\ndata: one\n\n')

      const second = await streams.next()
      t.equal(second.headers['last-event-id'], '41', 'after a stream that has ended')
      second.response.writeHead(200, { 'content-type': 'text/event-stream' })
      second.response.write('id: 42\ndata: two\n\nid: 43\ndata: not wh')
      while (!heard.includes(`${protocol} 42=two`))
        await gateway.recorder.ended(gateway.recorder.outcomes.length + 1)
      breakOff(second.response)

      const third = await streams.next()
      t.equal(third.headers['last-event-id'], '42', 'after one that broke off inside an event')
      t.strictSame(heard, [`${protocol} 41=one`, `${protocol} 42=two`])
    }
  )
}

/** The answers of the gateway under way, as a plugin of the route sees them. */
const seen = new Set<ServerResponse & { stream?: { writableLength: number } }>()
;(globalThis as { sallyportAnswers?: unknown }).sallyportAnswers = seen
const watching = plugin(
  'observe',
  "route.addHook('onRequest', async (_request, reply) => { globalThis.sallyportAnswers.add(reply.raw); reply.raw.once('close', () => globalThis.sallyportAnswers.delete(reply.raw)) })"
)

/** Bytes that the gateway has taken from the upstream and not given to the system. */
function held(): number {
  let bytes = 0
  for (const response of seen) bytes += response.stream?.writableLength ?? response.writableLength
  return bytes
}

/** As a process that dies. */
function breakOff(response: ServerResponse): void {
  const { stream } = response as { stream?: { close(code: number): void } }
  if (stream === undefined) response.destroy()
  else stream.close(constants.NGHTTP2_INTERNAL_ERROR)
}
