import { generateKeyPairSync } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createRemoteJWKSet, decodeJwt, decodeProtectedHeader, type JWTPayload, jwtVerify } from 'jose'
import t, { type Test } from 'tap'
import { readSigningKeys } from '../../src/signed-identity/keys.ts'
import { IdentitySigner } from '../../src/signed-identity/signer.ts'
import { localIssuer } from '../fixtures/issuer.ts'
import { identity } from '../fixtures/route.ts'
import { buildGateway, echo } from '../helper.ts'

const externalUrl = 'https://api.example.com'

function privateKey(curve = 'P-256'): string {
  return generateKeyPairSync('ec', { namedCurve: curve }).privateKey.export({
    type: 'pkcs8',
    format: 'pem'
  }) as string
}

function encryptedKey(type: 'pkcs8' | 'sec1'): string {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return privateKey.export({ type, format: 'pem', cipher: 'aes-128-cbc', passphrase: 'canary' }) as string
}

function publicKey(): string {
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return publicKey.export({ type: 'spki', format: 'pem' }) as string
}

async function keyFile(t: Test, text: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'sallyport-sign-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const path = join(folder, 'key.pem')
  await writeFile(path, text)
  return path
}

async function signing(t: Test, text = privateKey()) {
  const { url } = await echo(t)
  const issuer = await localIssuer(t)
  const path = await keyFile(t, text)
  const running = await buildGateway(
    t,
    `externalUrl: ${externalUrl}
identity: { sign: { key: { file: ${path} } } }
issuers: { corp: { issuer: "${issuer.url}", audience: [orders-api] } }
upstreams: { orders: { url: "${url}" }, reports: { url: "${url}" } }
routes:
  orders: { match: { path: /orders/* }, upstream: orders, plugins: [{ jwt: { issuer: corp } }] }
  reports: { match: { path: /reports/* }, upstream: reports, plugins: [{ jwt: { issuer: corp } }] }
  both:
    match: { path: /both/* }
    upstreams: [{ name: orders, weight: 1 }, { name: reports, weight: 1 }]
    plugins: [{ jwt: { issuer: corp } }]
  open: { match: { path: /open/* }, public: true, upstream: orders }
  rest: { match: { hosts: [api.example.com], path: /* }, public: true, upstream: orders }
`
  )
  const token = await issuer.sign({
    aud: 'orders-api',
    groups: ['ops', 'admins'],
    email: 'a@example.com',
    scope: 'orders:read'
  })
  async function received(path: string, headers: Record<string, string> = {}): Promise<string | undefined> {
    const answer = await fetch(`${running.url}${path}`, {
      headers: { authorization: `Bearer ${token}`, ...headers }
    })
    const { headers: got } = (await answer.json()) as { headers: Record<string, string> }
    return got['x-sallyport-identity']
  }
  const jwks = new URL(`${running.url}/.well-known/sallyport/jwks.json`)
  async function verify(identity: string, audience: string): Promise<JWTPayload> {
    const options = { issuer: externalUrl, audience, algorithms: ['ES256'], requiredClaims: ['exp', 'sub'] }
    return (await jwtVerify(identity, createRemoteJWKSet(jwks), options)).payload
  }
  return { running, path, jwks, received, verify }
}

t.test('an upstream can verify who a request is from with what the gateway publishes', async t => {
  const { received, verify, jwks } = await signing(t)
  const identity = (await received('/orders/1')) as string
  const claims = await verify(identity, 'orders')
  t.match(claims, {
    iss: externalUrl,
    aud: 'orders',
    kind: 'jwt',
    email: 'a@example.com',
    groups: ['ops', 'admins'],
    scope: 'orders:read'
  })
  t.ok(claims.sub)
  t.equal((claims.exp as number) - (claims.iat as number), 60)
  await t.rejects(verify(identity, 'reports'), 'what was signed for one upstream is nothing to another')
  await verify((await received('/reports/1')) as string, 'reports')
  await verify((await received('/both/1')) as string, 'orders')
  await verify((await received('/both/2')) as string, 'reports')

  const answer = await fetch(jwks)
  t.match(answer.headers.get('content-type'), /^application\/jwk-set\+json/)
  t.match(answer.headers.get('cache-control'), /max-age=300/)
  const { keys } = (await answer.json()) as { keys: Record<string, string>[] }
  t.equal(keys.length, 1)
  t.same(
    Object.keys(keys[0] as object).sort(),
    ['alg', 'crv', 'kid', 'kty', 'use', 'x', 'y'],
    'nothing private'
  )
})

