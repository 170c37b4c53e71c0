import type { Reason } from '../errors.ts'
import type { Exchange } from '../exchange.ts'
import type { RefusedRequest } from '../gate/server.ts'
import type { Protocol } from '../outcome.ts'
import type { Phase } from '../plugin/define.ts'
import type { Upstream } from '../proxy/upstream.ts'
import type { BuiltRoute, UpstreamShare } from '../route/build.ts'
import type { Limit, LimitResult } from '../store/contract.ts'
import { type Condition, conditionsOf, nearestRoute } from './conditions.ts'
import { hostOf, type Question } from './question.ts'
import type { Forwarded } from './rehearsal.ts'

export interface Step {
  /** `gateway` for what the gateway asks itself behind the last plugin. */
  readonly plugin: string
  readonly phase: Phase | 'proxy'
  /**
   * `pass`: it lets the request on. `shadow`: it would refuse, and lets it on. `deny`: it refuses. `answer`: it answers the
   * request itself. `not asked`: somebody before it has.
   */
  readonly verdict: 'pass' | 'shadow' | 'deny' | 'answer' | 'not asked'
  readonly reason: Reason | null
  readonly detail: string | null
}

export interface LimitState extends Limit {
  readonly plugin: string
  /** How many more requests would pass; this one is not counted. */
  readonly remaining: number
  /** Milliseconds. */
  readonly resetAfter: number
  readonly retryAfter: number
}

/** What the gateway would do with a request, and why. Public interface: keys are added, never renamed. */
export interface Explanation {
  readonly request: {
    readonly method: string
    readonly target: string
    readonly host: string
    readonly protocol: Protocol
    readonly clientIp: string
  }
  readonly verdict: 'allow' | 'deny'
  /** What the client is told; null: the upstream's answer. */
  readonly status: number | null
  /** Of a gRPC call that is refused. */
  readonly grpcStatus: number | null
  readonly reason: Reason | null
  readonly detail: string | null
  readonly route: { readonly name: string; readonly why: readonly Condition[] } | null
  /** Where no route takes the request: the one that came nearest. */
  readonly nearest: { readonly name: string; readonly why: readonly Condition[] } | null
  readonly identity: { readonly kind: string; readonly subject: string; readonly issuer: string } | null
  readonly steps: readonly Step[]
  readonly limits: readonly LimitState[]
  /** What changes on the way to the upstream: empty where the request does not get there. */
  readonly headers: {
    readonly added: readonly { readonly name: string; readonly value: string }[]
    readonly removed: readonly string[]
  }
  readonly upstream: {
    /** Of several, one whose turn could be: turns of live requests are not used up. */
    readonly name: string
    /** All upstreams of the route, with their weights. */
    readonly shares: readonly { readonly name: string; readonly weight: number }[]
    /** What it is asked for; null: it is not asked. */
    readonly path: string | null
    /** Those that get requests; one of them would get this one. */
    readonly endpoints: readonly string[]
  } | null
  /** The edge of the perimeter by which the gateway reaches the upstream; null where none is declared. */
  readonly perimeter: {
    readonly namespace: string
    readonly podSelector: Readonly<Record<string, string>>
    readonly port: number
  } | null
}

/** What was seen while the chain ran. */
export interface Sighting {
  exchange: Exchange | null
  /** It never became a request. */
  refused: RefusedRequest | null
  forwarded: Forwarded | null
  readonly limits: { readonly at: number; readonly limit: Limit; readonly result: LimitResult }[]
  readonly shadows: { readonly at: number; readonly plugin: string; readonly reason: Reason }[]
}

const nothing = {
  grpcStatus: null,
  route: null,
  nearest: null,
  identity: null,
  steps: [],
  limits: [],
  headers: { added: [], removed: [] },
  upstream: null,
  perimeter: null
} satisfies Partial<Explanation>

/** With what a request is refused that has passed the gate and that no route took. */
const unmatched: ReadonlySet<Reason> = new Set(['route.none', 'protocol.upgrade', 'protocol.content_type'])

