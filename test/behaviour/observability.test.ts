import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import t, { type Test } from 'tap'
import { createLog } from '../../src/log.ts'
import { metricCatalogue } from '../../src/registry.ts'
import { parseExposition } from '../fixtures/exposition.ts'
import { localIssuer } from '../fixtures/issuer.ts'
import { runTool, skipWithout } from '../fixtures/tool.ts'
import { buildGateway, echo, type RunningGateway, upstream } from '../helper.ts'

function config(url: string, more = ''): string {
  return `upstreams: { backend: { url: "${url}" }, down: { url: "http://127.0.0.1:9" } }
plugins: [access-log, metrics]
routes:
  open: { match: { path: /open/* }, public: true, upstream: backend }
  down: { match: { path: /down }, public: true, upstream: down }
${more}`
}

/** Sends bytes and reads the answer to its end. */
async function raw({ port }: RunningGateway, bytes: string): Promise<string> {
  const socket = connect(port, '127.0.0.1')
  socket.end(Buffer.from(bytes, 'latin1'))
  let text = ''
  for await (const chunk of socket) text += chunk
  return text
}

const admin = ['/livez', '/readyz', '/metrics', '/routes', '/config']

async function scrape(running: RunningGateway): Promise<string> {
  return (await fetch(`${running.admin}/metrics`)).text()
}

t.test('health, metrics and configuration are on the admin listener, and only there', async t => {
  const { url } = await echo(t)
  const running = await buildGateway(t, config(url))
  for (const path of admin) {
    t.equal((await fetch(`${running.admin}${path}`)).status, 200, path)
    t.match(await (await fetch(`${running.url}${path}`)).json(), { status: 404, reason: 'route.none' })
  }
  // A catch-all route gets them as any other path: the gateway itself answers nothing.
  const all = await buildGateway(
    t,
    `upstreams: { backend: { url: "${url}" } }\nroutes: { all: { match: { path: /* }, public: true, upstream: backend } }`
  )
  for (const path of admin) t.match(await (await fetch(`${all.url}${path}`)).json(), { url: path })
})

t.test('the admin listener is read-only and repeats nothing', async t => {
  const { url } = await echo(t)
  const running = await buildGateway(t, config(url))
  for (const method of ['POST', 'PUT', 'DELETE', 'PATCH']) {
    for (const path of admin) t.equal((await fetch(`${running.admin}${path}`, { method })).status, 404)
  }
  const unknown = await fetch(`${running.admin}/c4nary?c4nary`)
  t.equal(unknown.status, 404)
  t.notMatch(await unknown.text(), 'c4nary')
  t.equal((await fetch(`${running.admin}/open/a`)).status, 404, 'nor does it proxy')
})

t.test('/routes says what is matched and what runs', async t => {
  const { url } = await echo(t)
  const running = await buildGateway(t, config(url))
  const { routes } = (await (await fetch(`${running.admin}/routes`)).json()) as { routes: object[] }
  t.match(routes, [
    {
      name: 'open',
      match: { path: '/open/*' },
      public: true,
      upstream: 'backend',
      plugins: [
        { name: 'access-log', phase: 'observe' },
        { name: 'metrics', phase: 'observe' }
      ]
    },
    { name: 'down' }
  ])
})

t.test('every public metric is declared, with the labels that the documentation names', async t => {
  const { url } = await echo(t)
  const families = parseExposition(await scrape(await buildGateway(t, config(url))))
  const documented: Record<string, string[]> = {
    requests_total: ['route', 'protocol', 'method', 'code'],
    request_duration_seconds: ['route', 'protocol'],
    upstream_request_duration_seconds: ['upstream'],
    requests_in_flight: ['route'],
    decisions_total: ['route', 'plugin', 'verdict', 'reason'],
    upstream_errors_total: ['upstream', 'reason'],
    upstream_healthy: ['upstream', 'endpoint'],
    circuit_breaker_state: ['upstream'],
    retries_total: ['upstream'],
    rate_limit_store_errors_total: ['store'],
    jwks_fetches_total: ['issuer', 'result'],
    jwks_age_seconds: ['issuer'],
    config_reloads_total: ['result'],
    config_last_reload_successful: [],
    config_info: ['hash'],
    websocket_connections: ['route'],
    websocket_messages_total: ['route', 'direction'],
    grpc_responses_total: ['route', 'grpc_status'],
    event_loop_lag_seconds: [],
    build_info: ['version', 'node']
  }
  for (const [name, labels] of Object.entries(documented)) {
    t.ok(families.has(`sallyport_${name}`), name)
    t.same(metricCatalogue.find(metric => metric.name === name)?.labels, labels, `labels of ${name}`)
  }
})

