import { once } from 'node:events'
import { copyFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import t from 'tap'
import { createLog } from '../../../src/log.ts'
import { LiveCredentials, type LiveCredentialsOptions } from '../../../src/tls/live-credentials.ts'
import { authority, type Issued, temporaryFolder } from '../../fixtures/certificates.ts'
import { ConfigMapVolume } from '../../fixtures/config-map.ts'
import { ManualTime } from '../../fixtures/manual-time.ts'
import { tlsClient, tlsServer } from '../../fixtures/tls-server.ts'

const ca = await authority(t)
const [one, two, three] = (await Promise.all(
  ['one', 'two', 'three'].map(name => ca.leaf({ names: [`DNS:${name}.test`] }))
)) as [Issued, Issued, Issued]

interface Running {
  live: LiveCredentials
  time: ManualTime
  lines: { level: string | number; msg: string; errors?: string[] }[]
  /** Resolves when other certificates are in force. */
  changed(): Promise<void>
  /** The names that the default certificate is for. */
  names(): readonly string[]
  errors(): number
}

async function start(
  t: { teardown(end: () => unknown): unknown },
  tls: LiveCredentialsOptions['tls'],
  options: Partial<LiveCredentialsOptions> = {}
): Promise<Running> {
  const lines: Running['lines'] = []
  const time = new ManualTime()
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      for (const line of chunk.toString().split('\n')) if (line !== '') lines.push(JSON.parse(line))
      done()
    }
  })
  const log = createLog('info', sink)
  const live = await LiveCredentials.start({ tls, log, timers: time, debounce: 10, poll: 50, ...options })
  t.teardown(() => live.close())
  return {
    live,
    time,
    lines,
    changed: () =>
      new Promise(resolve => {
        // Watches and their timers keep no process alive.
        const alive = setInterval(() => {}, 1000)
        live.onChange(() => {
          clearInterval(alive)
          resolve()
        })
      }),
    names: () => live.current.served[0]!.names,
    errors: () => lines.filter(line => line.errors !== undefined).length
  }
}

/** A pair of files that a test writes. */
async function pairOf(t: { teardown(end: () => unknown): unknown }, issued: Issued) {
  const folder = await temporaryFolder(t)
  const cert = join(folder, 'tls.crt')
  const key = join(folder, 'tls.key')
  await copyFile(issued.certPath, cert)
  await copyFile(issued.keyPath, key)
  return { cert, key, tls: { cert: { file: cert }, key: { file: key }, certificates: [] } }
}

t.test('a Secret volume that is swapped, again and again', async t => {
  const folder = join(await temporaryFolder(t), 'tls')
  const files = ({ cert, key }: Issued) => ({ 'tls.crt': cert, 'tls.key': key })
  const volume = await ConfigMapVolume.mount(folder, files(one))
  const tls = {
    cert: { file: join(folder, 'tls.crt') },
    key: { file: join(folder, 'tls.key') },
    certificates: []
  }
  const { changed, names, errors } = await start(t, tls, { poll: 60_000 })
  t.same(names(), ['one.test'])
  for (const [issued, name] of [
    [two, 'two.test'],
    [three, 'three.test'],
    [one, 'one.test']
  ] as const) {
    const next = changed()
    await volume.update(files(issued))
    await next
    t.same(names(), [name])
  }
  t.equal(errors(), 0)
})

t.test('a renewal reaches new handshakes and cuts no connection', async t => {
  const { cert, key, tls } = await pairOf(t, one)
  const { live, changed } = await start(t, tls)
  const { port, refused } = await tlsServer(t, live)
  const { socket: before } = tlsClient(t, port, { ca: ca.cert, servername: 'one.test' })
  await once(before, 'secureConnect')
  const next = changed()
  await copyFile(two.keyPath, key)
  await copyFile(two.certPath, cert)
  await next
  const { socket: after } = tlsClient(t, port, { ca: ca.cert, servername: 'two.test' })
  await once(after, 'secureConnect')
  t.equal(after.authorized, true)
  before.write('still here')
  t.equal(String((await once(before, 'data'))[0]), 'still here')
  t.same(refused, [])
})

t.test('certificate and key that are written one after the other make no noise', async t => {
  const { cert, key, tls } = await pairOf(t, one)
  const { live, changed, names, errors, time } = await start(t, tls, { watch: false })
  await copyFile(two.certPath, cert)
  await live.reload()
  t.same(names(), ['one.test'], 'the old one stays')
  time.advance(4000)
  const next = changed()
  await copyFile(two.keyPath, key)
  await live.reload()
  await next
  t.same(names(), ['two.test'])
  time.advance(60_000)
  t.equal(errors(), 0)
})

t.test('what stays bad is said once, and the old one stays in force', async t => {
  const { cert, key, tls } = await pairOf(t, one)
  const { live, names, errors, lines, time, changed } = await start(t, tls, { watch: false })
  await copyFile(two.certPath, cert)
  await live.reload()
  t.equal(errors(), 0)
  time.advance(5000)
  while (errors() === 0) await new Promise(resolve => setImmediate(resolve))
  time.advance(600_000)
  await new Promise(resolve => setImmediate(resolve))
  t.equal(errors(), 1)
  t.match(lines.find(line => line.errors)?.errors, [
    /^file \S+tls\.key does not belong to the certificate: write the key that/
  ])
  t.same(names(), ['one.test'])
  const next = changed()
  await copyFile(two.keyPath, key)
  await live.reload()
  await next
  t.same(names(), ['two.test'])
})

t.test('a file that goes, and one that is renamed over another', async t => {
  const { cert, key, tls } = await pairOf(t, one)
  const { names, changed } = await start(t, tls)
  const next = changed()
  await rename(cert, `${cert}.old`)
  await writeFile(`${cert}.new`, three.cert)
  await copyFile(three.keyPath, key)
  await rename(`${cert}.new`, cert)
  await next
  t.same(names(), ['three.test'])
})

t.test('a start with what is bad fails with cause and remedy', async t => {
  const { key, tls } = await pairOf(t, one)
  await copyFile(two.keyPath, key)
  await t.rejects(start(t, tls), {
    message: /tls\.key does not belong to the certificate: write the key that/
  })
  await writeFile(key, '')
  await t.rejects(start(t, tls), { message: /tls\.key is empty/ })
})

t.test('a certificate that is out of its time is served, with a warning', async t => {
  const old = await ca.leaf({ names: ['DNS:old.test'], time: 'expired' })
  const { names, lines } = await start(t, (await pairOf(t, old)).tls)
  t.same(names(), ['old.test'])
  t.match(lines.at(-1), { msg: /tls\.crt: a certificate has expired on .* renew it/ })
})

t.test('certificates from the environment need no watch', async t => {
  const tls = { cert: { env: 'CERT' }, key: { env: 'KEY' }, certificates: [] }
  const { names } = await start(t, tls, { env: { CERT: one.cert, KEY: one.key } })
  t.same(names(), ['one.test'])
})