t.test('a client cannot bring an identity of its own, and a public route has none', async t => {
  const { received } = await signing(t)
  const mine = 'e30.e30.e30'
  t.not(await received('/orders/1', { 'x-sallyport-identity': mine }), mine)
  t.equal(await received('/open/1', { 'x-sallyport-identity': mine }), undefined)
})

t.test('the keys belong to the gateway whatever the routes of a host are', async t => {
  const { running } = await signing(t)
  const ask = (path: string, method = 'GET') =>
    fetch(`${running.url}${path}`, { method, headers: { host: 'api.example.com' } })
  t.equal((await ask('/.well-known/sallyport/jwks.json')).status, 200)
  t.equal((await ask('/.well-known/sallyport/other')).status, 404, 'no route gets the rest')
  t.equal((await ask('/.well-known/sallyport/jwks.json', 'POST')).status, 404)
  t.equal(await running.metric('sallyport_requests_in_flight{route="rest"}'), 0)
})

t.test('a key that is replaced stays published, and a second one is published before it signs', async t => {
  const [first, second] = [privateKey(), privateKey()]
  const { running, path, received, verify } = await signing(t, first)
  const before = (await received('/orders/1')) as string

  await writeFile(path, first + second)
  await running.gateway.reload()
  const during = (await received('/orders/1')) as string
  t.equal(decodeProtectedHeader(during).kid, decodeProtectedHeader(before).kid, 'the first one signs')

  await writeFile(path, second)
  await running.gateway.reload()
  const after = (await received('/orders/1')) as string
  t.not(decodeProtectedHeader(after).kid, decodeProtectedHeader(before).kid)
  for (const identity of [before, during, after]) await verify(identity, 'orders')
})

t.test('a key that cannot sign is refused at its line, and nothing of it is shown', async t => {
  const rows: [name: string, text: string, problem: RegExp][] = [
    ['no key', 'canary', /holds no private key in PEM/],
    ['another curve', privateKey('P-384'), /holds a key that is not EC P-256/],
    [
      'RSA',
      generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({
        type: 'pkcs8',
        format: 'pem'
      }) as string,
      /not EC P-256/
    ],
    ['a damaged key', privateKey().replace(/\n.{20}/, '\ncanarycanarycanarycan'), /cannot be read/],
    ['an encrypted key', encryptedKey('pkcs8'), /cannot be read: it is damaged, encrypted or none/],
    ['an encrypted key of old', encryptedKey('sec1'), /cannot be read/],
    ['a second one that is encrypted', privateKey() + encryptedKey('sec1'), /cannot be read/],
    ['a second one without an end', privateKey() + privateKey().slice(0, -20), /cannot be read/],
    ['a public key', publicKey(), /cannot be read/],
    ['a second one that is bad', `${privateKey()}${privateKey('P-521')}`, /not EC P-256/]
  ]
  for (const [name, text, problem] of rows) {
    const error = await signing(t, text).then(
      () => null,
      reason => reason as Error
    )
    t.match(error?.message, problem, name)
    t.match(error?.message, /gateway\.yaml:\d+:\d+ {2}identity\.sign\.key/, name)
    t.notMatch(error?.message, /canary/, name)
  }
})

t.test('one signature serves many requests', async t => {
  const { received } = await signing(t)
  t.equal(await received('/orders/1'), await received('/orders/2'))
})

t.test('keys are taken in the forms that OpenSSL writes them', async t => {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const sec1 = privateKey.export({ type: 'sec1', format: 'pem' }) as string
  const parameters = '-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n'
  for (const text of [sec1, parameters + sec1, `the key of 2026\n${parameters}${sec1}\n`]) {
    const { received, verify } = await signing(t, text)
    await verify((await received('/orders/1')) as string, 'orders')
  }
})

t.test('however many names an issuer gives somebody, the header has an end', async t => {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const [key] = await readSigningKeys(privateKey.export({ type: 'pkcs8', format: 'pem' }) as string)
  const many = Array.from({ length: 5000 }, (_, n) => `name-${n}`)
  const signer = await IdentitySigner.create(key, externalUrl)
  const token = signer.for('orders')(identity({ scopes: many, groups: many, roles: many }))
  t.ok(token.length < 20_000, String(token.length))
  const { scope, groups, roles } = decodeJwt(token) as { scope: string; groups: string[]; roles: string[] }
  for (const names of [scope.split(' '), groups, roles]) t.same(names, many.slice(0, names.length))
})