t.test('metrics read as the exposition format, and mean what they say', async t => {
  const { url } = await echo(t)
  const running = await buildGateway(t, config(url))
  const before = parseExposition(await scrape(running))
  function value(families: typeof before, name: string, labels: string): number | undefined {
    return families.get(`sallyport_${name}`)?.samples.get(labels)
  }
  t.equal(value(before, 'config_reloads_total', '{result="success"}'), 0)
  t.equal(value(before, 'config_reloads_total', '{result="error"}'), 0)
  t.equal(value(before, 'config_last_reload_successful', ''), 1)
  t.equal(value(before, 'requests_in_flight', '{route="open"}'), 0)

  for (const path of ['/open/a', '/open/b', '/down', '/nowhere'])
    await (await fetch(`${running.url}${path}`)).text()
  await raw(running, 'BAD\r\n\r\n')
  const text = await scrape(running)
  const families = parseExposition(text)
  const all = 'protocol="http",method="GET"'
  t.equal(value(families, 'requests_total', `{route="open",${all},code="200"}`), 2)
  t.equal(value(families, 'requests_total', `{route="down",${all},code="502"}`), 1)
  t.equal(value(families, 'requests_total', `{route="none",${all},code="404"}`), 1)
  t.equal(value(families, 'requests_total', `{route="none",protocol="http",method="other",code="400"}`), 1)
  t.equal(value(families, 'upstream_errors_total', '{upstream="down",reason="upstream.connect"}'), 1)
  t.equal(value(families, 'requests_in_flight', '{route="open"}'), 0)
  t.ok(value(families, 'event_loop_lag_seconds', '')! >= 0)

  for (const [name, { type, samples, help }] of families) {
    t.ok(help.length > 0)
    t.ok(['counter', 'gauge', 'histogram'].includes(type), `${name} has a type`)
    t.equal(name.endsWith('_total'), type === 'counter', `${name} is named for its type`)
    for (const [labels, number] of samples) if (type !== 'gauge') t.ok(number >= 0, `${name}${labels}`)
  }
  const durations = families.get('sallyport_request_duration_seconds')!.samples
  const buckets = [...durations].filter(([key]) => key.startsWith('_bucket') && key.includes('"open"'))
  const counts = buckets.map(([, count]) => count)
  t.same(
    counts,
    counts.toSorted((a, b) => a - b),
    'buckets are cumulative'
  )
  t.match(buckets.at(-1), [/le="\+Inf"/, 2])
  t.equal([...durations].find(([key]) => key.startsWith('_count') && key.includes('"open"'))?.[1], 2)
})

t.test('promtool has nothing to say against the metrics', async t => {
  const { url } = await echo(t)
  const running = await buildGateway(t, config(url))
  for (const path of ['/open/a', '/down', '/nowhere']) await (await fetch(`${running.url}${path}`)).text()
  const result = runTool('promtool', ['check', 'metrics'], await scrape(running))
  if (result === null) skipWithout(t, 'promtool')
  else t.same(result, { code: 0, output: '' })
})

