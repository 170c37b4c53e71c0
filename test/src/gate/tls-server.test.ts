import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { createSecureServer } from 'node:http2'
import { connect as connectTcp, type Socket } from 'node:net'
import type { ConnectionOptions, TLSSocket } from 'node:tls'
import t from 'tap'
import { type ClientCertificate, clientCertificate } from '../../../src/gate/client-certificate.ts'
import { authority } from '../../fixtures/certificates.ts'
import { credentialsOf, echo, FakeSource, tlsClient, tlsServer } from '../../fixtures/tls-server.ts'

const ca = await authority(t)
const leaf = await ca.leaf({ names: ['DNS:a.test'] })
const rsa = await ca.leaf({ names: ['DNS:rsa.test'], key: 'RSA:2048' })
const plain = () => new FakeSource(credentialsOf([leaf, rsa]))

/** The protocol and the answer to `hello`, or the message of the error that ended it. */
async function hello(port: number, options: ConnectionOptions = {}): Promise<string> {
  const { socket } = tlsClient(t, port, { ca: ca.cert, ...options })
  socket.write('hello')
  const end = new Promise<string>(resolve => {
    socket.once('data', data => resolve(`${socket.alpnProtocol || 'none'} ${data}`))
    socket.once('error', error => resolve(error.message))
    socket.once('end', () => resolve('ended'))
    socket.once('close', () => resolve('closed'))
  })
  const outcome = await end
  socket.destroy()
  return outcome
}

t.test('ALPN decides who takes a connection', async t => {
  const named = (name: string) => (socket: TLSSocket) => {
    socket.on('error', () => {})
    socket.once('data', () => socket.end(name))
  }
  const { port, refused } = await tlsServer(t, plain(), { http1: named('http1'), http2: named('http2') })
  const rows: [readonly string[] | undefined, string][] = [
    [['h2'], 'h2 http2'],
    [['h2', 'http/1.1'], 'h2 http2'],
    [['http/1.1', 'h2'], 'h2 http2'],
    [['http/1.1'], 'http/1.1 http1'],
    [['spdy/3', 'http/1.1'], 'http/1.1 http1'],
    [undefined, 'none http1']
  ]
  for (const [protocols, expected] of rows) {
    t.equal(
      await hello(port, protocols ? { ALPNProtocols: protocols } : {}),
      expected,
      JSON.stringify(protocols)
    )
  }
  t.match(await hello(port, { ALPNProtocols: ['spdy/3', 'h3'] }), /alert no application protocol/)
  t.match(refused, [{ status: 400, reason: 'request.malformed', detail: /^ERR_SSL_/ }])
})

t.test('only TLS 1.2 and 1.3 with forward secrecy and authenticated encryption', async t => {
  const { port } = await tlsServer(t, plain())
  const rows: [string, string[], boolean][] = [
    ['TLS 1.3', ['-tls1_3'], true],
    ['TLS 1.2', ['-tls1_2'], true],
    ['TLS 1.1', ['-tls1_1', '-cipher', 'ALL:@SECLEVEL=0'], false],
    ['TLS 1.0', ['-tls1', '-cipher', 'ALL:@SECLEVEL=0'], false],
    ...[
      'ECDHE-ECDSA-AES128-GCM-SHA256',
      'ECDHE-ECDSA-AES256-GCM-SHA384',
      'ECDHE-ECDSA-CHACHA20-POLY1305'
    ].map(suite),
    ...['ECDHE-RSA-AES128-GCM-SHA256', 'ECDHE-RSA-AES256-GCM-SHA384', 'ECDHE-RSA-CHACHA20-POLY1305'].map(
      suite
    ),
    ...['AES128-GCM-SHA256', 'AES128-SHA', 'ECDHE-RSA-AES128-SHA', 'ECDHE-ECDSA-AES128-SHA256'].map(weak),
    ...['ECDHE-RSA-AES256-SHA384', 'DHE-RSA-AES128-GCM-SHA256', 'DHE-RSA-AES256-SHA', 'aNULL', 'PSK'].map(
      weak
    )
  ]
  function suite(name: string): [string, string[], boolean] {
    const host = name.includes('-RSA-') ? 'rsa.test' : 'a.test'
    return [name, ['-tls1_2', '-cipher', name, '-servername', host], true]
  }
  function weak(name: string): [string, string[], boolean] {
    return [name, ['-tls1_2', '-cipher', `${name}:@SECLEVEL=0`, '-servername', 'rsa.test'], false]
  }
  for (const [name, flags, works] of rows) {
    const { text, code } = await openssl(['s_client', '-connect', `127.0.0.1:${port}`, ...flags])
    t.equal(code === 0 && /Verify return code|New, TLSv1\.[23], Cipher is [A-Z]/.test(text), works, name)
  }
})

