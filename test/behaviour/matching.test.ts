import fc from 'fast-check'
import t from 'tap'
import { echoUpstream } from '../fixtures/echo.ts'
import { rawClient } from '../fixtures/raw.ts'
import { buildGateway } from '../helper.ts'

const yaml = (url: string) => `upstreams: { backend: { url: "${url}" } }
routes:
  admin:
    match: { path: "/ad$min/*" }
    public: true
    encodedSlashes: true
    upstream: backend
    plugins: [{ headers: { response: { set: { x-route: admin } } } }]
  rest:
    match: { path: /* }
    public: true
    encodedSlashes: true
    upstream: backend
    plugins: [{ headers: { response: { set: { x-route: rest } } } }]
`

/** Pieces that a path can be made of to mean one thing here and another there. */
const piece = fc.constantFrom(
  '/',
  '//',
  '/./',
  '/../',
  '/%2e%2e/',
  '/.%2E/',
  '%2f',
  '%2F',
  '%5c',
  '\\',
  ';',
  ';a=b',
  '%3b',
  '%25',
  '%252f',
  '%00',
  '%',
  '?',
  '%3f',
  '#',
  '%23',
  'ad$min',
  'ad%24min',
  'AD$MIN',
  '%61d$min',
  'ad%2524min',
  'a',
  '.',
  '..',
  '%C3%A9',
  '%c0%ae',
  '+',
  '%20',
  '*',
  '^24',
  ':'
)
const target = fc
  .tuple(fc.constantFrom('/', '/ad$min', '/ad%24min', '/ad$min/', ''), fc.array(piece, { maxLength: 6 }))
  .map(([start, pieces]) => `${start}${pieces.join('')}` || '/')

/** The path as a backend reads it that decodes once, cleans up, and takes either slash. */
function asBackend(path: string): string {
  const segments: string[] = []
  for (const segment of decodeURIComponent(path).replaceAll('\\', '/').split('/')) {
    if (segment === '..') segments.pop()
    else if (segment !== '' && segment !== '.') segments.push(segment)
  }
  return `/${segments.join('/')}`
}

t.test('the path that is judged is the path that is forwarded, however it is spelled', async t => {
  const upstream = await echoUpstream(t)
  const gateway = await buildGateway(t, yaml(upstream.url))
  let passed = 0
  await fc.assert(
    fc.asyncProperty(target, async sent => {
      const client = rawClient(null, gateway.port)
      upstream.requests.length = 0
      try {
        client.send(`GET ${sent} HTTP/1.1\r\nHost: a\r\n\r\n`)
        const { status, headers } = await client.next()
        if (status === 400) return upstream.requests.length === 0
        const forwarded = upstream.requests[0]?.target
        const path = sent.split('?')[0] as string
        const isAdmin = /^\/ad\$min(\/|$)/.test(asBackend(path))
        // `/ad$min%2fx` is the one thing that only routes with encodedSlashes can be asked.
        const mayDiffer = /%2f|%5c/i.test(path)
        passed++
        return (
          status === 200 &&
          forwarded === sent &&
          (mayDiffer || headers['x-route'] === (isAdmin ? 'admin' : 'rest'))
        )
      } finally {
        client.destroy()
      }
    }),
    { numRuns: 1000 }
  )
  t.ok(passed > 100, `${passed} passed the gate`)
})

t.test('matching on a running gateway', async t => {
  const upstream = await echoUpstream(t)
  const gateway = await buildGateway(
    t,
    `upstreams: { backend: { url: "${upstream.url}" } }
routes:
  get: { match: { path: /m, methods: [GET] }, public: true, upstream: backend, plugins: [{ headers: { response: { set: { x-route: get } } } }] }
  host: { match: { path: /m, hosts: [a.example.com] }, public: true, upstream: backend, plugins: [{ headers: { response: { set: { x-route: host } } } }] }
  wild: { match: { path: /m, hosts: ["*.example.com"], headers: { x-version: "2" } }, public: true, upstream: backend, plugins: [{ headers: { response: { set: { x-route: wild } } } }] }
`
  )
  const ask = async (line: string, headers: string) => {
    const client = rawClient(t, gateway.port, () => line.startsWith('HEAD'))
    client.send(`${line} HTTP/1.1\r\n${headers}\r\n\r\n`)
    const answer = await client.next()
    return answer.status === 200 ? answer.headers['x-route'] : answer.status
  }
  t.equal(await ask('GET /m', 'Host: x'), 'get')
  t.equal(await ask('HEAD /m', 'Host: x'), 'get')
  t.equal(await ask('POST /m', 'Host: x\r\ncontent-length: 0'), 404)
  t.equal(await ask('POST /m', 'Host: A.example.COM:80\r\ncontent-length: 0'), 'host')
  t.equal(await ask('GET /m', 'Host: b.example.com\r\nX-Version: 2'), 'wild')
  t.equal(await ask('GET /m', 'Host: b.example.com\r\nX-Version: 3'), 'get')
  t.equal(await ask('GET http://b.example.com/m', 'Host: b.example.com\r\nx-version: 2'), 'wild')
})
