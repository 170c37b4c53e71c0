import rateLimit from '@fastify/rate-limit'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { GatewayPlugin, OptionProblem, PluginGateway } from '../src/plugin/define.ts'
import type { Limit, LimitResult, LimitStore } from '../src/store/contract.ts'

export interface RateLimitOptions {
  limit: number
  /** Milliseconds. */
  window: number
  by: string
  algorithm?: Limit['algorithm']
  burst?: number
}

const oneLimit = {
  type: 'object',
  description: 'One limit: so many requests, in such a time, for each of those.',
  properties: {
    limit: {
      type: 'integer',
      minimum: 1,
      description: 'Requests that pass in one window; a token bucket gets so many tokens in one.'
    },
    window: {
      type: 'string',
      format: 'duration',
      description: 'How long a window is, e.g. `1s`, `1m`, `1d`.'
    },
    by: {
      type: 'string',
      description:
        'Whom to count for: `identity.subject` (issuer and subject), `identity.issuer`, `client.ip` (IPv6 by /64), `route` (everybody together) or `header:NAME` (the address where the request lacks the header).'
    },
    algorithm: {
      enum: ['fixed-window', 'sliding-window', 'token-bucket'],
      default: 'fixed-window',
      description:
        '`fixed-window` starts with the first request; `sliding-window` forgets gradually; `token-bucket` lets bursts pass.'
    },
    burst: {
      type: 'integer',
      minimum: 1,
      description: 'Most tokens that a token bucket holds. Default: `limit`.'
    }
  },
  required: ['limit', 'window', 'by'],
  additionalProperties: false
}

/** What a client may read of a limit, in the words of draft-ietf-httpapi-ratelimit-headers-10. */
interface Policy extends Limit {
  name: string
  /** Given by the store: which limit of the route this is. */
  prefix: string
}

type Verdict = { isExceeded: boolean; remaining: number; ttl: number }
type Limiter = (request: FastifyRequest, options?: { increment?: boolean }) => Promise<Verdict>

/**
 * Refuses a request once its principal has used up a limit: 429 with `Retry-After`. Every answer carries `RateLimit-Policy`
 * and `RateLimit`. Several limits must all hold: the later ones are looked at before the first is charged, so that a
 * request that one of them refuses is normally not charged to any (two requests at the same instant may be).
 * A store that fails refuses the request with 503 (Redis: `redis.onError` decides before that).
 *
 * Limits by address alone stand before authentication: a flood of bad credentials is stopped before they are checked.
 */
export default {
  name: 'rate-limit',
  phase: 'limit',
  phaseFor: options => (listOf(options).every(limit => limit.by === 'client.ip') ? 'guard' : 'limit'),
  schema: {
    description: 'One limit, or several that must all hold.',
    oneOf: [
      oneLimit,
      { type: 'array', items: oneLimit, minItems: 1, description: 'Several limits: all must hold.' }
    ]
  },
  check(options) {
    return Array.isArray(options)
      ? options.flatMap((limit, index) => problemsOf(limit, [index]))
      : problemsOf(options, [])
  },
  async register(route, options) {
    // Kept for the life of the route: a second `rate-limit` on it adds its limits to the first one's store.
    if (!route.hasDecorator('createRateLimit')) {
      await route.register(rateLimit, { global: false, store: storeOf(route.gateway) })
    }
    const { gateway } = route
    const policies = listOf(options).map(limit => policyOf(limit, Array.isArray(options)))
    const limiters = listOf(options).map((limit, index) => {
      const policy = policies[index]!
      const settings = {
        max: policy.burst,
        timeWindow: policy.window,
        keyGenerator: gateway.principal(limit.by),
        policy
      }
      return route.createRateLimit(settings) as Limiter
    })
    const described = policies
      .map(policy => `"${policy.name}";q=${policy.limit};w=${seconds(policy.window)}`)
      .join(', ')
    const only = limiters.length === 1 ? limiters[0]! : null

    route.addHook('onRequest', async function limitRate(request, reply) {
      let verdicts: Verdict[]
      try {
        verdicts = only === null ? await takeAll(limiters, request) : [await only(request)]
      } catch (cause) {
        const reason = cause instanceof StoreFailure ? 'store.unavailable' : 'plugin.failed'
        return gateway.deny(reason, { status: 503, detail: 'the limit could not be counted', cause })
      }
      append(reply, 'ratelimit-policy', described)
      append(reply, 'ratelimit', verdicts.map(describe, policies).join(', '))
      const refused = longest(verdicts)
      if (refused === null) return
      gateway.deny('rate.exceeded', { headers: { 'retry-after': String(seconds(refused.ttl)) } })
    })
  }
} satisfies GatewayPlugin<RateLimitOptions | RateLimitOptions[]>

function listOf(options: RateLimitOptions | RateLimitOptions[]): RateLimitOptions[] {
  return Array.isArray(options) ? options : [options]
}