t.test('a client cannot renegotiate', async t => {
  const { port } = await tlsServer(t, plain())
  const { text } = await openssl(['s_client', '-tls1_2', '-connect', `127.0.0.1:${port}`], 'R\n')
  t.match(text, /RENEGOTIATING[\s\S]*no.renegotiation/i)
})

/** What the program says and how it ends. Its input ends after `input`. */
function openssl(flags: string[], input = ''): Promise<{ text: string; code: number | null }> {
  return new Promise(resolve => {
    const child = execFile('openssl', flags, { timeout: 20_000 }, (_error, stdout, stderr) => {
      resolve({ text: stdout + stderr, code: child.exitCode })
    })
    child.stdin?.on('error', () => {})
    child.stdin?.end(input)
  })
}

t.test('the name that a client asks for chooses the certificate', async t => {
  const exact = await ca.leaf({ names: ['DNS:shop.b.test'] })
  const wild = await ca.leaf({ names: ['DNS:*.b.test', 'DNS:C.test'] })
  const { port } = await tlsServer(t, new FakeSource(credentialsOf([leaf, exact, wild])))
  const rows: [string, typeof leaf][] = [
    ['a.test', leaf],
    ['shop.b.test', exact],
    ['SHOP.B.test', exact],
    ['other.b.test', wild],
    ['c.test', wild],
    ['b.test', leaf],
    ['deep.other.b.test', leaf],
    ['nobody.test', leaf],
    ['', leaf]
  ]
  for (const [servername, expected] of rows) {
    const { socket } = tlsClient(t, port, { servername, rejectUnauthorized: false })
    await once(socket, 'secureConnect')
    t.ok(expected.cert.startsWith(socket.getPeerX509Certificate()!.toString()), servername)
    socket.destroy()
  }
})

/** Resolves when the socket has closed, also with a reset: which of the two a client sees is the system's matter. */
function closeOf(socket: Socket): Promise<void> {
  return new Promise(resolve => socket.once('close', () => resolve()))
}

t.test('a handshake that takes too long is ended, however the bytes come', async t => {
  const { port, refused } = await tlsServer(t, plain(), {}, { handshakeTimeout: 300 })
  const silent = connectTcp(port, '127.0.0.1')
  silent.on('error', () => {})
  silent.resume()
  await closeOf(silent)
  const slow = connectTcp(port, '127.0.0.1')
  slow.on('error', () => {})
  slow.resume()
  // A record of 512 bytes that arrives byte by byte.
  slow.write(Buffer.from([0x16, 3, 1, 2, 0]))
  const drip = setInterval(() => slow.write(Buffer.from([1])), 20)
  t.teardown(() => clearInterval(drip))
  await closeOf(slow)
  t.match(refused, [
    { status: 408, detail: 'ERR_TLS_HANDSHAKE_TIMEOUT' },
    { status: 408, detail: 'ERR_TLS_HANDSHAKE_TIMEOUT' }
  ])
})

