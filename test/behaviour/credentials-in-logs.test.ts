import t from 'tap'
import { buildGateway, echo } from '../helper.ts'

t.test('a request leaves no line but the one that a plugin writes, and no credential', async t => {
  const { url } = await echo(t)
  const yaml = (plugins: string) => `upstreams: { backend: { url: ${url} } }
plugins: ${plugins}
routes:
  open: { match: { path: /open/* }, public: true, upstream: backend }
`
  const silent = await buildGateway(t, yaml('[]'))
  const loud = await buildGateway(t, yaml('[access-log]'))
  const headers = { authorization: 'Bearer canary-token', cookie: 'session=canary-cookie' }
  for (const gateway of [silent, loud]) {
    const before = gateway.lines.length
    await (await fetch(`${gateway.url}/open/things?key=canary-query`, { headers })).text()
    // The line is written when the answer has been handed over, which may be after the client has it.
    while (gateway === loud && gateway.lines.length === before) await new Promise(setImmediate)
    t.notMatch(JSON.stringify(gateway.lines), 'canary')
    t.equal(gateway.lines.length - before, gateway === loud ? 1 : 0)
  }
})
