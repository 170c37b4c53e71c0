import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import type { AddressInfo } from 'node:net'
import { dirname, join } from 'node:path'
import t from 'tap'
import { browse, skipWithoutBrowser as skip } from '../fixtures/chromium.ts'
import { callsGateway } from '../fixtures/grpc/calls-gateway.ts'
import { message } from '../fixtures/grpc/message.ts'
import { rawUpstream } from '../fixtures/grpc/raw-upstream.ts'

const library = readFileSync(
  join(dirname(createRequire(import.meta.url).resolve('grpc-web')), 'index.esm.js')
)

/** What the page does, with the client of gRPC's authors: in both modes a call, a stream, a call that is refused and one that fails. */
const page = (gateway: string) => `<!doctype html><script type="module">
import { GrpcWebClientBase, MethodDescriptor, MethodType } from '/grpc-web.js'
const encode = text => new TextEncoder().encode(text)
const decode = bytes => new TextDecoder().decode(bytes)
const describe = (path, type) => new MethodDescriptor(path, type, Object, Object, encode, decode)
const results = {}
for (const format of ['binary', 'text']) {
  const client = new GrpcWebClientBase({ format })
  const call = path => new Promise(resolve => {
    const metadata = {}
    client.rpcCall('${gateway}' + path, 'hello', { 'x-key': 'value' }, describe(path, MethodType.UNARY),
      (error, answer) => resolve(error ? { code: error.code, message: error.message } : answer))
  })
  const stream = path => new Promise(resolve => {
    const seen = []
    client.serverStreaming('${gateway}' + path, 'hello', {}, describe(path, MethodType.SERVER_STREAMING))
      .on('data', data => seen.push(data))
      .on('error', error => resolve({ code: error.code, message: error.message, seen }))
      .on('status', status => seen.push(status.code))
      .on('end', () => resolve(seen))
  })
  results[format] = {
    unary: await call('/shop.v1.Orders/Get'),
    stream: format === 'text' ? await stream('/shop.v1.Orders/Watch') : null,
    refused: await call('/shop.v1.Orders/Delete'),
    missing: await call('/shop.v1.Orders/Missing')
  }
}
await fetch('/results', { method: 'POST', body: JSON.stringify(results) })
</script>`

t.test('a page of another site calls with the grpc-web package', { skip }, async t => {
  const upstream = await rawUpstream(t, async seen => {
    if (seen.path.endsWith('Missing')) {
      seen.trailersOnly({ 'grpc-status': '5', 'grpc-message': 'no order 17' })
      return
    }
    seen.respond()
    const body = await seen.body()
    if (seen.path.endsWith('Watch')) for (const text of ['one', 'two']) seen.stream.write(message(text))
    seen.finish({}, body)
  })
  let gateway = ''
  const { promise, resolve } = Promise.withResolvers<string>()
  const site = createServer(async (request, response) => {
    if (request.url === '/grpc-web.js') response.setHeader('content-type', 'text/javascript').end(library)
    else if (request.url === '/page') response.setHeader('content-type', 'text/html').end(page(gateway))
    else if (request.method === 'POST') {
      let text = ''
      for await (const chunk of request) text += chunk
      response.end()
      resolve(text)
    } else response.writeHead(404).end()
  })
  await new Promise<void>(listening => site.listen(0, '127.0.0.1', listening))
  t.teardown(() => {
    site.closeAllConnections()
    site.close()
  })
  const origin = `http://127.0.0.1:${(site.address() as AddressInfo).port}`
  const calls = await callsGateway(t, upstream.url, {
    route: 'grpcWeb: true',
    uses: `{ cors: { origins: ["${origin}"] } }, { protocol: { rpcs: [shop.v1.Orders/Get, shop.v1.Orders/Watch, shop.v1.Orders/Missing] } }`
  })
  gateway = calls.url
  await browse(t, `${origin}/page`)

  const refused = { code: 12, message: 'Unknown method (protocol.rpc)' }
  const missing = { code: 5, message: 'no order 17' }
  t.match(JSON.parse(await promise), {
    binary: { unary: 'hello', refused, missing },
    text: { unary: 'hello', stream: ['one', 'two', 'hello'], refused, missing }
  })
})
