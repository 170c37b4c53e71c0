import type { FastifyReply, FastifyRequest } from 'fastify'
import type { RouteInstance } from '../../src/plugin/define.ts'
import { identity, testRoute, type Use } from '../../test/fixtures/route.ts'

type Hook = (request: FastifyRequest, reply: FastifyReply, done?: () => void) => unknown

const known = identity({
  email: 'ann@example.com',
  scopes: ['openid', 'profile', 'orders:read', 'orders:write'],
  groups: ['staff', 'ops'],
  claims: { tenant: 'acme' }
})

/** The hook that a plugin adds to a route, with a real request and reply to call it with again and again. */
export async function captured(plugin: Use[0], options: unknown) {
  let hook: Hook | undefined
  let request: FastifyRequest | undefined
  let reply: FastifyReply | undefined
  const capturing: Use[0] = {
    ...plugin,
    register(route: RouteInstance, settings: never) {
      const capture = Object.create(route, {
        addHook: {
          value: (_name: string, added: Hook) => {
            hook = added
          }
        }
      }) as RouteInstance
      return plugin.register(capture, settings)
    }
  }
  const closing: (() => unknown)[] = []
  const test = { teardown: (close: () => unknown) => closing.push(close) }
  const route = await testRoute(test, [[capturing, options]], {
    identity: known,
    handler(seen, answer) {
      request = seen
      reply = answer
      return 'ok'
    }
  })
  await fetch(`${route.url}/orders/7?a=1`).then(answer => answer.text())
  for (const close of closing) await close()
  return { hook: hook!, request: request!, reply: reply! }
}

/** Median of nine runs, printed in microseconds. */
export async function measure(name: string, run: () => unknown, times = 100_000): Promise<number> {
  const runs: number[] = []
  for (let round = 0; round < 9; round++) {
    const start = performance.now()
    for (let i = 0; i < times; i++) {
      const result = run()
      if (result instanceof Promise) await result
    }
    runs.push(((performance.now() - start) / times) * 1000)
  }
  const median = runs.sort((a, b) => a - b)[4]!
  console.log(`${median.toFixed(3).padStart(8)} us  ${name}`)
  return median
}
