import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { homedir, tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { createInterface } from 'node:readline'
import { SignJWT } from 'jose'
import t, { type Test } from 'tap'
import { localIssuer } from '../fixtures/issuer.ts'
import { skipWithout } from '../fixtures/tool.ts'
import { buildGateway, upstream } from '../helper.ts'

const samples = join(import.meta.dirname, '../../examples/verify-identity')
const python = 'python-with-pyjwt'
const cache = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'sallyport', 'bin')
const env = { ...process.env, PATH: `${cache}${delimiter}${process.env.PATH}` }

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

for (const [language, command] of [
  ['Node', [process.execPath, join(samples, 'server.mjs')]],
  ['Python', [python, join(samples, 'server.py')]]
] as const) {
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

    const seconds = Math.floor(Date.now() / 1000)
    const good = { sub: 'alice', iss: 'https://api.example.com', aud: 'orders', exp: seconds + 60 }
    const forge = (claims: object, signer = privateKey, header: object = {}) =>
      new SignJWT({ ...good, ...claims }).setProtectedHeader({ alg: 'ES256', ...header }).sign(signer)
    const stranger = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
    const around: [string, Record<string, string>][] = [
      ['nothing at all', {}],
      ['the token of the client', { authorization }],
      ['the header that says who, without a signature', { 'x-forwarded-user': 'alice' }],
      ['no token', { 'x-sallyport-identity': 'alice' }],
      ['an access token', { 'x-sallyport-identity': token }],
      ['a key of somebody else', { 'x-sallyport-identity': await forge({}, stranger) }],
      [
        'no algorithm',
        { 'x-sallyport-identity': `${Buffer.from('{"alg":"none"}').toString('base64url')}.e30.` }
      ]
    ]
    for (const [name, headers] of around) {
      const answer = await fetch(direct, { headers })
      t.equal(answer.status, 401, `around the gateway with ${name}`)
      t.equal(await answer.text(), '')
    }
    t.equal((await fetch(`${running.url}/open`)).status, 401, 'nobody in particular')
    const other = await fetch(`${running.url}/reports`, { headers: { authorization } })
    t.equal(other.status, 401, 'signed for another upstream')
  })
}
