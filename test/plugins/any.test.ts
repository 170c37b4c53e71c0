import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { builtins } from '../../plugins/index.ts'
import { loadConfig } from '../../src/config/load.ts'
import { loadPlugins } from '../../src/plugin/load.ts'
import { buildGateway, echo, type RunningGateway } from '../helper.ts'

/** A plugin that takes `good` in a header of its own. `more` goes into it as it is. */
function keyed(header: string, more = ''): string {
  return `export default {
  phase: 'authenticate',
  schema: { type: 'object', properties: {}, additionalProperties: false },
  carries: () => request => request.headers['${header}'] !== undefined,
  credentialHeaders: ['${header}'],
  ${more}
  register (route) {
    route.addHook('onRequest', async request => {
      const value = request.headers['${header}']
      if (value === undefined) route.gateway.deny('token.missing', { headers: { 'www-authenticate': '${header}' } })
      if (value === 'throw') throw new Error('a defect')
      if (value !== 'good') route.gateway.deny('token.invalid')
      request.gateway.identity = { kind: 'custom', subject: '${header}', issuer: 'test', email: null, scopes: [], groups: [], roles: [], claims: {}, expiresAt: null }
    })
    route.addHook('onSend', (request, reply, payload, done) => { reply.header('x-sent-${header}', 'yes'); done(null, payload) })
  }
}
`
}

async function folderOf(t: Test, files: Record<string, string>): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'sallyport-any-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  await mkdir(join(folder, 'plugins'))
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, 'plugins', name), text)
  return folder
}

async function gateway(t: Test, list: string, invites = ''): Promise<RunningGateway> {
  const { url } = await echo(t)
  const folder = await folderOf(t, { 'key-a.mjs': keyed('x-a'), 'key-b.mjs': keyed('x-b', invites) })
  return buildGateway(
    t,
    `upstreams: { backend: { url: "${url}" } }
plugins: [metrics, access-log]
routes:
  open: { match: { path: /* }, upstream: backend, plugins: [{ any: ${list} }] }
`,
    { plugins: join(folder, 'plugins') }
  )
}

t.test('the first credential that is there decides', async t => {
  const { url, metric, lines } = await gateway(t, '[key-a, key-b]')
  const ask = (headers: Record<string, string>) => fetch(url, { headers })

  for (const [headers, status, subject] of [
    [{ 'x-a': 'good' }, 200, 'x-a'],
    [{ 'x-b': 'good' }, 200, 'x-b'],
    [{ 'x-a': 'good', 'x-b': 'good' }, 200, 'x-a'],
    [{ 'x-a': 'good', 'x-b': 'bad' }, 200, 'x-a'],
    [{ 'x-a': 'bad', 'x-b': 'good' }, 401, null],
    [{ 'x-a': 'bad' }, 401, null],
    [{ 'x-b': 'bad' }, 401, null],
    [{ 'x-a': 'throw', 'x-b': 'good' }, 500, null]
  ] as const) {
    const answer = await ask(headers)
    t.equal(answer.status, status, JSON.stringify(headers))
    const body = (await answer.json()) as { headers: Record<string, string> }
    if (subject !== null) t.equal(body.headers['x-forwarded-user'], subject)
  }
  t.equal(
    await metric(
      'sallyport_decisions_total{route="open",plugin="key-a",verdict="deny",reason="token.invalid"}'
    ),
    2,
    'the plugin that judged is the one that is counted'
  )
  t.ok(lines.some(line => line.refusedBy === 'key-b'))
})

t.test('a credential that was not judged stays here as well', async t => {
  const { url } = await gateway(t, '[key-a, key-b]')
  const answer = await fetch(url, { headers: { 'x-a': 'good', 'x-b': 's3cret' } })
  const { headers } = (await answer.json()) as { headers: Record<string, string> }
  t.equal(headers['x-forwarded-user'], 'x-a')
  t.equal(headers['x-b'], undefined)
})

t.test('only the hooks of the plugin that judged see the answer', async t => {
  const { url } = await gateway(t, '[key-a, key-b]')
  const answer = await fetch(url, { headers: { 'x-b': 'good' } })
  t.equal(answer.headers.get('x-sent-x-b'), 'yes')
  t.equal(answer.headers.get('x-sent-x-a'), null)
})

t.test('who brings nothing is answered by the first plugin, or by the one that invites', async t => {
  const first = await gateway(t, '[key-a, key-b]')
  const refused = await fetch(first.url)
  t.equal(refused.status, 401)
  t.equal(refused.headers.get('www-authenticate'), 'x-a')
  const inviting = await gateway(t, '[key-a, key-b]', 'invites: true,')
  t.equal((await fetch(inviting.url)).headers.get('www-authenticate'), 'x-b')
})

t.test('what cannot stand in `any` is refused where it is written', async t => {
  const folder = await folderOf(t, { 'key-a.mjs': keyed('x-a') })
  const plugins = await loadPlugins(builtins, join(folder, 'plugins'))
  const rows: [list: string, problem: RegExp][] = [
    [
      '[metrics]',
      /6:\d+ {2}.*any\[0\]\.metrics {2}plugin metrics cannot stand in any {2}write plugins that authenticate/
    ],
    ['[{ rate-limit: { limit: 1, window: 1s, by: client.ip } }]', /plugin rate-limit cannot stand in any/],
    ['[{ any: [key-a] }]', /plugin any cannot stand in any/],
    ['[nothing-like-it]', /no plugin is named "nothing-like-it"/],
    ['[{ key-a: { unheard: 1 } }]', /any\[0\]\.key-a\.unheard/],
    ['[{ jwt: { issuer: nobody } }]', /there is no issuer nobody/],
    ['[]', /any/],
    ['{ key-a: {} }', /any/],
    ['', /any/]
  ]
  for (const [list, problem] of rows) {
    const path = join(folder, 'gateway.yaml')
    await writeFile(
      path,
      `upstreams: { backend: { url: http://127.0.0.1:1 } }
routes:
  open:
    match: { path: /* }
    upstream: backend
    plugins: [{ any: ${list} }]
`
    )
    await t.rejects(loadConfig(path, { plugins, env: {} }), { message: problem }, list)
  }
})
