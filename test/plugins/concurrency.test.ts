import { connect } from 'node:net'
import type { FastifyReply } from 'fastify'
import t from 'tap'
import plugin from '../../plugins/concurrency.ts'
import { CountedPlaces } from '../../src/plugin/places.ts'
import { identity, testRoute } from '../fixtures/route.ts'

/** A handler that answers when it is told to. */
function held() {
  const replies: FastifyReply[] = []
  const waiting: (() => void)[] = []
  return {
    replies,
    arrived: async (count: number) => {
      while (replies.length < count) await new Promise<void>(resolve => waiting.push(resolve))
    },
    handler(_request: unknown, reply: FastifyReply) {
      replies.push(reply)
      for (const resolve of waiting.splice(0)) resolve()
      return reply.hijack() as unknown
    }
  }
}

t.test('one request more than the limit gets 429, until one has ended', async t => {
  const { handler, replies, arrived } = held()
  const route = await testRoute(t, [[plugin, { limit: 2, by: 'route' }]], { handler })
  const first = fetch(`${route.url}/1`)
  const second = fetch(`${route.url}/2`)
  await arrived(2)
  const refused = await fetch(`${route.url}/3`)
  t.equal(refused.status, 429)
  t.equal(refused.headers.get('retry-after'), '1')
  t.match(await refused.json(), { reason: 'concurrency.exceeded' })

  replies[0]!.raw.end('done')
  await first
  await waitFor(() => route.outcomes.length === 2, route.ended)
  const third = fetch(`${route.url}/4`)
  await arrived(3)
  t.equal(
    (await fetch(`${route.url}/5`)).status,
    429,
    'the refused one gave back nothing that it did not have'
  )
  for (const reply of replies.slice(1)) reply.raw.end('done')
  await Promise.all([second, third])
})

t.test('a client that leaves gives its place back', async t => {
  const { handler, replies, arrived } = held()
  const route = await testRoute(t, [[plugin, { limit: 1 }]], { handler })
  const { port } = new URL(route.url)
  const socket = connect(Number(port), '127.0.0.1')
  socket.write('GET / HTTP/1.1\r\nhost: localhost\r\n\r\n')
  await arrived(1)
  const ended = route.ended()
  socket.destroy()
  await ended
  const next = fetch(`${route.url}/next`)
  await arrived(2)
  replies[1]!.raw.end('done')
  t.equal((await next).status, 200)
})

t.test('a request that a later plugin refuses or that fails gives its place back', async t => {
  let count = 0
  const route = await testRoute(t, [[plugin, { limit: 1 }]], {
    handler() {
      if (count++ < 3) throw new Error('broken')
      return 'fine'
    }
  })
  for (const status of [500, 500, 500, 200]) {
    const ended = route.ended()
    const answer = await fetch(`${route.url}/`)
    await answer.text()
    await ended
    t.equal(answer.status, status)
  }
})

t.test('each principal has places of its own', async t => {
  const { handler, replies, arrived } = held()
  const route = await testRoute(t, [[plugin, { limit: 1, by: 'identity.subject' }]], {
    handler,
    identity: request => identity({ subject: String(request.headers['x-user']) })
  })
  const first = fetch(`${route.url}/`, { headers: { 'x-user': 'ann' } })
  await arrived(1)
  t.equal((await fetch(`${route.url}/`, { headers: { 'x-user': 'ann' } })).status, 429)
  const other = fetch(`${route.url}/`, { headers: { 'x-user': 'bob' } })
  await arrived(2)
  for (const reply of replies) reply.raw.end('done')
  await Promise.all([first, other])
})

t.test('a request that ended before it was counted gives its place back all the same', async t => {
  const route = await testRoute(t, [[plugin, { limit: 1 }]], {
    wrapRequest: gateway => Object.assign(gateway, { onEnd: (listener: () => void) => listener() })
  })
  for (let i = 0; i < 3; i++) t.equal((await fetch(`${route.url}/`)).status, 200)
})

t.test('after a reload the requests of the generation before still count', async t => {
  const underWay = new CountedPlaces()
  const gateway = { places: () => underWay }
  const { handler, replies, arrived } = held()
  const before = await testRoute(t, [[plugin, { limit: 1 }]], { handler, gateway })
  const after = await testRoute(t, [[plugin, { limit: 1 }]], { gateway })
  const first = fetch(`${before.url}/`)
  await arrived(1)
  t.equal((await fetch(`${after.url}/`)).status, 429)
  const ended = before.ended()
  replies[0]!.raw.end('done')
  await Promise.all([first, ended])
  t.equal((await fetch(`${after.url}/`)).status, 200)
})

t.test('an unknown principal is reported', async t => {
  t.match(plugin.check({ limit: 1, by: 'user' }), [{ path: ['by'], message: 'nobody is known as "user"' }])
  t.same(plugin.check({ limit: 1 }), [])
  t.same(plugin.check({ limit: 1, by: 'header:x-api-key' }), [])
})

async function waitFor(reached: () => boolean, next: () => Promise<void>) {
  while (!reached()) await next()
}
