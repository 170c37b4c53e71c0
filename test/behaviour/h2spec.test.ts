import { once } from 'node:events'
import { createServer as createHttp2Server } from 'node:http2'
import type { AddressInfo, Server } from 'node:net'
import { createServer as createTlsServer } from 'node:tls'
import t, { type Test } from 'tap'
import { authority } from '../fixtures/certificates.ts'
import { h2spec } from '../fixtures/h2spec.ts'
import { judgingHttp2Server } from '../fixtures/judging-http2-server.ts'
import { skipWithout } from '../fixtures/tool.ts'
import { buildGateway, upstream } from '../helper.ts'

interface Closer {
  teardown(callback: () => unknown): unknown
}

async function listen(t: Closer, server: Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  return (server.address() as AddressInfo).port
}

/** What anybody gets who uses `node:http2` as it is. */
function bareServer(t: Closer): Promise<number> {
  const server = createHttp2Server((request, response) => {
    request.resume()
    response.end('ok')
  })
  server.on('sessionError', () => {})
  return listen(t, server)
}

/** The listeners as they are, with a route and an upstream behind them. */
async function wholeGateway(t: Test): Promise<{ h2c: number; https: number }> {
  const { url } = await upstream(t, (request, response) => {
    request.resume()
    response.end('ok')
  })
  const leaf = await (await authority(t)).leaf({ names: ['IP:127.0.0.1'] })
  const tls = `{ cert: { file: ${leaf.certPath} }, key: { file: ${leaf.keyPath} } }`
  const { gateway } = await buildGateway(
    t,
    `listeners:
  h2c: { host: 127.0.0.1, port: 0 }
  https: { host: 127.0.0.1, port: 0, tls: ${tls} }
  admin: { host: 127.0.0.1, port: 0 }
upstreams: { backend: { url: "${url}" } }
routes: { all: { match: { path: /spec }, public: true, upstream: backend } }
`
  )
  const { h2c, https } = gateway.addresses as { h2c: string; https: string }
  return { h2c: Number(new URL(h2c).port), https: Number(new URL(https).port) }
}

t.test('HTTP/2 conformance is that of node:http2, on cleartext and on TLS', async t => {
  const { port, front } = await judgingHttp2Server(t, {}, (request, response) => {
    request.resume()
    response.end('ok')
  })
  const { cert, key } = await (await authority(t)).leaf({ names: ['IP:127.0.0.1'] })
  const secure = createTlsServer({ cert, key, ALPNProtocols: ['h2'] }, socket => front.take(socket))
  secure.on('tlsClientError', () => {})
  const securePort = await listen(t, secure)
  const gateway = await wholeGateway(t)
  // It waits more than it works.
  const [bare, cleartext, encrypted, h2c, https] = await Promise.all([
    h2spec({ port: await bareServer(t) }),
    h2spec({ port }),
    h2spec({ port: securePort, tls: true }),
    h2spec({ port: gateway.h2c, path: '/spec' }),
    h2spec({ port: gateway.https, path: '/spec', tls: true })
  ])
  if (bare === null || cleartext === null || encrypted === null || h2c === null || https === null) {
    skipWithout(t, 'h2spec')
    return
  }
  t.equal(bare.cases > 140, true, `${bare.cases} cases, ${bare.failed.size} of which node:http2 fails`)
  for (const [name, result] of Object.entries({ cleartext, encrypted, h2c, https })) {
    t.equal(result.cases, bare.cases)
    t.same(
      [...result.failed].filter(each => !bare.failed.has(each)),
      [],
      `${name}: no others fail`
    )
    t.comment(`${name}: ${result.failed.size} of ${result.cases} fail`)
  }
})
