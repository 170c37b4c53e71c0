import t from 'tap'
import rateLimit, { type RateLimitOptions } from '../../plugins/rate-limit.ts'
import type { GatewayPlugin } from '../../src/plugin/define.ts'
import type { LimitStore } from '../../src/store/contract.ts'
import { MemoryLimitStore } from '../../src/store/memory.ts'
import { identity, testRoute, testRoutes } from '../fixtures/route.ts'

const plugin: GatewayPlugin<RateLimitOptions | RateLimitOptions[]> = rateLimit

function get(url: string, headers: Record<string, string> = {}) {
  return fetch(`${url}/orders`, { headers })
}

/** A store whose clock stands still until the test moves it. */
function clocked() {
  let now = 0
  const store = new MemoryLimitStore({ now: () => now })
  return { store, advance: (milliseconds: number) => (now += milliseconds) }
}

const byUser = {
  identity: (request: { headers: Record<string, unknown> }) =>
    identity({ subject: String(request.headers['x-user']) })
}

t.test('a client that used up its limit gets 429 and is told when to come back', async t => {
  const { store, advance } = clocked()
  const options = { limit: 2, window: 60_000, by: 'identity.subject' }
  const { url, proxied, outcomes } = await testRoute(t, [[plugin, options]], { ...byUser, limits: store })
  const first = await get(url, { 'x-user': 'ann' })
  t.equal(first.status, 200)
  t.equal(first.headers.get('ratelimit-policy'), '"default";q=2;w=60')
  t.equal(first.headers.get('ratelimit'), '"default";r=1;t=60')
  t.equal(first.headers.get('retry-after'), null)
  advance(20_500)
  await get(url, { 'x-user': 'ann' })
  const refused = await get(url, { 'x-user': 'ann' })
  t.equal(refused.status, 429)
  t.match(await refused.json(), { reason: 'rate.exceeded' })
  t.equal(refused.headers.get('retry-after'), '40', 'rounded up')
  t.equal(refused.headers.get('ratelimit'), '"default";r=0;t=40')
  t.equal(refused.headers.get('ratelimit-policy'), '"default";q=2;w=60')
  t.equal((await get(url, { 'x-user': 'bob' })).status, 200, 'another user has a limit of his own')
  t.equal(proxied.length, 3)
  t.equal(outcomes.filter(outcome => outcome.reason === 'rate.exceeded').length, 1)
  advance(39_500)
  t.equal((await get(url, { 'x-user': 'ann' })).status, 200)
})

t.test('Retry-After is never 0', async t => {
  const { store } = clocked()
  const options = { limit: 1, window: 100, by: 'route' }
  const { url } = await testRoute(t, [[plugin, options]], { limits: store })
  await get(url)
  t.equal((await get(url)).headers.get('retry-after'), '1')
})

t.test('two issuers may both have an ann', async t => {
  const who = (request: { headers: Record<string, unknown> }) =>
    identity({ issuer: String(request.headers['x-issuer']) })
  const options = { limit: 1, window: 60_000, by: 'identity.subject' }
  const { url } = await testRoute(t, [[plugin, options]], { identity: who })
  t.equal((await get(url, { 'x-issuer': 'a' })).status, 200)
  t.equal((await get(url, { 'x-issuer': 'b' })).status, 200)
  t.equal((await get(url, { 'x-issuer': 'a' })).status, 429)
})

t.test('one issuer may have a limit for all of its subjects', async t => {
  const options = { limit: 1, window: 60_000, by: 'identity.issuer' }
  const { url } = await testRoute(t, [[plugin, options]], byUser)
  t.equal((await get(url, { 'x-user': 'ann' })).status, 200)
  t.equal((await get(url, { 'x-user': 'bob' })).status, 429)
})

t.test('an IPv6 client is its /64, and ::ffff: is the IPv4 address', async t => {
  const clientIp = (request: { headers: Record<string, unknown> }) => String(request.headers['x-address'])
  const options = { limit: 1, window: 60_000, by: 'client.ip' }
  const { url } = await testRoute(t, [[plugin, options]], { clientIp })
  t.equal((await get(url, { 'x-address': '2001:db8:1:2::1' })).status, 200)
  t.equal((await get(url, { 'x-address': '2001:db8:1:2:ffff::9' })).status, 429, 'same network')
  t.equal((await get(url, { 'x-address': '2001:db8:1:3::1' })).status, 200, 'the next network')
  t.equal((await get(url, { 'x-address': '192.0.2.1' })).status, 200)
  t.equal((await get(url, { 'x-address': '::ffff:192.0.2.1' })).status, 429)
})