t.test('a client makes no series, whatever it invents', async t => {
  const { url } = await echo(t)
  const running = await buildGateway(t, config(url))
  const known = ['GET', 'PROPFIND', 'REPORT', 'LINK']
  async function flood(from: number): Promise<number> {
    for (let i = from; i < from + 50; i++) {
      const method = known[i % known.length]
      const path = i % 2 === 0 ? `/open/${i}?q=${i}` : `/${i}`
      await raw(
        running,
        `${method} ${path} HTTP/1.1\r\nhost: h${i}.example\r\nx-${i}: ${i}\r\nconnection: close\r\n\r\n`
      )
      await raw(running, `INVENTED${i} / HTTP/1.1\r\nhost: a\r\n\r\n`)
    }
    const families = parseExposition(await scrape(running))
    return [...families.values()].reduce((sum, { samples }) => sum + samples.size, 0)
  }
  const first = await flood(0)
  t.equal(await flood(50), first)
})

/** A log that keeps the lines as they were written. */
function recorded(level: string): { text: () => string; log: ReturnType<typeof createLog> } {
  const chunks: string[] = []
  const stream = new Writable({
    write(chunk, _encoding, done) {
      chunks.push(String(chunk))
      done()
    }
  })
  return { text: () => chunks.join(''), log: createLog(level, stream) }
}

/** Throws when an object of the line has a key twice, which `JSON.parse` would let pass. */
function keysOf(line: string): string[] {
  const parsed = JSON.parse(line) as Record<string, unknown>
  let rest = line
  for (const value of Object.values(parsed)) rest = rest.replace(JSON.stringify(value), '0')
  const keys = [...rest.matchAll(/[{,]"((?:[^"\\]|\\.)*)":/g)].map(([, key]) => key as string)
  if (new Set(keys).size !== keys.length || keys.length !== Object.keys(parsed).length)
    throw new Error(`a key comes twice: ${line}`)
  return keys
}

t.test('each log line is one JSON object, whatever a request holds', async t => {
  const { url } = await echo(t)
  const { log, text } = recorded('trace')
  const running = await buildGateway(t, config(url), { log })
  const hostile = [
    '"}',
    '\\',
    '\\n',
    '%0a',
    '{"level":"fatal"}',
    '\u00e9\u0080',
    '\t',
    'a'.repeat(4000),
    '</script>',
    "'"
  ]
  for (const value of hostile) {
    await raw(
      running,
      `GET /open/${encodeURIComponent(value)} HTTP/1.1\r\nhost: a\r\nuser-agent: ${value}\r\nx-request-id: ${value}\r\nconnection: close\r\n\r\n`
    )
    await raw(running, `GET /open/${value} HTTP/1.1\r\nhost: a\r\n\r\n`)
    await raw(running, `GET /nowhere HTTP/1.1\r\nhost: ${value}\r\nuser-agent: ${value}\r\n\r\n`)
    await raw(running, `${value} / HTTP/1.1\r\n\r\n`)
  }
  await fetch(`${running.url}/down`)
  await writeFile(running.config, 'routes: ["\\n"')
  await running.gateway.reload()
  const lines = text().trimEnd().split('\n')
  t.ok(lines.length > hostile.length)
  for (const line of lines)
    t.ok(
      ['level', 'time', 'msg'].every(key => keysOf(line).includes(key)),
      line.slice(0, 120)
    )
})

t.test('refused connections do not flood the log, and are all counted', async t => {
  const { url } = await echo(t)
  const running = await buildGateway(t, config(url))
  await Promise.all(Array.from({ length: 100 }, () => raw(running, 'BAD\r\n\r\n')))
  const lines = running.lines.filter(({ msg }) => /refused before/.test(msg as string))
  // Ten a second, and the hundred may fall into several seconds of a busy machine.
  t.ok(lines.length >= 10 && lines.length < 100, `${lines.length} lines`)
  t.equal(
    await running.metric('sallyport_requests_total{route="none",protocol="http",method="other",code="400"}'),
    100
  )
})

const canary = 'c4nary'

async function pluginFolder(t: Test, files: Record<string, string>): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'sallyport-plugins-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  for (const [name, content] of Object.entries(files)) await writeFile(join(folder, name), content)
  return folder
}

