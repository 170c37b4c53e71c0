import { once } from 'node:events'
import { mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises'
import type { ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { runReloads } from '../../bench/reloads.ts'
import { localIssuer } from '../fixtures/issuer.ts'
import { buildGateway, echo, type RunningGateway, upstream, withListeners } from '../helper.ts'

interface Parts {
  path?: string
  plugins?: string
  more?: string
  name?: string
}

function config(
  url: string,
  { path = '/open/*', plugins = '[]', more = '', name = 'open' }: Parts = {}
): string {
  return `upstreams: { backend: { url: "${url}" } }
plugins: [metrics]
${more}
routes:
  ${name}:
    match: { path: ${path} }
    public: true
    upstream: backend
    plugins: ${plugins}
`
}

async function put({ config: path }: RunningGateway, yaml: string): Promise<void> {
  await writeFile(`${path}.tmp`, withListeners(yaml))
  await rename(`${path}.tmp`, path)
}

async function reload(running: RunningGateway, yaml: string): Promise<void> {
  await put(running, yaml)
  await running.gateway.reload()
}

/** What `/config` says of the last reload. */
async function lastReload({
  admin
}: RunningGateway): Promise<{ result: string; errors: string[]; needsRestart: string[] }> {
  const body = (await (await fetch(`${admin}/config`)).json()) as { lastReload: never }
  return body.lastReload
}

/** An upstream whose requests wait until the test answers them. */
async function patient(t: Test) {
  const waiting: ServerResponse[] = []
  const arrived: ((response: ServerResponse) => void)[] = []
  const server = await upstream(t, (_request, response) => {
    const next = arrived.shift()
    if (next === undefined) waiting.push(response)
    else next(response)
  })
  return {
    url: server.url,
    next: () =>
      new Promise<ServerResponse>(resolve => {
        const response = waiting.shift()
        if (response === undefined) arrived.push(resolve)
        else resolve(response)
      })
  }
}

t.test('a changed file takes over by itself', async t => {
  const { url } = await echo(t)
  const running = await buildGateway(t, config(url), { watch: true })
  await put(running, config(url, { path: '/new' }))
  // The watcher's timers keep no process alive; open sockets do.
  while ((await fetch(`${running.url}/new`)).status !== 200);
  t.equal((await fetch(`${running.url}/open/a`)).status, 404)
  t.equal(await running.metric('sallyport_config_reloads_total{result="success"}'), 1)
})

t.test('a bad configuration leaves the old one in force, and log, metric and /config say why', async t => {
  const { url } = await echo(t)
  const running = await buildGateway(t, config(url))
  t.equal(await running.metric('sallyport_config_last_reload_successful'), 1)
  t.equal(await running.metric('sallyport_config_reloads_total{result="error"}'), 0)
  const bad: [string, RegExp][] = [
    [
      config(url).replace('upstream: backend', 'upstream: backendd'),
      /gateway\.yaml:\d+:\d+ {2}routes\.open\.upstream/
    ],
    [config(url, { plugins: '[headers: { response: { set: { x: 1 } } }]' }), /routes\.open\.plugins/],
    [config(url).replace('public: true', ''), /routes\.open/],
    ['routes: [', /gateway\.yaml:\d+:\d+/]
  ]
  for (const [i, [yaml, why]] of bad.entries()) {
    await reload(running, yaml)
    t.equal((await fetch(`${running.url}/open/a`)).status, 200)
    t.equal(await running.metric('sallyport_config_last_reload_successful'), 0)
    t.equal(await running.metric('sallyport_config_reloads_total{result="error"}'), i + 1)
    const { result, errors } = await lastReload(running)
    t.equal(result, 'error')
    t.match(errors.join('\n'), why)
    const line = running.lines.findLast(({ level }) => level === 'error')
    t.same(line?.errors, errors)
  }
  await reload(running, config(url))
  t.equal(await running.metric('sallyport_config_last_reload_successful'), 1)
  t.match(await lastReload(running), { result: 'success', errors: [] })
})

t.test('a plugin that throws while it is registered leaves the old configuration in force', async t => {
  const folder = await mkdtemp(join(tmpdir(), 'sallyport-plugins-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const { url } = await echo(t)
  await writeFile(
    join(folder, 'fussy.mjs'),
    `export default {
      phase: 'guard',
      schema: { properties: { bad: { type: 'boolean' } } },
      register(route, { bad }) { if (bad) throw new Error('I do not like it') }
    }`
  )
  const running = await buildGateway(t, config(url, { plugins: '[fussy]' }), { plugins: folder })
  await reload(running, config(url, { plugins: '[fussy: { bad: true }]', name: 'other' }))
  t.equal((await fetch(`${running.url}/open/a`)).status, 200)
  t.same((await lastReload(running)).errors, ['route other: plugin fussy: I do not like it'])
  const metrics = await (await fetch(`${running.admin}/metrics`)).text()
  t.notMatch(metrics, 'route="other"', 'a route that never was in force has no series')
})

t.test('a custom plugin whose file changes is loaded anew', async t => {
  const folder = await mkdtemp(join(tmpdir(), 'sallyport-plugins-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const plugin = (version: number) => `export default {
    phase: 'transform', schema: {},
    register(route) { route.addHook('onRequest', async (_, reply) => { reply.header('x-version', ${version}) }) }
  }`
  await writeFile(join(folder, 'versioned.mjs'), plugin(1))
  const { url } = await echo(t)
  const running = await buildGateway(t, config(url, { plugins: '[versioned]' }), {
    plugins: folder,
    watch: true
  })
  t.equal((await fetch(`${running.url}/open/a`)).headers.get('x-version'), '1')
  await writeFile(join(folder, 'versioned.mjs'), plugin(2))
  while ((await fetch(`${running.url}/open/a`)).headers.get('x-version') !== '2');
  await writeFile(join(folder, 'versioned.mjs'), 'export default 7')
  while ((await lastReload(running)).result !== 'error');
  t.equal((await fetch(`${running.url}/open/a`)).headers.get('x-version'), '2')
  t.match((await lastReload(running)).errors, [/versioned\.mjs {2}the default export is not a plugin/])
})

t.test('a request under way ends on the configuration that it began with', async t => {
  const backend = await patient(t)
  const running = await buildGateway(t, config(backend.url, { path: '/old' }))
  const answer = fetch(`${running.url}/old`)
  const response = await backend.next()
  response.write('first ')
  for (const path of ['/new', '/newer']) await reload(running, config(backend.url, { path, name: 'renamed' }))
  t.equal((await fetch(`${running.url}/old`)).status, 404)
  response.end('second')
  const { status } = await answer
  t.equal(status, 200)
  t.equal(await (await answer).text(), 'first second')
})

t.test('a used-up rate limit stays used up', async t => {
  const { url } = await echo(t)
  const plugins = '[rate-limit: { limit: 2, window: 1d, by: client.ip }]'
  const running = await buildGateway(t, config(url, { plugins }))
  const statuses: number[] = []
  for (let i = 0; i < 3; i++) statuses.push((await fetch(`${running.url}/open/a`)).status)
  t.same(statuses, [200, 200, 429])
  await reload(
    running,
    config(url, { plugins: `[${plugins.slice(1, -1)}, cors: { origins: ["https://a.example"] }]` })
  )
  t.equal((await lastReload(running)).result, 'success')
  t.equal((await fetch(`${running.url}/open/a`)).status, 429)
})

t.test('connections to upstreams stay', async t => {
  const backend = await echo(t)
  let connections = 0
  backend.server.on('connection', () => connections++)
  const running = await buildGateway(t, config(backend.url))
  for (let i = 0; i < 5; i++) {
    await (await fetch(`${running.url}/open/a`)).text()
    await reload(
      running,
      config(backend.url, { plugins: `[headers: { response: { set: { x-i: "${i}" } } }]` })
    )
  }
  t.equal(connections, 1)
  t.equal((await lastReload(running)).result, 'success')
})

t.test('connections of an upstream that is gone end with its last request', async t => {
  const [before, after] = [await patient(t), await echo(t)]
  const running = await buildGateway(t, config(before.url))
  const answer = fetch(`${running.url}/open/a`)
  const response = await before.next()
  await reload(running, config(after.url))
  t.equal((await fetch(`${running.url}/open/a`)).status, 200)
  const closed = once(response.req.socket, 'close')
  response.end('done')
  t.equal(await (await answer).text(), 'done')
  await t.resolves(closed)
})

t.test('the keys of an issuer are not fetched again', async t => {
  const issuer = await localIssuer(t)
  const { url } = await echo(t)
  const yaml = (header: string) => `upstreams: { backend: { url: "${url}" } }
issuers: { corp: { issuer: "${issuer.url}", audience: [orders], algorithms: [ES256] } }
routes:
  orders:
    match: { path: /orders }
    upstream: backend
    plugins: [jwt: { issuer: corp }, headers: { response: { set: { x-header: ${header} } } }]
`
  const running = await buildGateway(t, yaml('a'))
  const token = await issuer.sign({ aud: 'orders' })
  for (const header of ['a', 'b', 'c']) {
    await reload(running, yaml(header))
    const response = await fetch(`${running.url}/orders`, { headers: { authorization: `Bearer ${token}` } })
    t.equal(response.status, 200)
    t.equal(response.headers.get('x-header'), header)
  }
  t.equal(issuer.asked.keys, 1)
  await reload(running, config(url))
  t.notMatch(await (await fetch(`${running.admin}/metrics`)).text(), 'issuer="corp"')
})

t.test(
  'the series of a removed route go, with the end of its last request, and do not come back',
  async t => {
    const backend = await patient(t)
    const running = await buildGateway(t, config(backend.url, { name: 'gone' }))
    async function series(): Promise<string[]> {
      const text = await (await fetch(`${running.admin}/metrics`)).text()
      return text.split('\n').filter(line => line.includes('route="gone"'))
    }
    const answer = fetch(`${running.url}/open/a`)
    const response = await backend.next()
    await reload(running, config(backend.url, { name: 'stays' }))
    await reload(running, 'routes: [')
    t.ok(
      (await series()).includes('sallyport_requests_in_flight{route="gone"} 1'),
      'it has a request under way'
    )
    response.end()
    await (await answer).text()
    while ((await series()).length > 0);
    t.pass('gone')
    const stays = await running.metric('sallyport_requests_in_flight{route="stays"}')
    t.equal(stays, 0)
  }
)

t.test('a route that comes back while its last request from before ends is counted', async t => {
  const backend = await patient(t)
  const running = await buildGateway(t, config(backend.url, { name: 'wanders' }))
  const old = fetch(`${running.url}/open/a`)
  const first = await backend.next()
  await reload(running, config(backend.url, { name: 'stays' }))
  // The build of the third configuration and the end of the first overlap.
  await put(running, config(backend.url, { name: 'wanders' }))
  const reloaded = running.gateway.reload()
  first.end()
  await (await old).text()
  await reloaded
  const next = fetch(`${running.url}/open/a`)
  ;(await backend.next()).end()
  t.equal((await next).status, 200)
  await (await next).text()
  t.equal(await running.metric('sallyport_requests_in_flight{route="wanders"}'), 0)
  t.ok(
    await running.metric('sallyport_requests_total{route="wanders",protocol="http",method="GET",code="200"}')
  )
})

t.test('what belongs to the sockets is said to need a restart', async t => {
  const { url } = await echo(t)
  const running = await buildGateway(t, config(url))
  const listeners =
    'listeners:\n  http: { host: 127.0.0.1, port: 1 }\n  admin: { host: 127.0.0.1, port: 0 }\n'
  await reload(
    running,
    `${listeners}${config(url, { more: 'limits: { maxConnections: 7, drainDelay: 1ms }' })}`
  )
  const needsRestart = ['listeners', 'limits.maxConnections']
  t.match(await lastReload(running), { result: 'success', needsRestart })
  t.match(
    running.lines.find(({ level }) => level === 'warn'),
    { keys: needsRestart, msg: /next start/ }
  )
  await reload(running, config(url))
  t.same((await lastReload(running)).needsRestart, [])
})

t.test('a storm of reloads becomes few, and the newest content wins', async t => {
  const { url } = await echo(t)
  const running = await buildGateway(t, config(url))
  const storm: Promise<void>[] = []
  for (let i = 0; i < 10; i++) {
    await put(running, config(url, { path: `/v${i}` }))
    for (let j = 0; j < 10; j++) storm.push(running.gateway.reload())
  }
  await Promise.all(storm)
  t.equal((await fetch(`${running.url}/v9`)).status, 200)
  const reloads = await running.metric('sallyport_config_reloads_total{result="success"}')
  t.ok(reloads! <= 20, 'at most one that runs and one that waits for each ten')
})

t.test('a change between the first reading and the first request is not lost', async t => {
  const { url } = await echo(t)
  const folder = await mkdtemp(join(tmpdir(), 'sallyport-plugins-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  // The configuration changes itself while it is being put in force.
  const running = await (async () => {
    await writeFile(
      join(folder, 'changing.mjs'),
      `import { readFileSync, writeFileSync } from 'node:fs'
      export default {
        phase: 'guard',
        schema: { properties: { file: { type: 'string' } } },
        register(route, { file }) {
          const { path } = JSON.parse(readFileSync(file, 'utf8'))
          const text = readFileSync(path, 'utf8')
          if (text.includes('/old')) writeFileSync(path, text.replace('/old', '/new'))
        }
      }`
    )
    const pointer = join(folder, 'pointer.txt')
    const yaml = config(url, { path: '/old', plugins: `[changing: { file: "${pointer}" }]` })
    const path = join(folder, 'gateway.txt')
    await writeFile(path, withListeners(yaml))
    await writeFile(pointer, JSON.stringify({ path }))
    return buildGateway(t, yaml, { watch: true, plugins: folder, config: path })
  })()
  while ((await fetch(`${running.url}/new`)).status !== 200);
  t.match(await readFile(join(folder, 'gateway.txt'), 'utf8'), '/new')
})

t.test(
  'twenty reloads under load: nothing fails, nothing good is ignored, nothing bad comes into force',
  async t => {
    const figures = await runReloads({ reloads: 20, connections: 4 })
    t.match(figures, { reloads: 20, failed: 0, ignored: 0, badInForce: 0 })
    t.ok(figures.requests > 100)
  }
)