t.test('a header may say whom to count for; without it the address does', async t => {
  const keys: string[] = []
  const memory = new MemoryLimitStore()
  const limits: LimitStore = {
    name: 'watched',
    take(key, limit) {
      keys.push(key)
      return memory.take(key, limit)
    },
    peek: (key, limit) => memory.peek(key, limit),
    close: () => memory.close()
  }
  const options = { limit: 1, window: 60_000, by: 'header:X-API-Key' }
  const { url } = await testRoute(t, [[plugin, options]], { limits })
  t.equal((await get(url, { 'x-api-key': 'a-secret-key' })).status, 200)
  t.equal((await get(url, { 'x-api-key': 'another-key' })).status, 200)
  t.equal((await get(url, { 'x-api-key': 'a-secret-key' })).status, 429)
  t.equal((await get(url)).status, 200)
  t.equal((await get(url)).status, 429)
  t.equal((await get(url, { 'x-api-key': '127.0.0.1' })).status, 200, 'a header cannot pose as an address')
  t.notMatch(keys.join(), /secret-key/, 'the store never sees the key')
  t.ok(keys.every(key => key.length < 100))
})

t.test('routes are counted apart, and so are the limits of one route', async t => {
  const options = { limit: 1, window: 60_000, by: 'route' }
  const [a, b] = await testRoutes(t, [
    { uses: [[plugin, options]], settings: { name: 'a' } },
    { uses: [[plugin, options]], settings: { name: 'b' } }
  ])
  t.equal((await get(a!.url)).status, 200)
  t.equal((await get(b!.url)).status, 200)
  t.equal((await get(a!.url)).status, 429)
})

t.test('a reload resets no limit, even if the number changes', async t => {
  const limits = new MemoryLimitStore()
  const before = await testRoute(t, [[plugin, { limit: 1, window: 60_000, by: 'route' }]], { limits })
  const after = await testRoute(t, [[plugin, { limit: 2, window: 60_000, by: 'route' }]], { limits })
  t.equal((await get(before.url)).status, 200)
  t.equal((await get(after.url)).status, 200)
  t.equal((await get(after.url)).status, 429)
})

t.test('several limits must all hold, and a refused request is charged to none', async t => {
  const { store, advance } = clocked()
  const options = [
    { limit: 2, window: 1000, by: 'client.ip' },
    { limit: 3, window: 60_000, by: 'identity.subject' },
    { limit: 100, window: 60_000, by: 'client.ip' }
  ]
  const { url } = await testRoute(t, [[plugin, options]], { ...byUser, limits: store })
  const first = await get(url, { 'x-user': 'ann' })
  t.equal(
    first.headers.get('ratelimit-policy'),
    '"client.ip";q=2;w=1, "identity.subject";q=3;w=60, "client.ip-2";q=100;w=60'
  )
  t.equal(
    first.headers.get('ratelimit'),
    '"client.ip";r=1;t=1, "identity.subject";r=2;t=60, "client.ip-2";r=99;t=60'
  )
  await get(url, { 'x-user': 'ann' })
  const bySecond = await get(url, { 'x-user': 'ann' })
  t.equal(bySecond.status, 429)
  t.equal(bySecond.headers.get('retry-after'), '1')
  t.equal(
    bySecond.headers.get('ratelimit'),
    '"client.ip";r=0;t=1, "identity.subject";r=1;t=60, "client.ip-2";r=98;t=60'
  )
  advance(1000)
  t.equal((await get(url, { 'x-user': 'ann' })).status, 200)
  const byMinute = await get(url, { 'x-user': 'ann' })
  t.equal(byMinute.status, 429)
  t.equal(byMinute.headers.get('retry-after'), '59')
  const other = await get(url, { 'x-user': 'bob' })
  t.equal(other.status, 200, 'the address was not charged for what ann was refused')
  t.match(other.headers.get('ratelimit'), /^"client.ip";r=0;/)
})

t.test('two rate-limit entries on one route both hold and do not collide', async t => {
  const { url } = await testRoute(t, [
    [plugin, { limit: 5, window: 60_000, by: 'route' }],
    [plugin, { limit: 2, window: 60_000, by: 'route' }]
  ])
  const first = await get(url)
  t.equal(first.headers.get('ratelimit-policy'), '"default";q=5;w=60, "default-2";q=2;w=60')
  t.equal(first.headers.get('ratelimit'), '"default";r=4;t=60, "default-2";r=1;t=60')
  t.equal((await get(url)).status, 200)
  t.equal((await get(url)).status, 429)
})

