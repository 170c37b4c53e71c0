import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { Explanation } from '../../src/explain/explanation.ts'
import { localIssuer } from '../fixtures/issuer.ts'
import { run } from '../fixtures/program.ts'
import { pluginsFolder } from '../fixtures/proxying.ts'
import { buildGateway, echo, type RunningGateway, upstream } from '../helper.ts'

const rules = `routes:
  open:
    match: { path: "/open/:id", hosts: [api.example.com], methods: [GET], headers: { x-version: "2" } }
    public: true
    upstream: backend
    rewrite: { path: "/items/:id" }
    plugins:
      - access-log
      - metrics
      - rate-limit: { limit: 2, window: 1h, by: client.ip }
      - authorize: { allow: 'client.ip == "192.0.2.1"', mode: shadow }
      - concurrency: { limit: 1 }
      - headers: { request: { set: { x-key: s3cret }, remove: [accept] } }
`

function configuration(url: string): string {
  return `upstreams:
  backend:
    url: "${url}"
    kubernetes: { namespace: shop, podSelector: { app: items }, port: 8080 }
${rules}`
}

const good = {
  method: 'GET',
  target: '/open/7?a=1',
  host: 'api.example.com',
  headers: { 'x-version': '2', accept: 'text/plain', 'x-forwarded-user': 'root' }
}

async function ask({ admin }: RunningGateway, body: object): Promise<{ status: number; body: Explanation }> {
  const answer = await fetch(`${admin}/explain`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body)
  })
  return { status: answer.status, body: (await answer.json()) as Explanation }
}

t.test('an allowed request: route and why, plugins in order, headers, upstream, perimeter', async t => {
  const { url } = await echo(t)
  const { body } = await ask(await buildGateway(t, configuration(url)), good)
  t.match(body, {
    verdict: 'allow',
    status: null,
    reason: null,
    route: { name: 'open' },
    steps: [
      { plugin: 'access-log', phase: 'observe', verdict: 'pass' },
      { plugin: 'metrics', phase: 'observe', verdict: 'pass' },
      { plugin: 'rate-limit', phase: 'guard', verdict: 'pass', detail: '2 of 2 left' },
      { plugin: 'authorize', phase: 'authorize', verdict: 'shadow', reason: 'policy.denied' },
      { plugin: 'concurrency', phase: 'limit', verdict: 'pass' },
      { plugin: 'headers', phase: 'transform', verdict: 'pass' }
    ],
    limits: [{ plugin: 'rate-limit', limit: 2, window: 3_600_000, remaining: 2, retryAfter: 0 }],
    upstream: { name: 'backend', path: '/items/7?a=1', endpoints: [new URL(url).host] },
    perimeter: { namespace: 'shop', podSelector: { app: 'items' }, port: 8080 }
  })
  t.ok(body.route?.why.every(({ met }) => met))
  const added = Object.fromEntries(body.headers.added.map(({ name, value }) => [name, value]))
  t.match(added, {
    'x-forwarded-for': '127.0.0.1',
    'x-forwarded-host': 'api.example.com',
    'x-key': '[redacted]'
  })
  t.same(body.headers.removed, ['accept', 'x-forwarded-user'])
  t.notMatch(JSON.stringify(body), /s3cret/)
})

t.test('an unmatched request: the nearest route, and which condition it misses', async t => {
  const { url } = await echo(t)
  const running = await buildGateway(t, configuration(url))
  for (const [change, missed] of [
    [{ method: 'POST' }, ['methods']],
    [{ host: 'www.example.com' }, ['host']],
    [{ headers: { 'x-version': '1' } }, ['headers']],
    [{ target: '/opened/7' }, ['path']],
    [{ protocol: 'websocket' }, ['protocol']],
    [{ target: '/open/7/8', method: 'PUT' }, ['path', 'methods']]
  ] as const) {
    const { body } = await ask(running, { ...good, ...change })
    t.match(body, { verdict: 'deny', route: null, nearest: { name: 'open' } }, JSON.stringify(change))
    t.same(
      body.nearest?.why.filter(({ met }) => !met).map(({ on }) => on),
      missed,
      JSON.stringify(change)
    )
  }
})