t.test('what is no handshake ends alone, and is counted', async t => {
  const { port, refused } = await tlsServer(t, plain())
  const rows: [string, Buffer | string][] = [
    ['plain HTTP', 'GET / HTTP/1.1\r\nHost: a.test\r\n\r\n'],
    ['HTTP/2 without TLS', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
    ['noise', Buffer.alloc(600, 0xff)],
    ['a record that is too long', Buffer.from([0x16, 3, 1, 0xff, 0xff, 1])],
    ['an alert', Buffer.from([0x15, 3, 1, 0, 2, 2, 40])],
    ['application data', Buffer.from([0x17, 3, 3, 0, 2, 1, 1])]
  ]
  for (const [name, bytes] of rows) {
    refused.length = 0
    const socket = connectTcp(port, '127.0.0.1')
    socket.on('error', () => {})
    socket.resume()
    socket.write(bytes)
    await closeOf(socket)
    t.match(refused, [{ status: 400, reason: 'request.malformed', remoteAddress: '127.0.0.1' }], name)
    t.equal(await hello(port), 'none hello', `after ${name}`)
  }
})

t.test('a reset inside the handshake is counted, a look whether somebody listens is not', async t => {
  const { port, refused, server } = await tlsServer(t, plain())
  for (const bytes of [[], [0x16, 3, 1, 2, 0, 1]]) {
    const taken = once(server, 'connection')
    const socket = connectTcp(port, '127.0.0.1')
    await once(socket, 'connect')
    const [raw] = await taken
    const gone = new Promise(resolve => raw.once('close', resolve))
    if (bytes.length > 0) socket.write(Buffer.from(bytes))
    while (bytes.length > 0 && raw.bytesRead === 0) await new Promise(resolve => setImmediate(resolve))
    socket.resetAndDestroy()
    await gone
  }
  t.equal(await hello(port), 'none hello')
  t.match(refused, [{ status: 400, detail: 'ECONNRESET' }])
  t.equal(refused.length, 1)
})

t.test('connections beyond the most are dropped and counted', async t => {
  const { port, refused } = await tlsServer(t, plain(), {}, { maxConnections: 1 })
  const { socket } = tlsClient(t, port, { ca: ca.cert })
  await once(socket, 'secureConnect')
  const second = connectTcp(port, '127.0.0.1')
  second.on('error', () => {})
  second.resume()
  await closeOf(second)
  t.match(refused, [{ status: 503, reason: 'gateway.overloaded', remoteAddress: '127.0.0.1' }])
})

for (const version of ['TLSv1.3', 'TLSv1.2'] as const) {
  t.test(`a client of HTTP/2 that resets its connection ends what is under way, ${version}`, async t => {
    const h2 = createSecureServer()
    h2.on('sessionError', () => {})
    const begun = once(h2, 'stream')
    const { port } = await tlsServer(t, plain(), { http2: socket => h2.emit('secureConnection', socket) })
    const { socket, carrier } = tlsClient(t, port, {
      ca: ca.cert,
      ALPNProtocols: ['h2'],
      minVersion: version,
      maxVersion: version
    })
    // Preface, SETTINGS, and HEADERS of `GET https://a.test/` with the end of the stream.
    const block = Buffer.concat([Buffer.from([0x82, 0x87, 0x84, 0x41, 6]), Buffer.from('a.test')])
    const frames = Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, block.length, 1, 5, 0, 0, 0, 1])
    socket.write(Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), frames, block]))
    const [stream] = await begun
    stream.on('error', () => {})
    const closed = new Promise<void>(resolve => stream.session.once('close', () => resolve()))
    carrier.resetAndDestroy()
    await closed
    t.equal(stream.destroyed, true)
  })
}

t.test('a connection of HTTP/2 whose client has sent its FIN is closed', async t => {
  let closed: Promise<unknown> = Promise.resolve()
  const { port } = await tlsServer(t, plain(), {
    http2: socket => {
      closed = once(socket, 'close')
      socket.on('error', () => {})
      socket.resume()
    }
  })
  const { socket } = tlsClient(t, port, { ca: ca.cert, ALPNProtocols: ['h2'] })
  await once(socket, 'secureConnect')
  socket.resume()
  socket.end()
  await once(socket, 'close')
  await closed
})

