/**
 * What one rate limit costs a request: our hook with @fastify/rate-limit inside, against the bare store, in one process and
 * without a socket. `node bench/micro/rate-limit.ts`
 */
import fastifyRateLimit from '@fastify/rate-limit'
import rateLimit, { type RateLimitOptions } from '../../plugins/rate-limit.ts'
import type { GatewayPlugin } from '../../src/plugin/define.ts'
import { MemoryLimitStore } from '../../src/store/memory.ts'
import { captured, measure } from './hook.ts'

const one: RateLimitOptions = { limit: 1e9, window: 60_000, by: 'identity.subject' }
const three: RateLimitOptions[] = [{ ...one, by: 'client.ip' }, one, { ...one, algorithm: 'sliding-window' }]

const store = new MemoryLimitStore()
const limit = { algorithm: 'fixed-window', limit: 1e9, window: 60_000, burst: 1e9 } as const
await measure('the store alone', () => store.take('s:24:https://idp.example.comann', limit))

/** The package's part alone: what its limiter adds to the store's answer. */
const packaged: GatewayPlugin = {
  name: 'packaged',
  phase: 'limit',
  schema: {},
  async register(route) {
    class Store {
      child() {
        return this
      }
      incr(_key: string, done: (error: null, result: { current: number; ttl: number }) => void) {
        done(null, { current: 1, ttl: 1000 })
      }
    }
    await route.register(fastifyRateLimit, { global: false, store: Store })
    const limiter = route.createRateLimit({ max: 10, keyGenerator: () => 'k' })
    route.addHook('onRequest', async request => {
      await limiter(request)
    })
  }
}
{
  const { hook, request, reply } = await captured(packaged, {})
  await measure("createRateLimit's limiter with a store that does nothing", () => hook(request, reply))
}

for (const [name, options] of [
  ['one limit', one],
  ['three limits', three]
] as const) {
  const { hook, request, reply } = await captured(rateLimit, options)
  await measure(name, () => {
    reply.removeHeader('ratelimit')
    reply.removeHeader('ratelimit-policy')
    return hook(request, reply)
  })
}

const { hook, request, reply } = await captured(
  {
    name: 'nothing',
    phase: 'limit',
    schema: {},
    register(route) {
      route.addHook('onRequest', async () => {})
    }
  },
  {}
)
await measure('an empty async hook', () => hook(request, reply))