t.test('a request that is none, or that HTTP refuses, is denied as it would be', async t => {
  const { url } = await echo(t)
  const running = await buildGateway(t, configuration(url))
  for (const [question, status] of [
    [{ target: '/open/../7' }, 400],
    [{ target: `/${'x'.repeat(9000)}` }, 414],
    [{ target: '/open/7 HTTP/1.1' }, 400],
    [{ method: 'NOSUCH' }, 400],
    [{ method: 'TRACE' }, 405],
    [{ method: 'CONNECT', target: 'a:80' }, 405],
    [{ host: 'a b' }, 400],
    // In one byte each it would be a line break and another field.
    [{ target: '/open/7 HTTP/1.1\u010d\u010ax: y' }, 400],
    [{ headers: ['content-length: 1', 'content-length: 2'] }, 400],
    [{ headers: ['no token: 1'] }, 400],
    [{ protocol: 'grpc', method: 'POST', headers: ['no token: 1'] }, 400],
    [{ protocol: 'grpc', method: 'POST', host: 'a b' }, 400]
  ] as const) {
    const { body } = await ask(running, { ...good, ...question })
    t.match(body, { verdict: 'deny', status, route: null, nearest: null }, JSON.stringify(question))
  }
  t.match((await ask(running, { ...good, headers: ['x-version: 2', 'x: \u010d\u010ahost: b'] })).body, {
    verdict: 'allow',
    route: { name: 'open' }
  })
})

t.test('it changes nothing: no call, no count, no place, no turn, no log line, no series', async t => {
  let calls = 0
  const backend = await upstream(t, (_request, response) => {
    calls++
    response.end()
  })
  const other = await upstream(t, (_request, response) => {
    calls++
    response.writeHead(200, { 'x-other': 'yes' }).end()
  })
  const yaml = configuration(backend.url).replace(
    `url: "${backend.url}"`,
    `endpoints: ["${backend.url}", "${other.url}"]`
  )
  const running = await buildGateway(t, yaml)
  const series = async () => {
    const text = await (await fetch(`${running.admin}/metrics`)).text()
    return text.split('\n').filter(line => /^sallyport_(?!event_loop|process|nodejs)/.test(line))
  }
  const before = await series()
  const lines = running.lines.length
  for (let i = 0; i < 7; i++)
    t.match((await ask(running, good)).body, { verdict: 'allow', limits: [{ remaining: 2 }] })
  await ask(running, { ...good, method: 'PUT' })
  t.equal(calls, 0)
  t.same(await series(), before)
  t.equal(running.lines.length, lines)
  const live = async () => {
    const { port } = running
    const { request } = await import('node:http')
    const sent = request({
      port,
      path: '/open/7',
      headers: { host: 'api.example.com', 'x-version': '2' }
    }).end()
    const [response] = await once(sent, 'response')
    response.resume()
    await once(response, 'end')
    return response as { statusCode: number; headers: Record<string, string> }
  }
  const first = await live()
  t.match(first, { statusCode: 200, headers: { ratelimit: /r=1;/ } })
  t.equal(first.headers['x-other'], undefined, 'the first endpoint still has its turn')
  t.match((await ask(running, good)).body, { verdict: 'allow', limits: [{ remaining: 1 }] })
  t.equal((await live()).headers['x-other'], 'yes')
  t.match((await ask(running, good)).body, { verdict: 'deny', status: 429, reason: 'rate.exceeded' })
  t.equal((await live()).statusCode, 429)
})

t.test('a place that is taken is seen, and an open breaker is not probed', async t => {
  const answers: (() => void)[] = []
  let arrived = () => {}
  const backend = await upstream(t, (_request, response) => {
    answers.push(() => response.end())
    arrived()
  })
  const running = await buildGateway(
    t,
    `upstreams:
  backend: { url: "${backend.url}" }
  dead: { url: "http://127.0.0.1:9", circuitBreaker: { failures: 1, open: 1h } }
routes:
  one: { match: { path: /one }, public: true, upstream: backend, plugins: [{ concurrency: { limit: 1 } }] }
  dead: { match: { path: /dead }, public: true, upstream: dead }
`
  )
  const one = { method: 'GET', target: '/one' }
  t.match((await ask(running, one)).body, { verdict: 'allow' })
  const came = new Promise<void>(resolve => {
    arrived = resolve
  })
  const held = fetch(`${running.url}/one`)
  await came
  t.match((await ask(running, one)).body, { verdict: 'deny', reason: 'concurrency.exceeded', status: 429 })
  answers[0]?.()
  await (await held).text()
  t.match((await ask(running, one)).body, { verdict: 'allow' })
  const dead = { method: 'GET', target: '/dead' }
  t.match((await ask(running, dead)).body, { verdict: 'allow' })
  t.equal((await fetch(`${running.url}/dead`)).status, 502)
  const { body } = await ask(running, dead)
  t.match(body, { verdict: 'deny', status: 503, reason: 'upstream.breaker' })
  t.match(body.steps, [{ plugin: 'gateway', phase: 'proxy', verdict: 'deny' }])
})