export function explanationOf(
  question: Question,
  sighting: Sighting,
  routes: readonly BuiltRoute[]
): Explanation {
  const { exchange, refused, forwarded } = sighting
  const request = {
    method: question.method,
    target: question.target,
    host: hostOf(question),
    protocol: exchange?.protocol ?? question.protocol ?? 'http',
    clientIp: exchange?.clientIp ?? question.clientIp ?? '127.0.0.1'
  }
  if (exchange === null) {
    if (refused === null) throw new Error('the request ended unheard')
    const { status, reason, detail } = refused
    return { ...nothing, request, verdict: 'deny', status, reason, detail }
  }
  const route = exchange.route as BuiltRoute | null
  const { reason, detail, grpcStatus } = exchange
  const verdict = {
    verdict: reason === null ? ('allow' as const) : ('deny' as const),
    status: forwarded === null ? exchange.response.statusCode : null,
    grpcStatus,
    reason,
    detail
  }
  if (route === null) {
    const nearest = reason !== null && unmatched.has(reason) ? nearestRoute(routes, exchange) : null
    return { ...nothing, request, ...verdict, nearest }
  }
  const { identity } = exchange
  const upstream = forwarded?.target.upstream ?? (route.shares[0] as UpstreamShare).upstream
  const { kubernetes } = upstream.config
  return {
    request,
    ...verdict,
    route: { name: route.name, why: conditionsOf(route, exchange) },
    nearest: null,
    identity:
      identity === null ? null : { kind: identity.kind, subject: identity.subject, issuer: identity.issuer },
    steps: stepsOf(exchange, route, sighting),
    limits: sighting.limits.map(({ at, limit, result }) => ({
      plugin: route.chain[at]?.plugin.name ?? '',
      algorithm: limit.algorithm,
      limit: limit.limit,
      window: limit.window,
      burst: limit.burst,
      remaining: result.remaining,
      resetAfter: result.resetAfter,
      retryAfter: result.retryAfter
    })),
    headers: forwarded === null ? nothing.headers : changesOf(exchange, forwarded),
    upstream: {
      name: upstream.name,
      shares: route.shares.map(({ upstream: { name }, weight }) => ({ name, weight })),
      path: forwarded?.path ?? null,
      endpoints: endpointsOf(upstream)
    },
    perimeter: kubernetes ?? null
  }
}

function stepsOf(exchange: Exchange, route: BuiltRoute, sighting: Sighting): Step[] {
  const { chain } = route
  const { passed, plugin: denier, reason, detail } = exchange
  // A hook that runs behind the whole chain: its plugin has passed once already.
  const denied =
    denier === null
      ? -1
      : passed < chain.length
        ? passed
        : chain.findLastIndex(({ plugin }) => plugin.name === denier)
  const isAnswered = reason === null && sighting.forwarded === null
  const steps = chain.map(({ plugin, phase }, at): Step => {
    const step = { plugin: plugin.name, phase, reason: null, detail: null }
    if (at === denied) return { ...step, verdict: 'deny', reason, detail }
    if (at >= passed) return { ...step, verdict: isAnswered && at === passed ? 'answer' : 'not asked' }
    const shadow = sighting.shadows.find(one => one.at === at)
    if (shadow !== undefined) return { ...step, verdict: 'shadow', reason: shadow.reason }
    return { ...step, verdict: 'pass', detail: detailOf(exchange, phase, at, sighting) }
  })
  if (reason !== null && denied === -1 && passed === chain.length)
    steps.push({ plugin: 'gateway', phase: 'proxy', verdict: 'deny', reason, detail })
  return steps
}

function detailOf({ identity }: Exchange, phase: Phase, at: number, { limits }: Sighting): string | null {
  if (phase === 'authenticate' && identity !== null) return `${identity.subject} of ${identity.issuer}`
  const seen = limits.filter(one => one.at === at)
  if (seen.length === 0) return null
  return seen.map(({ limit, result }) => `${result.remaining} of ${limit.burst} left`).join(', ')
}

function endpointsOf({ endpoints }: Upstream): string[] {
  const well = endpoints.filter(({ isWell }) => isWell)
  return (well.length === 0 ? endpoints : well).map(({ label }) => label)
}

const signed = 'x-sallyport-identity'

/** The fields that the upstream gets and the client has not sent so, and the other way round. */
function changesOf(exchange: Exchange, { headers }: Forwarded): Explanation['headers'] {
  const { request, upstreamHeaders } = exchange
  const isKept = (name: string, value: string) => [request.headers[name]].flat().includes(value)
  const kept = new Set(headers.filter(([name, value]) => isKept(name, value)).map(([name]) => name))
  const sent = new Set<string>()
  for (let i = 0; i < request.rawHeaders.length; i += 2)
    sent.add((request.rawHeaders[i] as string).toLowerCase())
  // The upstream gets a host of its own, and the pseudo-headers of HTTP/2 are not fields.
  sent.delete('host')
  const added = headers
    .filter(([name, value]) => !isKept(name, value))
    .map(([name, value]) => ({ name, value: shown(name, value) }))
  return { added, removed: [...sent].filter(name => !kept.has(name) && !name.startsWith(':')) }

  /** What a plugin sets may be a credential of the gateway's, and so is what it has signed. */
  function shown(name: string, value: string): string {
    if (name === signed) return '[signed]'
    return upstreamHeaders !== null && Object.hasOwn(upstreamHeaders, name) ? '[redacted]' : value
  }
}
