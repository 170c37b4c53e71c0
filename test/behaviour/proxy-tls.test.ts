import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { proxying } from '../fixtures/proxying.ts'

const run = promisify(execFile)

/** A CA and a certificate of it for `orders.shop`, made for this run. */
async function certificates(t: { teardown(end: () => unknown): void }) {
  const folder = await mkdtemp(join(tmpdir(), 'sallyport-tls-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const path = (name: string) => join(folder, name)
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '1']
  const ca = [
    'req',
    '-x509',
    ...curve,
    '-keyout',
    path('ca.key'),
    '-out',
    path('ca.crt'),
    '-subj',
    '/CN=test ca'
  ]
  await run('openssl', ca)
  const leaf = ['-keyout', path('tls.key'), '-out', path('tls.crt'), '-subj', '/CN=orders.shop']
  const signed = [
    '-CA',
    path('ca.crt'),
    '-CAkey',
    path('ca.key'),
    '-addext',
    'subjectAltName=DNS:orders.shop'
  ]
  await run('openssl', ['req', '-x509', ...curve, ...leaf, ...signed])
  return { ca: path('ca.crt'), cert: await readFile(path('tls.crt')), key: await readFile(path('tls.key')) }
}

t.test('upstreams with TLS are verified', async t => {
  const { ca, cert, key } = await certificates(t)
  let requests = 0
  const server = createServer({ cert, key }, (_request, response) => {
    requests++
    response.end('ok')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`

  const refused: Record<string, string | undefined> = {
    'an unknown CA': undefined,
    'an unknown CA, whatever the name': 'tls: { serverName: orders.shop }',
    'a certificate for another name': `tls: { ca: { file: "${ca}" } }`,
    'a certificate for a name that is not the one': `tls: { ca: { file: "${ca}" }, serverName: other.shop }`
  }
  for (const [name, more] of Object.entries(refused)) {
    await t.test(`${name} is 502`, async t => {
      const gateway = await proxying(t, url, { more })
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
      more: `tls: { ca: { file: "${ca}" }, serverName: orders.shop }`
    })
    t.equal(await (await fetch(gateway.url)).text(), 'ok')
  })

  await t.test('TLS to an upstream without TLS is 502', async t => {
    const { createServer: plain } = await import('node:net')
    const speaker = plain(socket => {
      socket.on('error', () => {})
      socket.end('HTTP/1.1 400 Bad Request\r\n\r\n')
    }).listen(0, '127.0.0.1')
    await once(speaker, 'listening')
    t.teardown(() => void speaker.close())
    const gateway = await proxying(t, `https://127.0.0.1:${(speaker.address() as AddressInfo).port}`)
    const response = await fetch(gateway.url)
    t.equal(response.status, 502)
    t.match(await response.json(), { reason: 'upstream.tls' })
  })
})