t.test('secrets are in no log line at any level, no metric, no error and not in /config', async t => {
  const issuer = await localIssuer(t)
  const backend = await upstream(t, (request, response) => {
    if (request.url?.startsWith('/open/reset')) request.socket.destroy()
    else response.setHeader('set-cookie', `session=${canary}`).end('fine')
  })
  // An error as libraries throw them: with the request that it failed on.
  const plugins = await pluginFolder(t, {
    'careless.mjs': `export default {
      phase: 'transform', schema: {},
      register(route) {
        route.addHook('onRequest', async request => {
          if (!request.url.includes('careless')) return
          const error = new Error('the call has failed', { cause: Object.assign(new Error('inner'), { options: { headers: request.headers } }) })
          throw Object.assign(error, { request: request.raw, headers: request.headers, config: { url: request.url } })
        })
      }
    }`
  })
  const { log, text } = recorded('trace')
  const yaml = `upstreams:
  backend: { url: "${backend.url}" }
  secure: { url: "https://127.0.0.1:9", tls: { ca: { env: CANARY } } }
issuers: { corp: { issuer: "${issuer.url}", audience: [orders], algorithms: [ES256] } }
plugins: [access-log, metrics]
routes:
  open:
    match: { path: /open/* }
    public: true
    upstream: backend
    plugins:
      - careless
      - headers: { request: { set: { authorization: "Basic ${canary}", x-internal: "${canary}" } } }
  closed: { match: { path: /closed }, upstream: backend, plugins: [jwt: { issuer: corp }] }
  secure: { match: { path: /secure }, public: true, upstream: secure }
`
  const running = await buildGateway(t, yaml, {
    log,
    plugins,
    env: { CANARY: `-----BEGIN CERTIFICATE-----\n${canary}\n-----END CERTIFICATE-----` }
  })
  const headers = {
    authorization: `Bearer ${canary}.${canary}.${canary}`,
    cookie: `session=${canary}`,
    'x-api-key': canary,
    'proxy-authorization': `Basic ${canary}`
  }
  const good = await issuer.sign({ aud: 'orders', sub: 'alice', email: `${canary}@example.com`, jti: canary })
  const answers: string[] = []
  for (const path of ['/open/a', '/open/careless', '/open/reset', '/closed', '/secure', '/nowhere']) {
    for (const authorization of [headers.authorization, `Bearer ${good}`, `Bearer ${good}${canary}`]) {
      const response = await fetch(`${running.url}${path}?token=${canary}`, {
        method: 'POST',
        headers: { ...headers, authorization },
        body: canary
      })
      answers.push(await response.text())
    }
  }
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
  answers.push(await raw(running, `GET /open/%zz?${canary} HTTP/1.1\r\nhost: a\r\n${lines.join('')}\r\n`))
  answers.push(await raw(running, `GET /open/a HTTP/1.1\r\nhost: a\r\n${lines.join('')}bad header\r\n\r\n`))
  await raw(
    running,
    `GET /open/a?${canary} HTTP/1.1\r\nhost: a\r\n${lines.join('')}upgrade: websocket\r\nconnection: upgrade\r\n\r\n`
  )
  // A reload that is refused for a secret that was written down.
  await writeFile(
    running.config,
    yaml.replace('{ env: CANARY }', canary).replace(backend.url, `http://user:${canary}@a.example`)
  )
  await running.gateway.reload()

  for (const answer of answers) t.notMatch(answer, canary)
  for (const path of admin) t.notMatch(await (await fetch(`${running.admin}${path}`)).text(), canary, path)
  const logged = text()
  t.match(logged, 'a plugin failed')
  t.match(logged, 'stays in force')
  t.same(
    logged
      .split('\n')
      .filter(line => line.includes(canary))
      .map(line => line.slice(0, 300)),
    []
  )
})

t.test('every level of the log is silent below its own', async t => {
  const { url } = await echo(t)
  const { log, text } = recorded('error')
  const running = await buildGateway(t, config(url), { log })
  await (await fetch(`${running.url}/open/a`)).text()
  t.equal(text(), '')
})
