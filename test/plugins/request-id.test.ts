import t from 'tap'
import plugin from '../../plugins/request-id.ts'
import { testRoute } from '../fixtures/route.ts'

t.test('a client may name its request, if the name is harmless', async t => {
  const { url } = await testRoute(t, [[plugin, { accept: true, respond: true }]])
  for (const id of ['a', 'A-Z.a_z~0:9', 'x'.repeat(128)]) {
    t.equal((await fetch(`${url}/`, { headers: { 'x-request-id': id } })).headers.get('x-request-id'), id)
  }
  for (const id of ['', 'x'.repeat(129), 'a b', 'a"b', '{jndi:x}', 'a/b', 'a;b', '<x>', 'a,b', 'caf\u00e9']) {
    const answer = await fetch(`${url}/`, { headers: { 'x-request-id': id } })
    t.equal(answer.status, 200)
    t.equal(answer.headers.get('x-request-id'), 'gateway-made', id)
  }
})

t.test('two ids are no id', async t => {
  const { url } = await testRoute(t, [[plugin, { accept: true, respond: true }]])
  const answer = await fetch(`${url}/`, {
    headers: [
      ['x-request-id', 'a'],
      ['x-request-id', 'b']
    ]
  })
  t.equal(answer.headers.get('x-request-id'), 'gateway-made')
})

t.test('by default the name of the client is not taken and the answer says nothing', async t => {
  let id = ''
  const { url } = await testRoute(t, [[plugin]], {
    handler(request) {
      id = request.gateway.requestId
      return 'ok'
    }
  })
  const answer = await fetch(`${url}/`, { headers: { 'x-request-id': 'mine' } })
  t.equal(answer.headers.get('x-request-id'), null)
  t.equal(id, 'gateway-made')
})

t.test('the header may have another name', async t => {
  const { url } = await testRoute(t, [[plugin, { header: 'X-Correlation-Id', accept: true, respond: true }]])
  const answer = await fetch(`${url}/`, { headers: { 'x-correlation-id': 'mine', 'x-request-id': 'other' } })
  t.equal(answer.headers.get('x-correlation-id'), 'mine')
})

t.test('a refused request is named too', async t => {
  const { url } = await testRoute(t, [[plugin, { accept: true, respond: true }]], {
    handler() {
      throw new Error('broken')
    }
  })
  const answer = await fetch(`${url}/`, { headers: { 'x-request-id': 'mine' } })
  t.equal(answer.status, 500)
  t.equal(answer.headers.get('x-request-id'), 'mine')
})