t.test('after a reload the new configuration is explained, with the plugins that a user wrote', async t => {
  const { url } = await echo(t)
  const plugins = await pluginsFolder(t, {
    'no.mjs': `export default { phase: 'guard', schema: { type: 'object', properties: {}, additionalProperties: false },
      register(route) { route.addHook('preHandler', function late() { route.gateway.deny('policy.denied', { detail: 'no' }) }) } }`
  })
  const running = await buildGateway(
    t,
    `upstreams: { backend: { url: "${url}" } }
routes: { all: { match: { path: /* }, public: true, upstream: backend } }
`,
    { plugins }
  )
  t.match((await ask(running, { target: '/x' })).body, { verdict: 'allow', route: { name: 'all' } })
  const { readFile } = await import('node:fs/promises')
  const text = await readFile(running.config, 'utf8')
  await writeFile(running.config, text.replace('upstream: backend', 'upstream: backend, plugins: [no]'))
  await running.gateway.reload()
  t.match((await ask(running, { target: '/x' })).body, {
    verdict: 'deny',
    status: 403,
    reason: 'policy.denied',
    steps: [{ plugin: 'no', phase: 'guard', verdict: 'deny', detail: 'no' }]
  })
})

t.test('GET asks with a query, but not with a credential; bad questions are 400', async t => {
  const { url } = await echo(t)
  const running = await buildGateway(t, configuration(url))
  const query = new URLSearchParams([
    ['method', 'GET'],
    ['target', '/open/7'],
    ['host', 'api.example.com'],
    ['header', 'x-version: 2'],
    ['clientIp', '192.0.2.1']
  ])
  const answer = await fetch(`${running.admin}/explain?${query}`)
  t.match(await answer.json(), {
    verdict: 'allow',
    request: { clientIp: '192.0.2.1' },
    steps: [{}, {}, {}, { verdict: 'pass' }]
  })
  for (const bad of [
    'token=x',
    'header=Authorization:%20x',
    'header=Cookie:%20x',
    'header=X-API-Key:%20x',
    'header=x_api_key:%20x',
    'header=x',
    'nosuch=1',
    'protocol=ftp',
    'clientIp=x',
    'host=a%0d%0ab',
    'method=',
    'target=a&target=b'
  ])
    t.equal((await fetch(`${running.admin}/explain?target=/&${bad}`)).status, 400, bad)
  for (const bad of [
    '',
    '[]',
    '"x"',
    '{',
    '{"target":1}',
    '{"target":"/","headers":{"a":1}}',
    '{"target":"/","headers":[1]}',
    '{}'
  ]) {
    const init = { method: 'POST', headers: { 'content-type': 'application/json' }, body: bad }
    t.equal((await fetch(`${running.admin}/explain`, init)).status, 400, bad)
  }
})

