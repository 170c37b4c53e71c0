import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { ConfigError, formatProblem, loadConfig } from '../../../src/config/load.ts'
import { authority, temporaryFolder } from '../../fixtures/certificates.ts'
import { fakePlugins } from './fake-plugins.ts'

const run = promisify(execFile)
const folder = await temporaryFolder(t)
const path = (name: string) => join(folder, name)
const file = async (name: string, text: string) => {
  await writeFile(path(name), text)
  return path(name)
}

const ca = await authority(t)
const good = await ca.leaf({ names: ['DNS:a.test', 'DNS:*.b.test'] })
const other = await ca.leaf({ names: ['DNS:c.test'] })
const same = await ca.leaf({ names: ['DNS:d.test', 'DNS:A.test'] })
const nameless = await ca.leaf({ names: ['IP:10.0.0.1'] })
const expired = await ca.leaf({ names: ['DNS:old.test'], time: 'expired' })
const small = await ca.leaf({ names: ['DNS:small.test'], key: 'RSA:1024' })
const chained = await (await ca.intermediate()).leaf({ names: ['DNS:e.test'] })
const [first = '', second = ''] = chained.cert.split(/(?<=-----END CERTIFICATE-----\n)/)

const turned = await file('turned.crt', second + first)
const stray = await file('stray.crt', good.cert + other.cert)
const cut = await file('cut.crt', good.cert.slice(0, -100))
const torn = await file('torn.crt', good.cert.replace(/\n.{64}\n/, '\n'))
const tornKey = await file('torn.key', good.key.replace(/\n.{20}/, '\n'))
const text = await file('text.pem', 'no PEM at all\n')
await run('openssl', [
  'pkcs8',
  '-topk8',
  '-in',
  good.keyPath,
  '-out',
  path('locked.key'),
  '-passout',
  'pass:x'
])
const locked = path('locked.key')

interface Listener {
  cert?: string
  key?: string
  clientCa?: string
  more?: readonly (readonly [cert: string, key: string])[]
}

/** The problems of a configuration with this listener, without its place, and with names for the files. */
async function problemsOf({ cert = good.certPath, key = good.keyPath, clientCa, more = [] }: Listener) {
  const tls = {
    cert: { file: cert },
    key: { file: key },
    ...(clientCa === undefined ? {} : { clientCa: { file: clientCa } }),
    certificates: more.map(([cert, key]) => ({ cert: { file: cert }, key: { file: key } }))
  }
  const config = await file('gateway.yaml', `listeners:\n  https: { tls: ${JSON.stringify(tls)} }\n`)
  const error = await loadConfig(config, { plugins: fakePlugins() }).catch(error => error)
  if (!(error instanceof ConfigError)) return []
  return error.errors
    .filter(({ path }) => path !== 'listeners.https')
    .map(problem => formatProblem(problem).replaceAll(/\/\S+\//g, ''))
}

const rows: [string, Listener, RegExp[]][] = [
  ['good', {}, []],
  ['an intermediate in its order', { cert: chained.certPath, key: chained.keyPath }, []],
  ['expired', { cert: expired.certPath, key: expired.keyPath }, []],
  ['a CA for clients', { clientCa: ca.certPath }, []],
  ['several', { more: [[other.certPath, other.keyPath]] }, []],
  ['no PEM', { cert: text }, [/tls\.cert {2}file text\.pem holds no certificate in PEM {2}write PEM/]],
  ['a certificate that is cut', { cert: cut }, [/tls\.cert {2}file cut\.crt holds no certificate in PEM/]],
  [
    'a certificate that is torn',
    { cert: torn },
    [/tls\.cert .* that does not parse, number 1 {2}look whether/]
  ],
  [
    'the other way round',
    { cert: good.keyPath, key: good.certPath },
    [
      /tls\.cert .* holds a private key and no certificate {2}look whether cert and key are exchanged/,
      /tls\.key .* holds a certificate and no private key {2}look whether cert and key are exchanged/
    ]
  ],
  ['no key', { key: text }, [/tls\.key {2}file text\.pem holds no private key in PEM/]],
  [
    'a key that is torn',
    { key: tornKey },
    [/tls\.key {2}file torn\.key holds a private key that does not parse/]
  ],
  [
    'a key that is encrypted',
    { key: locked },
    [/tls\.key .* holds an encrypted key {2}decrypt it: openssl pkey/]
  ],
  [
    'a key of another',
    { key: other.keyPath },
    [/tls\.key .* does not belong to the certificate {2}write the key/]
  ],
  [
    'a chain that is turned',
    { cert: turned, key: chained.keyPath },
    [/tls\.cert .* is not a chain: certificate 2 did not issue certificate 1 {2}write the gateway's own/]
  ],
  ['a stranger in the chain', { cert: stray }, [/tls\.cert .* is not a chain/]],
  [
    'a key that is too small',
    { cert: small.certPath, key: small.keyPath },
    [/tls\.cert .* is refused by OpenSSL \(ERR_\w+\) {2}use a certificate with a key on P-256/]
  ],
  ['no PEM for clients', { clientCa: text }, [/tls\.clientCa {2}file text\.pem holds no certificate/]],
  ['a torn CA', { clientCa: torn }, [/tls\.clientCa .* that does not parse/]],
  [
    'one name twice',
    { more: [[same.certPath, same.keyPath]] },
    [/tls\.certificates\[0\]\.cert .* is for a\.test, as is file \S+ {2}keep one of the two/]
  ],
  [
    'no name to choose by',
    { more: [[nameless.certPath, nameless.keyPath]] },
    [/tls\.certificates\[0\]\.cert .* has no DNS name, so that no client could ask for it {2}request it/]
  ],
  [
    'a further key of another',
    { more: [[other.certPath, good.keyPath]] },
    [/tls\.certificates\[0\]\.key .* does not belong to the certificate/]
  ],
  ['what is not there', { cert: path('nowhere') }, [/tls\.cert {2}file nowhere cannot be read \(ENOENT\)/]]
]

t.test(
  'certificates of a listener that cannot be served are found when the configuration is checked',
  async t => {
    const secrets = [good, other, same, small].flatMap(({ key }) =>
      key.split('\n').filter(line => line.length > 40)
    )
    for (const [name, listener, expected] of rows) {
      const problems = await problemsOf(listener)
      t.match(problems, expected, name)
      t.equal(problems.length, expected.length, name)
      for (const problem of problems) {
        t.match(problem, /^gateway\.yaml:2:\d+ {2}listeners\.https\.tls/, name)
        t.notOk(
          secrets.some(line => problem.includes(line)),
          name
        )
      }
    }
  }
)

t.test('https without a certificate is refused', async t => {
  const config = await file('bare.yaml', 'listeners: { https: {} }\n')
  const error = await loadConfig(config, { plugins: fakePlugins() }).catch(error => error)
  t.match(error.message, /listeners\.https.*tls/)
})

t.test('certificates from the environment are judged too', async t => {
  const config = await file(
    'env.yaml',
    'listeners: { https: { tls: { cert: { env: CERT }, key: { env: KEY } } } }\n'
  )
  const load = (KEY: string) =>
    loadConfig(config, { plugins: fakePlugins(), env: { CERT: good.cert, KEY } }).catch(
      error => error.message
    )
  t.notMatch(await load(good.key), /environment variable/)
  t.match(await load(other.key), /listeners\.https\.tls\.key {2}environment variable KEY does not belong/)
})
