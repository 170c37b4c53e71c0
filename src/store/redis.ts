import { hash } from 'node:crypto'
import type { Limit, LimitResult, LimitStore } from './contract.ts'
import { limitScript } from './limit-script.ts'
import type { RedisClient, RedisScript } from './redis-client.ts'

export interface RedisStoreOptions {
  /** A clock in milliseconds. Default: that of the Redis server, which is the same for all replicas. */
  now?: () => number
}

type Answer = [allowed: number, remaining: number, resetAfter: number, retryAfter: number]

/**
 * Limits counted in Redis, for all replicas together: one atomic call a check, by the server's clock. Every key ends by itself
 * with the limit that it stands for. Rejects with `RedisUnavailable` when Redis does not answer.
 */
export class RedisLimitStore implements LimitStore {
  readonly name = 'redis'
  readonly #check: RedisScript
  readonly #now: (() => number) | null

  constructor(client: RedisClient, { now }: RedisStoreOptions = {}) {
    this.#check = client.script('sallyportLimit', limitScript)
    this.#now = now ?? null
  }

  take(key: string, limit: Limit, cost = 1): Promise<LimitResult> {
    return this.#ask(key, limit, cost, 1)
  }

  peek(key: string, limit: Limit): Promise<LimitResult> {
    return this.#ask(key, limit, 1, 0)
  }

  /** The connection is its owner's to close. */
  async close(): Promise<void> {}

  async #ask(key: string, limit: Limit, cost: number, charge: 0 | 1): Promise<LimitResult> {
    const { algorithm, limit: most, window, burst } = limit
    const now = this.#now === null ? '' : this.#now()
    const answer = await this.#check(redisKey(key), algorithm, most, window, burst, cost, charge, now)
    const [allowed, remaining, resetAfter, retryAfter] = answer as Answer
    return {
      allowed: allowed === 1,
      remaining,
      resetAfter: resetAfter / 1000,
      retryAfter: retryAfter / 1000
    }
  }
}

/**
 * `sallyport:{ROUTE}:DIGEST`. The braces put all keys of a route into one slot of a cluster. What follows the route in the key of
 * a store is hashed: a key has one length whoever is counted, and Redis learns no subjects and no addresses.
 */
export function redisKey(key: string): string {
  const end = key.indexOf(':')
  const route = end === -1 ? '' : key.slice(0, end)
  return `sallyport:{${route}}:${hash('sha256', key, 'base64url')}`
}
