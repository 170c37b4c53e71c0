import { once } from 'node:events'
import type { RequestListener } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import t from 'tap'
import { authority } from '../fixtures/certificates.ts'
import { http2Upstream } from '../fixtures/http2-upstream.ts'
import { proxying } from '../fixtures/proxying.ts'

type Tls = { cert: string; key: string }
type Test = { teardown(close: () => unknown): void }

/** A CA, by its path, and a certificate of it for `orders.shop`. */
async function shopCertificates(t: Test): Promise<Tls & { ca: string }> {
  const root = await authority(t)
  const { cert, key } = await root.leaf({ names: ['DNS:orders.shop'] })
  return { ca: root.certPath, cert, key }
}

/** The origin of a server with TLS that speaks only HTTP/1.1. */
async function http1Upstream(t: Test, listener: RequestListener, tls: Tls & { ALPNProtocols?: string[] }) {
  const server = createHttpsServer(tls, listener)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return { url: `https://127.0.0.1:${(server.address() as AddressInfo).port}` }
}

for (const protocol of ['http1', 'h2'] as const)
  t.test(`upstreams with TLS are verified: ${protocol}`, async t => {
    const { ca, cert, key } = await shopCertificates(t)
    let requests = 0
    const make = protocol === 'h2' ? http2Upstream : http1Upstream
    const { url } = await make(
      t,
      (_request, response) => {
        requests++
        response.end('ok')
      },
      { cert, key }
    )

    const refused: Record<string, string | undefined> = {
      'an unknown CA': undefined,
      'an unknown CA, whatever the name': 'tls: { serverName: orders.shop }',
      'a certificate for another name': `tls: { ca: { file: "${ca}" } }`,
      'a certificate for a name that is not the one': `tls: { ca: { file: "${ca}" }, serverName: other.shop }`
    }
    for (const [name, more] of Object.entries(refused)) {
      await t.test(`${name} is 502`, async t => {
        const gateway = await proxying(t, url, {
          more: [`protocol: ${protocol}`, more].filter(Boolean).join(', ')
        })
        const response = await fetch(gateway.url)
        t.equal(response.status, 502)
        const text = await response.text()
        t.match(JSON.parse(text), { code: 'SP_UPSTREAM_TLS', reason: 'upstream.tls' })
        t.notMatch(text, /cert|altname|127\.0\.0\.1|orders/i)
        t.match(await gateway.recorder.ended(1), [{ status: 502, reason: 'upstream.tls' }])
        t.equal(
          await gateway.metric('sallyport_upstream_errors_total{upstream="backend",reason="upstream.tls"}'),
          1
        )
      })
    }
    t.equal(requests, 0)

    await t.test('the CA and the name of the configuration are trusted', async t => {
      const gateway = await proxying(t, url, {
        more: `protocol: ${protocol}, tls: { ca: { file: "${ca}" }, serverName: orders.shop }`
      })
      t.equal(await (await fetch(gateway.url)).text(), 'ok')
    })

    await t.test('TLS to an upstream without TLS is 502', async t => {
      const speaker = createTcpServer(socket => {
        socket.on('error', () => {})
        socket.end('HTTP/1.1 400 Bad Request\r\n\r\n')
      }).listen(0, '127.0.0.1')
      await once(speaker, 'listening')
      t.teardown(() => void speaker.close())
      const gateway = await proxying(t, `https://127.0.0.1:${(speaker.address() as AddressInfo).port}`, {
        more: `protocol: ${protocol}`
      })
      const response = await fetch(gateway.url)
      t.equal(response.status, 502)
      t.match(await response.json(), { reason: 'upstream.tls' })
    })
  })

t.test('an upstream that does not choose h2 is not spoken to', async t => {
  const { ca, cert, key } = await shopCertificates(t)
  let requests = 0
  const count: RequestListener = (_request, response) => {
    requests++
    response.end()
  }
  const more = `protocol: h2, tls: { ca: { file: "${ca}" }, serverName: orders.shop }`
  for (const alpn of [{ ALPNProtocols: ['http/1.1'] }, { ALPNCallback: () => undefined }]) {
    const { url } = await http1Upstream(t, count, { cert, key, ...alpn })
    const gateway = await proxying(t, url, { more })
    t.match(await (await fetch(gateway.url)).json(), { status: 502, reason: 'upstream.protocol' })
  }
  t.equal(requests, 0)
})

t.test('TLS to an upstream that never answers ends with the connect timeout', async t => {
  const server = createTcpServer(socket => void socket.on('error', () => {})).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => void server.close())
  const gateway = await proxying(t, `https://127.0.0.1:${(server.address() as AddressInfo).port}`, {
    more: 'protocol: h2, timeouts: { connect: 50ms }'
  })
  t.match(await (await fetch(gateway.url)).json(), { status: 504, reason: 'upstream.timeout' })
})
