import { generateKeyPairSync } from 'node:crypto'
import t from 'tap'
import { readJwk } from '../../../src/issuer/jwk.ts'
import { makeKey } from '../../fixtures/issuer.ts'

const all = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'HS256',
  'none'
]

function jwkOf(pair: { publicKey: { export(options: { format: 'jwk' }): object } }): object {
  return pair.publicKey.export({ format: 'jwk' })
}

function algorithmsOf(jwk: unknown, pinned: readonly string[] = all): readonly string[] | string {
  const key = readJwk(jwk, pinned)
  return typeof key === 'string' ? key : key.algorithms
}

t.test('a key is used for the pinned algorithms that fit its type and curve', async t => {
  const rsa = jwkOf(makeKey('RS256'))
  t.same(algorithmsOf(rsa), ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'])
  t.same(algorithmsOf(rsa, ['ES256', 'PS256']), ['PS256'])
  t.same(algorithmsOf({ ...rsa, alg: 'RS256' }), ['RS256'])
  t.same(algorithmsOf(jwkOf(makeKey('ES256'))), ['ES256'])
  t.same(algorithmsOf(jwkOf(makeKey('ES384'))), ['ES384'])
  t.same(algorithmsOf(jwkOf(generateKeyPairSync('ec', { namedCurve: 'P-521' }))), ['ES512'])
  t.same(algorithmsOf(jwkOf(makeKey('EdDSA'))), ['EdDSA'])
})

t.test('keys that are not used', async t => {
  const ec = makeKey('ES256').jwk
  const rsa = makeKey('RS256').jwk
  const rows: [string, unknown][] = [
    ['none at all', null],
    ['a word', 'key'],
    ['a symmetric key', { kty: 'oct', k: 'c2VjcmV0' }],
    ['a private key', makeKey('ES256').privateKey.export({ format: 'jwk' })],
    ['for encryption', { ...ec, use: 'enc' }],
    ['use in capitals', { ...ec, use: 'SIG' }],
    ['key_ops without verify', { ...ec, key_ops: ['encrypt'] }],
    ['key_ops that is no list', { ...ec, key_ops: 'verify' }],
    ['alg of another type', { ...ec, alg: 'RS256' }],
    ['alg of encryption', { ...rsa, alg: 'RSA-OAEP' }],
    ['alg HS256', { ...rsa, alg: 'HS256' }],
    ['alg that is no text', { ...ec, alg: ['ES256'] }],
    ['a point that is not on the curve', { ...ec, x: ec.y, y: ec.x }],
    ['an unknown type', { ...ec, kty: 'XY' }],
    [
      'secp256k1, which fast-jwt would take for P-256',
      jwkOf(generateKeyPairSync('ec', { namedCurve: 'secp256k1' }))
    ],
    ['X25519', jwkOf(generateKeyPairSync('x25519'))],
    ['RSA of 1024 bits', jwkOf(generateKeyPairSync('rsa', { modulusLength: 1024 }))],
    ['RSA with the exponent 1', { ...rsa, e: 'AQ' }]
  ]
  for (const [name, jwk] of rows) t.type(readJwk(jwk, all), 'string', name)
  t.equal(algorithmsOf(ec, ['RS256']), 'no pinned algorithm fits')
})

t.test('key_ops that include verify, and a kid that is no text', async t => {
  const key = readJwk({ ...makeKey('ES256').jwk, key_ops: ['verify'], kid: 7 }, all)
  t.match(key, { kid: undefined, algorithms: ['ES256'] })
})