t.test('a token bucket lets a burst pass', async t => {
  const { store, advance } = clocked()
  const options = { limit: 1, window: 1000, by: 'route', algorithm: 'token-bucket' as const, burst: 3 }
  const { url } = await testRoute(t, [[plugin, options]], { limits: store })
  const statuses = []
  for (let i = 0; i < 4; i++) statuses.push((await get(url)).status)
  t.same(statuses, [200, 200, 200, 429])
  advance(1000)
  t.equal((await get(url)).headers.get('ratelimit'), '"default";r=0;t=3')
})

t.test('a limit by address stands before authentication: bad credentials count', async t => {
  t.equal(plugin.phaseFor?.({ limit: 1, window: 1, by: 'client.ip' }), 'guard')
  t.equal(plugin.phaseFor?.([{ limit: 1, window: 1, by: 'client.ip' }]), 'guard')
  t.equal(
    plugin.phaseFor?.({ limit: 1, window: 1, by: 'route' }),
    'limit',
    'strangers must not use up the limit of all'
  )
  t.equal(
    plugin.phaseFor?.([
      { limit: 1, window: 1, by: 'client.ip' },
      { limit: 1, window: 1, by: 'identity.subject' }
    ]),
    'limit'
  )
  const refuseAll: GatewayPlugin = {
    name: 'refuse-all',
    phase: 'authenticate',
    schema: {},
    register(route) {
      route.addHook('onRequest', async () => {
        route.gateway.deny('token.invalid')
      })
    }
  }
  const { url } = await testRoute(t, [[refuseAll], [plugin, { limit: 2, window: 60_000, by: 'client.ip' }]])
  const statuses = []
  for (let i = 0; i < 3; i++) statuses.push((await get(url)).status)
  t.same(statuses, [401, 401, 429])
})

t.test('a shared store may answer later', async t => {
  const memory = new MemoryLimitStore()
  const limits: LimitStore = {
    name: 'later',
    take: async (key, limit) => memory.take(key, limit),
    peek: async (key, limit) => memory.peek(key, limit),
    close: async () => {}
  }
  const { url } = await testRoute(t, [[plugin, { limit: 1, window: 60_000, by: 'route' }]], { limits })
  t.equal((await get(url)).status, 200)
  t.equal((await get(url)).status, 429)
})

for (const [kind, fail] of [
  [
    'throws',
    () => {
      throw new Error('redis://secret@10.0.0.1 is down')
    }
  ],
  ['rejects', () => Promise.reject(new Error('redis://secret@10.0.0.1 is down'))],
  ['rejects with nothing', () => Promise.reject()]
] as const) {
  t.test(`a store that ${kind} refuses the request with 503`, async t => {
    const limits: LimitStore = { name: 'broken', take: fail, peek: fail, close: async () => {} }
    const { url, proxied } = await testRoute(t, [[plugin, { limit: 1, window: 60_000, by: 'route' }]], {
      limits
    })
    const answer = await get(url)
    t.equal(answer.status, 503)
    const text = await answer.text()
    t.match(text, /store.unavailable/)
    t.notMatch(text, /secret/)
    t.equal(proxied.length, 0)
  })
}

t.test('a request without identity is refused, not counted for nobody', async t => {
  const { url, proxied } = await testRoute(
    t,
    [[plugin, { limit: 1, window: 60_000, by: 'identity.subject' }]],
    { identity: null }
  )
  t.equal((await get(url)).status, 503)
  t.equal(proxied.length, 0)
})

t.test('a public route cannot be limited by identity', async t => {
  const options = { limit: 1, window: 60_000, by: 'identity.subject' }
  await t.rejects(testRoute(t, [[plugin, options]], { public: true }), {
    message: /needs an identity, but the route is public/
  })
})

t.test('mistakes in the options are reported where they are', async t => {
  const config = {} as Parameters<NonNullable<typeof plugin.check>>[1]
  const problems = plugin.check!(
    [
      { limit: 1, window: 1000, by: 'identity.name' },
      { limit: 1, window: 1000, by: 'header:', burst: 2 },
      { limit: 1, window: 1000, by: 'header:x-api-key', algorithm: 'token-bucket', burst: 2 }
    ],
    config
  )
  t.match(problems, [
    { path: [0, 'by'], message: 'nobody is known as "identity.name"' },
    { path: [1, 'by'] },
    { path: [1, 'burst'], message: 'a fixed-window has no burst', remedy: /token-bucket/ }
  ])
  t.equal(problems.length, 3)
})
