import { once } from 'node:events'
import { createServer as createHttp2Server } from 'node:http2'
import type { AddressInfo, Server } from 'node:net'
import { createServer as createTlsServer } from 'node:tls'
import t from 'tap'
import { certificate } from '../fixtures/certificate.ts'
import { h2spec } from '../fixtures/h2spec.ts'
import { judgingHttp2Server } from '../fixtures/judging-http2-server.ts'
import { skipWithout } from '../fixtures/tool.ts'

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

t.test('HTTP/2 conformance is that of node:http2, on cleartext and on TLS', async t => {
  const { port, front } = await judgingHttp2Server(t, {}, (request, response) => {
    request.resume()
    response.end('ok')
  })
  const tls = await certificate()
  const secure = createTlsServer({ ...tls, ALPNProtocols: ['h2'] }, socket => front.take(socket))
  secure.on('tlsClientError', () => {})
  const securePort = await listen(t, secure)
  const [bare, cleartext, encrypted] = await Promise.all([
    h2spec({ port: await bareServer(t) }),
    h2spec({ port }),
    h2spec({ port: securePort, tls: true })
  ])
  if (bare === null || cleartext === null || encrypted === null) {
    skipWithout(t, 'h2spec')
    return
  }
  t.equal(bare.cases > 140, true, `${bare.cases} cases, ${bare.failed.size} of which node:http2 fails`)
  for (const [name, result] of Object.entries({ cleartext, encrypted })) {
    t.equal(result.cases, bare.cases)
    t.same(
      [...result.failed].filter(each => !bare.failed.has(each)),
      [],
      `${name}: no others fail`
    )
    t.comment(`${name}: ${result.failed.size} of ${result.cases} fail`)
  }
})
