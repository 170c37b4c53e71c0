import t from 'tap'
import plugin from '../../plugins/body-limit.ts'
import { testRoute } from '../fixtures/route.ts'

t.test('a body that announces too much is refused before it is read', async t => {
  const { url, proxied } = await testRoute(t, [[plugin, { max: 4 }]])
  t.equal((await fetch(`${url}/`, { method: 'POST', body: 'four' })).status, 200)
  const answer = await fetch(`${url}/`, { method: 'POST', body: 'fives' })
  t.equal(answer.status, 413)
  t.match(await answer.json(), { reason: 'protocol.size' })
  t.equal(proxied.length, 1)
})

t.test('the proxy is told how much it may forward', async t => {
  let maxBody = 0
  const { url } = await testRoute(t, [[plugin, { max: 123 }]], {
    handler(request) {
      maxBody = request.gateway.maxBody
      return 'ok'
    }
  })
  await fetch(`${url}/`)
  t.equal(maxBody, 123)
})
