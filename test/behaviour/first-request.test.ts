import { readFile, writeFile } from 'node:fs/promises'
import t from 'tap'
import { buildGateway, echo } from '../helper.ts'

function publicRoute(url: string, more = ''): string {
  return `upstreams: { backend: { url: ${url} } }
plugins: [access-log, metrics]
routes:
  open:
    match: { path: /open/* }
    public: true
    upstream: backend
${more}`
}

t.test('a request to a public route reaches the upstream and comes back', async t => {
  const { url } = await echo(t)
  const { url: gateway } = await buildGateway(t, publicRoute(url))
  const response = await fetch(`${gateway}/open/things?a=%20b`, { headers: { 'x-forwarded-user': 'root' } })
  t.equal(response.status, 200)
  const seen = (await response.json()) as { url: string; headers: Record<string, string> }
  t.equal(seen.url, '/open/things?a=%20b')
  t.notOk(seen.headers['x-forwarded-user'], 'a client cannot say who it is')
})

t.test('a request that no route matches gets a problem document', async t => {
  const { url } = await echo(t)
  const { url: gateway } = await buildGateway(t, publicRoute(url))
  const response = await fetch(`${gateway}/elsewhere`)
  t.equal(response.status, 404)
  t.equal(response.headers.get('content-type'), 'application/problem+json; charset=utf-8')
  t.match(await response.json(), { status: 404, code: 'SP_ROUTE_NONE', reason: 'route.none' })
})

t.test('each request is one log line and one count', async t => {
  const { url } = await echo(t)
  const { url: gateway, lines, metric } = await buildGateway(t, publicRoute(url))
  await (await fetch(`${gateway}/open/things`)).text()
  t.equal(await metric('sallyport_requests_total{route="open",protocol="http",method="GET",code="200"}'), 1)
  const requests = lines.filter(line => line.msg === 'request')
  t.equal(requests.length, 1)
  t.notOk(
    lines.some(line => line.msg === 'incoming request'),
    'Fastify adds none of its own'
  )
  t.match(requests[0], { route: 'open', method: 'GET', path: '/open/things', status: 200, reason: null })
})

t.test('a new configuration takes over without a restart', async t => {
  const { url } = await echo(t)
  const running = await buildGateway(t, publicRoute(url), { watch: true })
  const yaml = await readFile(running.config, 'utf8')
  t.equal((await fetch(`${running.url}/new`)).status, 404)
  await writeFile(running.config, yaml.replace('/open/*', '/new'))
  await running.gateway.reload()
  t.equal((await fetch(`${running.url}/new`)).status, 200)
})
