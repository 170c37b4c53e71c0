import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { createServer, type RequestListener } from 'node:http'
import { type AddressInfo, connect, createServer as createTcpServer, type Server } from 'node:net'
import t from 'tap'
import { buildGateway, type RunningGateway, upstream } from '../helper.ts'

/** A gateway with one public route to one upstream. A busy machine is not what is tested: nothing is shed. */
function gatewayTo(
  t: Tap.Test,
  urls: readonly string[],
  settings: string,
  route = ''
): Promise<RunningGateway> {
  return buildGateway(
    t,
    `limits: { overload: { eventLoopLag: 1m } }
plugins: [access-log, metrics]
upstreams:
  backend:
    endpoints: [${urls.join(', ')}]
${settings.replaceAll(/^/gm, '    ')}
routes:
  open:
    match: { path: /* }
    public: true
    upstream: backend
${route.replaceAll(/^/gm, '    ')}
`
  )
}

declare namespace Tap {
  type Test = { teardown(close: () => unknown): void }
}

/** An address that refuses connections. */
async function refusing(): Promise<string> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return `http://127.0.0.1:${port}`
}

/** A backend that counts what reaches it. */
async function counting(t: Tap.Test, handler: RequestListener) {
  const seen: string[] = []
  const { url, server } = await upstream(t, (request, response) => {
    seen.push(`${request.method} ${request.url}`)
    handler(request, response)
  })
  return { url, server, seen }
}

const ok: RequestListener = (_request, response) => response.end('ok')
const breakConnection: RequestListener = request => request.socket.destroy()

function answering(status: number): RequestListener {
  return (_request, response) => {
    response.statusCode = status
    response.end('from the upstream')
  }
}

async function get(
  url: string,
  init: RequestInit = {}
): Promise<{ status: number; body: string; headers: Headers }> {
  const response = await fetch(url, init)
  return { status: response.status, body: await response.text(), headers: response.headers }
}

/** Waits until the next look at it is true; looks as often as `/metrics` can be asked. */
async function until(isTrue: () => Promise<boolean>): Promise<void> {
  while (!(await isTrue())) await new Promise(resolve => setImmediate(resolve))
}

const retries = 'retries: { attempts: 1, on: [connect-failure, reset, 502, 503, 504], budget: 10% }'

t.test('one of two endpoints dies and no request fails', async t => {
  const dies = await counting(t, ok)
  const lives = await counting(t, ok)
  const { url, metric } = await gatewayTo(t, [dies.url, lives.url], retries)
  for (let i = 0; i < 4; i++) t.equal((await get(url)).status, 200)
  t.equal(dies.seen.length, 2)
  dies.server.closeAllConnections()
  dies.server.close()
  for (let i = 0; i < 40; i++) t.equal((await get(url)).status, 200)
  t.equal(lives.seen.length, 42)
  t.ok(Number(await metric('sallyport_retries_total{upstream="backend"}')) >= 1)
  const endpoint = new URL(dies.url).host
  t.equal(await metric(`sallyport_upstream_healthy{upstream="backend",endpoint="${endpoint}"}`), 0)
  t.equal(
    await metric('sallyport_upstream_errors_total{upstream="backend",reason="upstream.connect"}'),
    undefined
  )
})

t.test('requests that were under way at an endpoint that dies are answered by the other', async t => {
  let arrived: () => void
  const four = new Promise<void>(resolve => (arrived = resolve))
  const dies = await counting(t, () => {
    if (dies.seen.length === 3) arrived()
  })
  const lives = await counting(t, ok)
  const { url } = await gatewayTo(t, [dies.url, lives.url], retries)
  const answers = Array.from({ length: 6 }, () => get(url))
  await four
  dies.server.closeAllConnections()
  dies.server.close()
  t.same(
    (await Promise.all(answers)).map(({ status }) => status),
    new Array(6).fill(200)
  )
})

