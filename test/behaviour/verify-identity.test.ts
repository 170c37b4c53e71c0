import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { createHmac, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { calculateJwkThumbprint, type JWK, SignJWT } from 'jose'
import t, { type Test } from 'tap'
import { localIssuer } from '../fixtures/issuer.ts'
import { PATH, skipWithout } from '../fixtures/tool.ts'
import { buildGateway, upstream } from '../helper.ts'

const samples = join(import.meta.dirname, '../../examples/verify-identity')
const python = 'python-with-pyjwt'
const env = { ...process.env, PATH }

/** Port that a sample says that it listens on. */
async function portOf(program: ChildProcess): Promise<number> {
  const lines = createInterface({ input: program.stdout as NodeJS.ReadableStream })
  const [line] = (await once(lines, 'line')) as [string]
  return Number(line.replace('listening on ', ''))
}

/** A gateway that signs, in front of a service that only answers what the gateway has signed for it. */
async function guarded(t: Test, command: readonly [string, ...string[]]) {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const folder = await mkdtemp(join(tmpdir(), 'sallyport-verify-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const key = join(folder, 'key.pem')
  await writeFile(key, privateKey.export({ type: 'pkcs8', format: 'pem' }))

  // The service wants to know where the keys are, and the gateway where the service is: keys are handed on from here.
  const keys = await upstream(t, async (_request, response) => {
    const answer = await fetch(`${running.url}/.well-known/sallyport/jwks.json`)
    response.setHeader('content-type', 'application/json')
    response.end(await answer.text())
  })
  const [program, ...args] = command
  const service = spawn(program, args, {
    env: { ...env, GATEWAY: 'https://api.example.com', UPSTREAM: 'orders', JWKS: keys.url, PORT: '0' },
    stdio: ['ignore', 'pipe', 'inherit']
  })
  t.teardown(() => service.kill())
  const direct = `http://127.0.0.1:${await portOf(service)}`
  const issuer = await localIssuer(t)
  const running = await buildGateway(
    t,
    `externalUrl: https://api.example.com
identity: { sign: { key: { file: ${key} } } }
issuers: { corp: { issuer: "${issuer.url}", audience: [orders-api] } }
upstreams: { orders: { url: "${direct}" }, reports: { url: "${direct}" } }
routes:
  orders: { match: { path: /orders }, upstream: orders, plugins: [{ jwt: { issuer: corp } }] }
  reports: { match: { path: /reports }, upstream: reports, plugins: [{ jwt: { issuer: corp } }] }
  open: { match: { path: /open }, public: true, upstream: orders }
`
  )
  return { running, direct, issuer, privateKey }
}

const part = (value: unknown): string =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')

/** What the gateway would never sign, or has not; and one that differs from them in nothing else. */
async function forgeries(
  own: KeyObject
): Promise<{ good: string; hostile: [name: string, identity: string][] }> {
  const seconds = Math.floor(Date.now() / 1000)
  const claims = {
    sub: 'root',
    iss: 'https://api.example.com',
    aud: 'orders',
    iat: seconds,
    exp: seconds + 60
  }
  const jwk = createPublicKey(own).export({ format: 'jwk' })
  const kid = await calculateJwkThumbprint(jwk as JWK)
  const forge = (other: object, signer: KeyObject | Uint8Array = own, header: object = {}) =>
    new SignJWT({ ...claims, ...other }).setProtectedHeader({ alg: 'ES256', kid, ...header }).sign(signer)
  const critical = () =>
    new SignJWT(claims)
      .setProtectedHeader({ alg: 'ES256', kid, crit: ['x'], x: 1 })
      .sign(own, { crit: { x: true } })
  const stranger = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const larger = generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey
  const pem = Buffer.from(createPublicKey(own).export({ type: 'spki', format: 'pem' }))
  const [header, , signature] = (await forge({})).split('.')
  const hostile: [name: string, identity: string][] = [
    ['nothing but a dot', '.'],
    ['two parts', `${header}.${part(claims)}`],
    ['another algorithm: none', `${part({ alg: 'none', kid })}.${part(claims)}.`],
    ['another algorithm: None', `${part({ alg: 'None', kid })}.${part(claims)}.${signature}`],
    ['no algorithm', `${part({ kid })}.${part(claims)}.${signature}`],
    ['HMAC with the public key', hmac(kid, claims, pem)],
    ['HMAC with the coordinates of the key', hmac(kid, claims, Buffer.from(String(jwk.x)))],
    ['a larger curve', await forge({}, larger, { alg: 'ES384' })],
    ['a key of somebody else', await forge({}, stranger.privateKey)],
    ['a key that nobody publishes', await forge({}, stranger.privateKey, { kid: 'other' })],
    [
      'a key that it brings',
      await forge({}, stranger.privateKey, { jwk: stranger.publicKey.export({ format: 'jwk' }) })
    ],
    [
      'a key that it points to',
      await forge({}, stranger.privateKey, { kid: 'other', jku: 'http://127.0.0.1:1/jwks' })
    ],
    ['a key id that is a number', `${part({ alg: 'ES256', kid: 7 })}.${part(claims)}.${signature}`],
    ['an extension that nobody knows', await critical()],
    ['other claims below a signature', `${header}.${part({ ...claims, sub: 'eve' })}.${signature}`],
    ['a signature of zeros', `${header}.${part(claims)}.${Buffer.alloc(64).toString('base64url')}`],
    ['another service', await forge({ aud: 'reports' })],
    ['no service', await forge({ aud: undefined })],
    ['another gateway', await forge({ iss: 'https://api.example.com/' })],
    ['no gateway', await forge({ iss: undefined })],
    ['an hour ago', await forge({ exp: seconds - 3600 })],
    ['a minute that is over', await forge({ exp: seconds - 6 })],
    ['no end', await forge({ exp: undefined })],
    ['an end that is text', await forge({ exp: 'never' })],
    ['a beginning that is still to come', await forge({ nbf: seconds + 60 })],
    ['nobody', await forge({ sub: undefined })],
    ['claims that are no object', `${header}.${part('[]')}.${signature}`],
    ['a header that is no object', `${part('"ES256"')}.${part(claims)}.${signature}`],
    ['a very deep header', `${part('['.repeat(5000))}.${part(claims)}.${signature}`],
    [
      'a very deep header that ends',
      `${part(`{"a":${'['.repeat(4000)}${']'.repeat(4000)}}`)}.${part(claims)}.${signature}`
    ],
    [
      'bytes that are no text',
      `${Buffer.from([0xff, 0xfe]).toString('base64url')}.${part(claims)}.${signature}`
    ]
  ]
  return { good: await forge({}), hostile }
}

function hmac(kid: string, claims: object, secret: Buffer): string {
  const text = `${part({ alg: 'HS256', kid })}.${part(claims)}`
  return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`
}

const samplePrograms = [
  ['Node', [process.execPath, join(samples, 'server.mjs')]],
  ['Python', [python, join(samples, 'server.py')]]
] as const

for (const [language, command] of samplePrograms) {
  t.test(`a backend in ${language} answers nobody but the gateway`, async t => {
    if (spawnSync(command[0], ['--version'], { env }).error !== undefined) {
      skipWithout(t, command[0])
      return
    }
    const { running, direct, issuer, privateKey } = await guarded(t, command)
    const token = await issuer.sign({ sub: 'alice', groups: ['ops'] })
    const authorization = `Bearer ${token}`

    const through = await fetch(`${running.url}/orders`, { headers: { authorization } })
    t.equal(through.status, 200)
    t.same(await through.json(), { caller: 'alice', groups: ['ops'] })

    const { good, hostile } = await forgeries(privateKey)
    const control = await fetch(direct, { headers: { 'x-sallyport-identity': good } })
    t.equal(control.status, 200, 'a token as it should be')
    const around: [string, Record<string, string>][] = [
      ['nothing at all', {}],
      ['the token of the client', { authorization }],
      ['the header that says who, without a signature', { 'x-forwarded-user': 'alice' }],
      ['no token', { 'x-sallyport-identity': 'alice' }],
      ['an access token', { 'x-sallyport-identity': token }],
      ...hostile.map(([name, identity]): [string, Record<string, string>] => [
        name,
        { 'x-sallyport-identity': identity }
      ])
    ]
    for (const [name, headers] of around) {
      const answer = await fetch(direct, { headers })
      t.equal(answer.status, 401, `around the gateway with ${name}`)
      t.equal(await answer.text(), '')
    }
    const again = await fetch(`${running.url}/orders`, { headers: { authorization } })
    t.equal(again.status, 200, 'it has outlived them all')
    t.equal((await fetch(`${running.url}/open`)).status, 401, 'nobody in particular')
    const other = await fetch(`${running.url}/reports`, { headers: { authorization } })
    t.equal(other.status, 401, 'signed for another upstream')
  })
}

for (const [language, command] of samplePrograms) {
  t.test(`a backend in ${language} does not start without knowing what to check`, async t => {
    if (spawnSync(command[0], ['--version'], { env }).error !== undefined) {
      skipWithout(t, command[0])
      return
    }
    const all = {
      GATEWAY: 'https://api.example.com',
      UPSTREAM: 'orders',
      JWKS: 'http://127.0.0.1:1',
      PORT: '0'
    }
    for (const missing of ['GATEWAY', 'UPSTREAM'] as const) {
      const [program, ...args] = command
      const { status } = spawnSync(program, args, {
        env: { ...env, ...all, [missing]: undefined },
        timeout: 20_000
      })
      t.equal(status, 1, missing)
    }
  })
}