t.test('a policy that decides by the body is explained with it, and says so without', async t => {
  const { url } = await echo(t)
  const running = await buildGateway(
    t,
    `upstreams: { backend: { url: "${url}" } }
routes:
  pay:
    match: { path: /pay }
    public: true
    upstream: backend
    plugins: [{ authorize: { body: { maxSize: 1Ki }, allow: '!has(request.body) || request.body.amount < 1000' } }]
`
  )
  const pay = { method: 'POST', target: '/pay', headers: ['content-type: application/json'] }
  const asked = async (more: object) => (await ask(running, { ...pay, ...more })).body
  t.match(await asked({ body: '{"amount":1}' }), { verdict: 'allow', steps: [{ verdict: 'pass' }] })
  t.match(await asked({ body: '{"amount":1000}' }), { verdict: 'deny', status: 403, reason: 'policy.denied' })
  t.match(await asked({ body: '{"amount":1' }), { verdict: 'deny', status: 400, reason: 'request.malformed' })
  t.match(await asked({ body: '{"amount":1}', headers: [] }), { verdict: 'deny', status: 415 })
  t.match(await asked({ body: 'x'.repeat(1025) }), { verdict: 'deny', status: 413, reason: 'protocol.size' })
  t.match(await asked({}), { verdict: 'allow' })
  const announced = { headers: [...pay.headers, 'content-length: 12'] }
  const steps = [
    { plugin: 'authorize', verdict: 'deny', detail: 'it depends on the body, which is not here' }
  ]
  t.match(await asked(announced), { verdict: 'deny', status: 403, reason: 'policy.error', steps })
  t.match(await asked({ headers: [...pay.headers, 'content-length: 2000'] }), { status: 413 })
  t.match(await asked({ headers: ['content-length: 12'] }), { status: 415 })
  t.notMatch(JSON.stringify(await asked({ body: '{"amount":1,"a":"s3cret"}' })), /s3cret/)
  for (const bad of [
    { ...pay, ...announced, body: '{}' },
    { ...pay, headers: ['Transfer-Encoding: chunked'], body: '{}' },
    { ...pay, body: { amount: 1 } },
    { ...pay, protocol: 'grpc', body: '{}' }
  ])
    t.equal((await ask(running, bad)).status, 400, JSON.stringify(bad))
  const inUrl = await fetch(`${running.admin}/explain?method=POST&target=/pay&body=%7B%7D`)
  t.equal(inUrl.status, 400)
  const [config, body] = [running.config, `${running.config}.json`]
  await writeFile(body, '{"amount":1000}')
  const explain = (...args: string[]) =>
    run(['explain', '--config', config, '--header', pay.headers[0] as string, ...args, 'POST', '/pay'])
  t.match(await explain('--body', body), { code: 1, stdout: /^deny: 403 policy\.denied \(/ })
  t.match(await explain('--body', `${body}.no`), { code: 64, stdout: '', stderr: /body cannot be read/ })
})

t.test('who asks is told, but neither the token nor the signed identity; own paths are answered', async t => {
  const { url } = await echo(t)
  const issuer = await localIssuer(t)
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const key = privateKey.export({ type: 'pkcs8', format: 'pem' }) as string
  const running = await buildGateway(
    t,
    `externalUrl: https://api.example.com
identity: { sign: { key: { env: SIGNING_KEY } } }
issuers: { corp: { issuer: "${issuer.url}", audience: [orders-api] } }
upstreams: { orders: { url: "${url}" } }
routes: { orders: { match: { path: /orders/* }, upstream: orders, plugins: [{ jwt: { issuer: corp } }] } }
`,
    { env: { SIGNING_KEY: key } }
  )
  const token = await issuer.sign()
  const { body } = await ask(running, { target: '/orders/7', token })
  t.match(body, {
    verdict: 'allow',
    identity: { kind: 'jwt', subject: 'alice', issuer: issuer.url },
    steps: [{ plugin: 'jwt', verdict: 'pass', detail: `alice of ${issuer.url}` }],
    perimeter: null
  })
  t.match(
    body.headers.added.filter(({ name }) => /identity|user/.test(name)),
    [
      { name: 'x-forwarded-user', value: 'alice' },
      { name: 'x-sallyport-identity', value: '[signed]' }
    ]
  )
  t.notOk(JSON.stringify(body).includes(token.split('.')[2] as string))
  const own = await ask(running, { target: '/.well-known/sallyport/jwks.json' })
  t.match(own.body, { verdict: 'allow', status: 200, route: null, nearest: null })
})

async function file(t: Test, text: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'sallyport-explain-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const path = join(folder, 'gateway.yaml')
  await writeFile(path, text)
  return path
}

t.test('the command says the verdict on its first line and by its exit code', async t => {
  const path = await file(t, configuration('http://127.0.0.1:9'))
  const explain = (...args: string[]) => run(['explain', '--config', path, ...args])
  const request = ['--host', 'api.example.com', '--header', 'X-Version: 2', 'GET', '/open/7']
  const [allowed, denied, json, noFile, noTarget, noHeader, noAddress] = await Promise.all([
    explain(...request),
    explain('GET', '/nowhere'),
    explain('--format', 'json', '--client-ip', '192.0.2.1', ...request),
    run(['explain', '--config', `${path}.no`, 'GET', '/']),
    explain('GET'),
    explain('--header', 'x', 'GET', '/'),
    explain('--client-ip', 'x', 'GET', '/')
  ])
  t.match(allowed, { code: 0, stdout: /^allow: the upstream's answer\n/, stderr: '' })
  t.ok(allowed.stdout.split('\n').length <= 40, 'one screen')
  t.match(denied, { code: 1, stdout: /^deny: 404 route\.none\n/, stderr: '' })
  t.equal(json.code, 0)
  t.match(json.stdout, /"verdict": "allow"/)
  t.match(json.stdout, /"verdict": "pass"/)
  t.match(noFile, { code: 2, stdout: '' })
  for (const bad of [noTarget, noHeader, noAddress]) t.match(bad, { code: 64, stdout: '', stderr: /./ })
})