t.test('a request with a body goes to another endpoint when nothing of it was sent', async t => {
  const bodies: string[] = []
  const { url: living } = await upstream(t, async (request, response) => {
    let body = ''
    for await (const chunk of request) body += chunk
    bodies.push(body)
    response.end()
  })
  const { url } = await gatewayTo(t, [await refusing(), living], retries)
  const body = 'x'.repeat(200_000)
  for (let i = 0; i < 2; i++) t.equal((await get(url, { method: 'POST', body })).status, 200)
  t.same(bodies, [body, body])
})

t.test('what may have been handled is never sent twice', async t => {
  for (const handler of [breakConnection, answering(503)]) {
    const { url: backend, seen } = await counting(t, handler)
    const { url, metric } = await gatewayTo(t, [backend], retries)
    const bodies = { method: 'POST', body: 'order' }
    const statuses = [
      (await get(`${url}/post`, { method: 'POST' })).status,
      (await get(`${url}/post-body`, bodies)).status,
      (await get(`${url}/put-body`, { ...bodies, method: 'PUT' })).status
    ]
    const expected = handler === breakConnection ? 502 : 503
    t.same(statuses, [expected, expected, expected])
    t.same(seen, ['POST /post', 'POST /post-body', 'PUT /put-body'])
    t.notOk(await metric('sallyport_retries_total{upstream="backend"}'))
  }
})

t.test('a good answer to the second try is the only one that the client sees', async t => {
  const { url: backend, seen } = await counting(t, (request, response) => {
    if (seen.length === 1) answering(503)(request, response)
    else ok(request, response)
  })
  const { url, lines } = await gatewayTo(t, [backend], retries)
  t.match(await get(url), { status: 200, body: 'ok' })
  t.equal(seen.length, 2)
  t.equal(lines.filter(line => line.msg === 'request').length, 1)
})

t.test('a second failure is the answer', async t => {
  const { url: backend, seen } = await counting(t, answering(502))
  const { url } = await gatewayTo(t, [backend], retries)
  t.match(await get(url), { status: 502, body: 'from the upstream' })
  t.equal(seen.length, 2)
})

t.test('only the failures of the configuration are tried again', async t => {
  const { url: backend, seen } = await counting(t, answering(503))
  const { url } = await gatewayTo(t, [backend], 'retries: { on: [502] }')
  t.equal((await get(url)).status, 503)
  t.equal(seen.length, 1)
})

t.test('an upstream in trouble is not asked twice by everybody', async t => {
  const { url: backend, seen } = await counting(t, answering(503))
  const { url, metric } = await gatewayTo(t, [backend], retries)
  for (let i = 0; i < 20; i++) await get(url)
  t.equal(await metric('sallyport_retries_total{upstream="backend"}'), 3)
  t.equal(seen.length, 23)
})

t.test('an answer that has begun is never begun again', async t => {
  const { url: backend, seen } = await counting(t, (request, response) => {
    response.writeHead(200, { 'content-length': '100' })
    response.write('half', () => request.socket.destroy())
  })
  const { url } = await gatewayTo(t, [backend], retries)
  await t.rejects(get(url))
  t.equal(seen.length, 1)
})

t.test('both tries together take no longer than the response timeout', async t => {
  let answerFirst: () => void = () => {}
  const { url: backend, seen } = await counting(t, (_request, response) => {
    if (seen.length > 1) return
    answerFirst = () => {
      response.statusCode = 503
      response.end()
    }
    setTimeout(answerFirst, 500)
  })
  const { url } = await gatewayTo(t, [backend], retries, 'timeout: 800ms')
  const start = performance.now()
  t.equal((await get(url)).status, 504)
  const took = performance.now() - start
  t.equal(seen.length, 2)
  t.ok(took >= 790, `${took} ms`)
  t.ok(took < 500 + 790, `${took} ms`)
})