function problemsOf(limit: RateLimitOptions, at: (string | number)[]): OptionProblem[] {
  const problems: OptionProblem[] = []
  if (
    !/^(identity\.subject|identity\.issuer|client\.ip|route|header:[!#$%&'*+.^_`|~0-9A-Za-z-]+)$/.test(
      limit.by
    )
  ) {
    problems.push({
      path: [...at, 'by'],
      message: `nobody is known as ${JSON.stringify(limit.by)}`,
      remedy: 'use identity.subject, identity.issuer, client.ip, route or header:NAME'
    })
  }
  if (limit.burst !== undefined && limit.algorithm !== 'token-bucket') {
    problems.push({
      path: [...at, 'burst'],
      message: `a ${limit.algorithm ?? 'fixed-window'} has no burst`,
      remedy: 'say algorithm: token-bucket, or remove burst'
    })
  }
  return problems
}

function policyOf(options: RateLimitOptions, oneOfMany: boolean): Policy {
  const { limit, window, algorithm = 'fixed-window' } = options
  const burst = algorithm === 'token-bucket' ? (options.burst ?? limit) : limit
  return { name: oneOfMany ? options.by : 'default', prefix: '', algorithm, limit, window, burst }
}

/**
 * Our `LimitStore` behind the face of the package's stores. The package makes one child per limiter of the route, which is
 * where a limit gets its number: the package itself keys all of a route's limiters alike, so that they would collide.
 */
function storeOf(gateway: PluginGateway) {
  let count = 0
  const names = new Set<string>()

  class PolicyStore {
    readonly policy: Policy | null
    constructor(settings: { policy?: Policy }) {
      this.policy = settings.policy ?? null
    }

    child(settings: object): PolicyStore {
      const { policy } = settings as { policy: Policy }
      const first = policy.name
      for (let copy = 2; names.has(policy.name); copy++) policy.name = `${first}-${copy}`
      names.add(policy.name)
      policy.prefix = `${encodeURIComponent(gateway.route)}:${count++}:${policy.algorithm}:`
      return new PolicyStore({ policy })
    }

    incr(key: string, done: Done): void {
      const policy = this.policy!
      answer(takeFrom(gateway.limits, policy.prefix + key, policy), policy, done)
    }

    read(key: string, done: Done): void {
      const policy = this.policy!
      answer(peekAt(gateway.limits, policy.prefix + key, policy), policy, done)
    }
  }
  return PolicyStore
}

/** The store and nothing else is to blame. */
class StoreFailure extends Error {
  constructor(cause: unknown) {
    super('the limit store failed', { cause })
  }
}

type Done = (error: Error | null, result?: { current: number; ttl: number }) => void

function takeFrom(limits: LimitStore, key: string, policy: Policy): LimitResult | Promise<LimitResult> {
  try {
    return limits.take(key, policy)
  } catch (cause) {
    throw new StoreFailure(cause)
  }
}

function peekAt(limits: LimitStore, key: string, policy: Policy): LimitResult | Promise<LimitResult> {
  try {
    return limits.peek(key, policy)
  } catch (cause) {
    throw new StoreFailure(cause)
  }
}

function answer(result: LimitResult | Promise<LimitResult>, policy: Policy, done: Done): void {
  if (result instanceof Promise) {
    result.then(
      late => done(null, usage(late, policy)),
      cause => done(new StoreFailure(cause))
    )
    return
  }
  done(null, usage(result, policy))
}

/** The package knows one counter and one time; it calls a limit exceeded when the counter is above the maximum. */
function usage(result: LimitResult, policy: Policy): { current: number; ttl: number } {
  if (!result.allowed) return { current: policy.burst + 1, ttl: result.retryAfter }
  return { current: policy.burst - result.remaining, ttl: result.resetAfter }
}

const looking = { increment: false }

async function takeAll(limiters: Limiter[], request: FastifyRequest): Promise<Verdict[]> {
  const verdicts: Verdict[] = []
  for (let i = 1; i < limiters.length; i++) verdicts[i] = await limiters[i]!(request, looking)
  verdicts[0] = await limiters[0]!(request, verdicts.some(isExceeded) ? looking : undefined)
  if (verdicts.some(isExceeded)) return verdicts
  for (let i = 1; i < limiters.length; i++) verdicts[i] = await limiters[i]!(request)
  return verdicts
}

function isExceeded(verdict: Verdict): boolean {
  return verdict.isExceeded
}

/** The refusal that lasts longest: coming back any earlier would be in vain. */
function longest(verdicts: Verdict[]): Verdict | null {
  let found: Verdict | null = null
  for (const verdict of verdicts) {
    if (verdict.isExceeded && (found === null || verdict.ttl > found.ttl)) found = verdict
  }
  return found
}

function describe(this: Policy[], verdict: Verdict, index: number): string {
  return `"${this[index]!.name}";r=${verdict.remaining};t=${Math.ceil(verdict.ttl / 1000)}`
}

/** Whole seconds, rounded up and never 0: "come back at once" is what a client under a limit must not be told. */
function seconds(milliseconds: number): number {
  return Math.max(1, Math.ceil(milliseconds / 1000))
}

/** Both fields are lists: another `rate-limit` on the same route has perhaps put its policies there already. */
function append(reply: FastifyReply, name: string, value: string): void {
  const before = reply.getHeader(name)
  reply.header(name, before === undefined ? value : `${before}, ${value}`)
}
