import { EventEmitter, once } from 'node:events'
import t, { type Test } from 'tap'
import { WebSocketServer } from 'ws'
import { browse, skipWithoutBrowser } from '../fixtures/chromium.ts'
import { localIssuer } from '../fixtures/issuer.ts'
import { buildGateway, upstream } from '../helper.ts'

/** Opens what its query says, and tells the server that it came from what became of it. */
const page = `<script>
  const { url, protocols } = Object.fromEntries(new URLSearchParams(location.search))
  const tell = text => fetch('/told?' + encodeURIComponent(text))
  const socket = new WebSocket(url, protocols.split(' '))
  socket.onopen = () => tell('open ' + socket.protocol)
  socket.onmessage = ({ data }) => tell('message ' + data)
  socket.onclose = ({ code }) => tell('close ' + code)
</script>`

/** A service that serves the page and talks with it; `told` is what the page tells it. */
async function shop(t: Test) {
  const events = new EventEmitter()
  const told: string[] = []
  const seen: (string | undefined)[] = []
  const service = await upstream(t, (request, response) => {
    const [path, query = ''] = (request.url as string).split('?')
    if (path === '/told') {
      told.push(decodeURIComponent(query))
      events.emit('told')
    }
    response.writeHead(200, { 'content-type': 'text/html' }).end(page)
  })
  const sockets = new WebSocketServer({ server: service.server, handleProtocols: () => 'prices.v1' })
  sockets.on('connection', (socket, { headers }) => {
    seen.push(headers['sec-websocket-protocol'])
    socket.send(`for ${headers['x-forwarded-user']}`)
  })

  /** Resolves when the page has told all of these, with everything that it has told; what it tells may overtake itself. */
  async function until(...texts: string[]): Promise<string[]> {
    while (!texts.every(text => told.includes(text))) await once(events, 'told')
    return told.toSorted()
  }
  return { ...service, seen, until }
}

async function begin(t: Test) {
  const service = await shop(t)
  const issuer = await localIssuer(t)
  const gateway = await buildGateway(
    t,
    `issuers: { corp: { issuer: "${issuer.url}", audience: [orders-api], clockTolerance: 0s } }
upstreams: { prices: { url: "${service.url}" } }
routes:
  live:
    match: { protocol: websocket, path: /prices/live }
    upstream: prices
    plugins:
      - protocol: { origins: ["${service.url}"], subprotocols: [prices.v1] }
      - jwt: { issuer: corp }
`
  )
  function visit(origin: string, protocols: string): Promise<void> {
    const url = gateway.url.replace('http', 'ws')
    return browse(t, `${origin}/?${new URLSearchParams({ url: `${url}/prices/live`, protocols })}`)
  }
  return { service, issuer, visit }
}

t.test(
  'a page offers its token as a subprotocol, which the service does not see',
  {
    skip: skipWithoutBrowser
  },
  async t => {
    const { service, issuer, visit } = await begin(t)
    await visit(service.url, `prices.v1 bearer ${await issuer.sign({ sub: 'ann' })}`)
    t.same(await service.until('open prices.v1', 'message for ann'), ['message for ann', 'open prices.v1'])
    t.same(service.seen, ['prices.v1'])
  }
)

t.test('its connection ends with the token', { skip: skipWithoutBrowser }, async t => {
  const { service, issuer, visit } = await begin(t)
  const exp = Math.floor(Date.now() / 1000) + 6
  await visit(service.url, `prices.v1 bearer ${await issuer.sign({ sub: 'ann', exp })}`)
  t.same(await service.until('open prices.v1', 'message for ann', 'close 1008'), [
    'close 1008',
    'message for ann',
    'open prices.v1'
  ])
})

t.test('a page of another site gets nothing, token or not', { skip: skipWithoutBrowser }, async t => {
  const { service, issuer, visit } = await begin(t)
  await visit(service.url.replace('127.0.0.1', 'localhost'), `prices.v1 bearer ${await issuer.sign()}`)
  t.same(await service.until('close 1006'), ['close 1006'])
  t.same(service.seen, [])
})