/** An upstream that answers the first request of each connection and breaks it at the second, as after an idle timeout. */
async function idleCloser(t: Tap.Test): Promise<{ url: string; seen: string[] }> {
  const seen: string[] = []
  const server: Server = createTcpServer(socket => {
    let requests = 0
    socket.on('error', () => {})
    socket.on('data', chunk => {
      seen.push(chunk.toString().split(' ', 1)[0] as string)
      if (++requests === 1) socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok')
      else socket.destroy()
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, seen }
}

t.test(
  'a kept connection that the upstream closes at that moment fails no GET, also without retries',
  async t => {
    const { url: backend, seen } = await idleCloser(t)
    const { url, metric } = await gatewayTo(t, [backend], 'circuitBreaker: { failures: 1, open: 10s }')
    t.equal((await get(url)).status, 200)
    t.match(await get(url), { status: 200, body: 'ok' })
    t.equal(seen.length, 3)
    t.equal(await metric('sallyport_retries_total{upstream="backend"}'), 1)
    t.equal(await metric('sallyport_circuit_breaker_state{upstream="backend"}'), 0)
  }
)

t.test('a POST on such a connection may have been handled, and is not sent again', async t => {
  const { url: backend, seen } = await idleCloser(t)
  const { url } = await gatewayTo(t, [backend], '')
  t.equal((await get(url)).status, 200)
  t.equal((await get(url, { method: 'POST' })).status, 502)
  t.same(seen, ['GET', 'POST'])
})

t.test('a connection that breaks at its first request is not such a connection', async t => {
  const { url: backend, seen } = await counting(t, breakConnection)
  const { url } = await gatewayTo(t, [backend], '')
  t.equal((await get(url)).status, 502)
  t.equal(seen.length, 1)
})

t.test('the breaker opens, refuses at once, and closes with a good answer', async t => {
  let status = 503
  const { url: backend, seen } = await counting(t, (request, response) =>
    answering(status)(request, response)
  )
  const settings = 'circuitBreaker: { failures: 2, open: 700ms }'
  const { url, metric, lines } = await gatewayTo(t, [backend], settings)
  const state = () => metric('sallyport_circuit_breaker_state{upstream="backend"}')
  t.equal(await state(), 0)
  await get(url)
  await get(url)
  const opened = performance.now()
  t.equal(await state(), 2)
  const refusal = await get(url)
  t.equal(refusal.status, 503)
  t.equal(refusal.headers.get('retry-after'), '1')
  t.match(JSON.parse(refusal.body), { code: 'SP_UPSTREAM_BREAKER', reason: 'upstream.breaker' })
  t.equal(seen.length, 2)

  status = 200
  await until(async () => (await get(url)).status === 200)
  t.ok(performance.now() - opened >= 650)
  t.equal(seen.length, 3, 'one probe')
  t.equal(await state(), 0)
  t.ok(lines.some(line => line.msg === 'the circuit breaker refuses requests' && line.upstream === 'backend'))
})

t.test(
  'a refused connection and a timeout count as failures, a 500 and a client that leaves do not',
  async t => {
    const settings = 'circuitBreaker: { failures: 1, open: 1m }\ntimeouts: { response: 100ms }'
    const stalls = await counting(t, () => {})
    for (const [urls, expected] of [
      [[await refusing()], 502],
      [[stalls.url], 504]
    ] as const) {
      const { url } = await gatewayTo(t, urls, settings)
      t.equal((await get(url)).status, expected)
      t.equal((await get(url)).status, 503)
    }

    const leaving = await counting(t, (request, response) => {
      if (request.url === '/leave') client.resetAndDestroy()
      else answering(500)(request, response)
    })
    const { url, port, lines } = await gatewayTo(
      t,
      [leaving.url],
      'circuitBreaker: { failures: 1, open: 1m }'
    )
    const client = connect(port, '127.0.0.1')
    client.write('GET /leave HTTP/1.1\r\nhost: gateway\r\n\r\n')
    await until(async () => lines.some(line => line.reason === 'client.aborted'))
    for (let i = 0; i < 3; i++) t.equal((await get(url)).status, 500)
  }
)

t.test('a reload keeps the state of the breaker', async t => {
  const { url: backend } = await counting(t, answering(503))
  const running = await gatewayTo(t, [backend], 'circuitBreaker: { failures: 1, open: 1m }')
  await get(running.url)
  const yaml = await readFile(running.config, 'utf8')
  await writeFile(running.config, yaml.replace('path: /*', 'path: /new/*'))
  await running.gateway.reload()
  t.match(JSON.parse((await get(`${running.url}/new/`)).body), { reason: 'upstream.breaker' })
  t.equal(await running.metric('sallyport_circuit_breaker_state{upstream="backend"}'), 2)
})

t.test('a health check takes an endpoint out and brings it back', async t => {
  let isWell = true
  const agents = new Set<string | undefined>()
  const handler: RequestListener = (request, response) => {
    if (request.url !== '/healthz') return void response.end('sick')
    agents.add(request.headers['user-agent'])
    response.statusCode = isWell ? 204 : 500
    response.end()
  }
  const sick = await upstream(t, handler)
  const well = await upstream(t, (_request, response) => response.end('well'))
  const settings = 'healthCheck: { path: /healthz, interval: 5ms, timeout: 1s, healthy: 2, unhealthy: 2 }'
  const { url, metric, gateway } = await gatewayTo(t, [sick.url, well.url], settings)
  const healthy = () =>
    metric(`sallyport_upstream_healthy{upstream="backend",endpoint="127.0.0.1:${sick.port}"}`)
  const answers = async () => new Set(await Promise.all([1, 2, 3, 4].map(async () => (await get(url)).body)))
  t.same(await answers(), new Set(['sick', 'well']))
  isWell = false
  await until(async () => (await healthy()) === 0)
  t.same(await answers(), new Set(['well']))
  isWell = true
  await until(async () => (await healthy()) === 1)
  t.same(await answers(), new Set(['sick', 'well']))
  t.same([...agents], ['sallyport-health-check'])
  await gateway.close()
})

t.test(
  'a check that takes too long is a bad one, and an upstream whose checks all fail is asked all the same',
  async t => {
    const { url: backend } = await upstream(t, (request, response) => {
      if (request.url !== '/healthz') response.end('ok')
    })
    const settings =
      'healthCheck: { path: /healthz, interval: 5ms, timeout: 20ms, unhealthy: 1 }\nmaxInFlight: 1'
    const { url, metric } = await gatewayTo(t, [backend], settings)
    const endpoint = new URL(backend).host
    await until(
      async () =>
        (await metric(`sallyport_upstream_healthy{upstream="backend",endpoint="${endpoint}"}`)) === 0
    )
    t.match(await get(url), { status: 200, body: 'ok' })
  }
)

t.test('maxInFlight counts the calls of all endpoints together', async t => {
  const held: (() => void)[] = []
  let full: () => void
  const isFull = new Promise<void>(resolve => (full = resolve))
  const hold: RequestListener = (_request, response) => {
    held.push(() => response.end())
    if (held.length === 2) full()
  }
  const one = await upstream(t, hold)
  const two = await upstream(t, hold)
  const { url } = await gatewayTo(t, [one.url, two.url], 'maxInFlight: 2\nbalance: least-requests')
  const calls = [get(url), get(url)]
  await isFull
  t.match(JSON.parse((await get(url)).body), { reason: 'upstream.saturated' })
  for (const end of held) end()
  t.same(
    (await Promise.all(calls)).map(({ status }) => status),
    [200, 200]
  )
})

t.test('an upstream is balanced over the addresses of its name', async t => {
  const { port } = await upstream(t, ok)
  const { url, lines } = await gatewayTo(t, [`http://localhost:${port}`], `resolve: all\n${retries}`)
  t.match(await get(url), { status: 200, body: 'ok' })
  await until(async () => lines.some(line => line.msg === 'the name has these addresses'))
  for (let i = 0; i < 4; i++) t.match(await get(url), { status: 200, body: 'ok' })
})
