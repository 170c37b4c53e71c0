import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { digestOfKey, makeKey } from '../../plugins/api-key/key.ts'
import { builtins } from '../../plugins/index.ts'
import { loadConfig } from '../../src/config/load.ts'
import { temporaryFolder } from '../fixtures/certificates.ts'
import { localIssuer } from '../fixtures/issuer.ts'
import { buildGateway, echo } from '../helper.ts'

t.test('whoever brings nothing is anonymous, and a bad credential is still refused', async t => {
  const made = makeKey()
  const folder = await temporaryFolder(t)
  const file = join(folder, 'keys.yaml')
  const hash = `sha256:${digestOfKey(made.key).toString('hex')}`
  await writeFile(file, `keys: [{ id: ${made.id}, hash: "${hash}", owner: billing }]`)
  const issuer = await localIssuer(t)
  const { url: upstream } = await echo(t)
  const { url } = await buildGateway(
    t,
    `issuers: { corp: { issuer: "${issuer.url}", audience: [orders-api], algorithms: [ES256] } }
upstreams: { backend: { url: "${upstream}" } }
routes:
  open:
    match: { path: /* }
    upstream: backend
    plugins:
      - any:
          - jwt: { issuer: corp }
          - api-key: { keys: { file: ${file} } }
          - anonymous: { scopes: [guest], groups: [everybody] }
      - authorize: { allow: 'identity.subject != "anonymous" || "guest" in identity.scopes' }
`
  )
  const rows: [what: string, headers: Record<string, string>, status: number, subject?: string][] = [
    ['nothing', {}, 200, 'anonymous'],
    ['a token', { authorization: `Bearer ${await issuer.sign()}` }, 200, 'alice'],
    ['a key', { 'x-api-key': made.key }, 200, 'billing'],
    ['a bad token', { authorization: 'Bearer a.b.c' }, 401],
    ['an expired token', { authorization: `Bearer ${await issuer.sign({ exp: 1 })}` }, 401],
    ['a bad key', { 'x-api-key': 'x' }, 401],
    ['what nobody here judges', { authorization: 'Basic abc' }, 200, 'anonymous']
  ]
  for (const [what, headers, status, subject] of rows) {
    const answer = await fetch(url, { headers })
    t.equal(answer.status, status, what)
    if (subject === undefined) continue
    const got = ((await answer.json()) as { headers: Record<string, string> }).headers
    t.equal(got['x-forwarded-user'], subject, what)
    if (subject === 'anonymous') t.equal(got['x-forwarded-groups'], 'everybody')
  }
})

t.test('it stands last in `any`, and nowhere else', async t => {
  const folder = await temporaryFolder(t)
  const path = join(folder, 'gateway.yaml')
  const plugins = new Map(builtins.map(plugin => [plugin.name, plugin]))
  const load = async (list: string, everywhere = '[]') => {
    await writeFile(
      path,
      `issuers: { corp: { issuer: https://idp.example.com, audience: [a] } }
upstreams: { backend: { url: http://127.0.0.1:1 } }
plugins: ${everywhere}
routes:
  open: { match: { path: /* }, upstream: backend, plugins: ${list} }
`
    )
    return loadConfig(path, { plugins, env: {} })
  }
  const jwt = '{ jwt: { issuer: corp } }'
  await t.resolves(load(`[{ any: [${jwt}, anonymous] }]`))
  await t.rejects(load('[anonymous]'), {
    message: /lets everybody in {2}write it behind others in an any list/
  })
  await t.rejects(load('[{ any: [anonymous] }]'), { message: /any\[0\].*anonymous.*lets everybody in/ })
  await t.rejects(load(`[{ any: [${jwt}] }]`, '[{ any: [anonymous] }]'), { message: /lets everybody in/ })
  await t.resolves(load(`[{ any: [${jwt}, { anonymous: { scopes: [a] } }] }]`))
  await t.rejects(load(`[${jwt}]`, '[anonymous]'), { message: /lets everybody in/ })
  await t.rejects(load(`[{ any: [anonymous, ${jwt}] }]`), {
    message:
      /any\[0\]\.anonymous|plugin anonymous takes every request, so what follows it is never asked {2}write it last/
  })
  await t.rejects(load(`[{ any: [{ forward-auth: { url: "http://a" } }, ${jwt}] }]`), {
    message: /plugin forward-auth takes every request/
  })
})