t.test('client certificates', async t => {
  const people = await authority(t, '/CN=people')
  const below = await people.intermediate()
  const others = await authority(t, '/CN=others')
  const namesake = await authority(t, '/CN=people')
  const borrowed = await people.pretender()
  const names = ['DNS:x.test', 'URI:spiffe://shop/orders', 'email:a@x.test', 'IP:10.0.0.1']
  const good = await people.leaf({ use: 'clientAuth', names, subject: '/O=shop/CN=orders' })
  const seen: (ClientCertificate | null)[] = []
  const { port, refused } = await tlsServer(t, new FakeSource(credentialsOf([leaf, rsa], people)), {
    http1: socket => {
      seen.push(clientCertificate(socket))
      echo(socket)
    }
  })
  const rows: [string, { cert: string; key: string } | null, string | null][] = [
    ['none', null, null],
    ['a good one', good, null],
    ['one of an intermediate that is sent along', await below.leaf({ use: 'clientAuth' }), null],
    ['unknown CA', await others.leaf({ use: 'clientAuth' }), 'UNABLE_TO_VERIFY_LEAF_SIGNATURE'],
    ['self-signed', others, 'INVALID_PURPOSE'],
    [
      'of a CA with the name of ours',
      await namesake.leaf({ use: 'clientAuth' }),
      'UNABLE_TO_VERIFY_LEAF_SIGNATURE'
    ],
    ['of a certificate that is no CA', await borrowed.leaf({ use: 'clientAuth' }), 'INVALID_PURPOSE'],
    ['expired', await people.leaf({ use: 'clientAuth', time: 'expired' }), 'CERT_HAS_EXPIRED'],
    ['not yet valid', await people.leaf({ use: 'clientAuth', time: 'future' }), 'CERT_NOT_YET_VALID'],
    ['for servers', await people.leaf({ use: 'serverAuth' }), 'INVALID_PURPOSE']
  ]
  for (const version of ['TLSv1.3', 'TLSv1.2'] as const) {
    for (const servername of ['a.test', 'rsa.test']) {
      for (const [name, client, fault] of rows) {
        seen.length = 0
        refused.length = 0
        const own = client === null ? {} : { cert: client.cert, key: client.key }
        const answer = await hello(port, {
          servername,
          minVersion: version,
          maxVersion: version,
          ...own
        })
        const label = `${name}, ${version}, ${servername}`
        if (fault === null) {
          t.equal(answer, 'none hello', label)
          t.equal(seen[0] === null, client === null, label)
          continue
        }
        t.notMatch(answer, /hello/, label)
        t.same(seen, [], label)
        t.match(refused, [{ status: 400, detail: `client certificate: ${fault}` }], label)
      }
    }
  }
  await hello(port, { cert: good.cert, key: good.key })
  t.match(seen.at(-1), {
    subject: 'O=shop\nCN=orders',
    dns: ['x.test'],
    uri: ['spiffe://shop/orders'],
    email: ['a@x.test'],
    fingerprint256: /^([0-9A-F]{2}:){31}[0-9A-F]{2}$/,
    serial: /^[0-9A-F]+$/,
    notAfter: Date
  })
})

t.test('new certificates serve new handshakes, and open connections go on', async t => {
  const source = plain()
  const { port } = await tlsServer(t, source)
  const { socket } = tlsClient(t, port, { ca: ca.cert })
  await once(socket, 'secureConnect')
  const next = await ca.leaf({ names: ['DNS:a.test'] })
  const nextRsa = await ca.leaf({ names: ['DNS:rsa.test'], key: 'RSA:2048' })
  source.swap(credentialsOf([next, nextRsa]))
  socket.write('still here')
  t.equal(String((await once(socket, 'data'))[0]), 'still here')
  for (const [servername, expected] of [
    ['a.test', next],
    ['rsa.test', nextRsa]
  ] as const) {
    const { socket: fresh } = tlsClient(t, port, { ca: ca.cert, servername })
    await once(fresh, 'secureConnect')
    t.ok(expected.cert.startsWith(fresh.getPeerX509Certificate()!.toString()), servername)
  }
})

for (const version of ['TLSv1.3', 'TLSv1.2'] as const) {
  for (const servername of ['a.test', 'rsa.test']) {
    t.test(
      `a session resumes, but not the right of a CA that is gone, ${version}, ${servername}`,
      async t => {
        const before = await authority(t, '/CN=before')
        const after = await authority(t, '/CN=after')
        const client = await before.leaf({ use: 'clientAuth', names: ['DNS:x.test'] })
        const source = new FakeSource(credentialsOf([leaf, rsa], before))
        const seen: string[] = []
        const { port, refused } = await tlsServer(t, source, {
          http1: socket => {
            seen.push(`${socket.isSessionReused()} ${clientCertificate(socket)?.dns}`)
            echo(socket)
          }
        })
        const options = {
          servername,
          cert: client.cert,
          key: client.key,
          minVersion: version,
          maxVersion: version
        }
        const { socket } = tlsClient(t, port, { ca: ca.cert, ...options })
        const ticket = once(socket, 'session')
        socket.write('hello')
        await once(socket, 'data')
        const [session] = await ticket
        socket.destroy()
        t.equal(await hello(port, { ...options, session }), 'none hello')
        t.same(seen, ['false x.test', 'true x.test'])
        source.swap(credentialsOf([leaf, rsa], after))
        t.notMatch(await hello(port, { ...options, session }), /hello/)
        t.match(refused, [{ detail: /^client certificate: / }])
        t.equal(seen.length, 2)
      }
    )
  }
}
