import type { IncomingMessage } from 'node:http'
import findMyWay from 'find-my-way'
import type { Protocol } from '../outcome.ts'
import { decodeForm, pathForm } from './path-form.ts'

/** One route, as far as matching goes. */
export interface Matchable {
  readonly name: string
  readonly protocol: Protocol
  /** `api.example.com`, `*.example.com`; empty: any host. */
  readonly hosts: readonly string[]
  /** `/orders`, `/orders/*`, `/orders/:id`. */
  readonly path: string
  /** Empty: any method. */
  readonly methods: readonly string[]
  /** Header name (lower case) and its exact value. */
  readonly headers: Readonly<Record<string, string>>
  /** A CORS preflight is matched by the method that it asks about, because a plugin of the route answers it. */
  readonly answersPreflight: boolean
  /** A gRPC route that names no service does not take the services about services: only a route that names them does. */
  readonly sparesInfrastructure: boolean
}

export interface Match<Route extends Matchable> {
  readonly route: Route
  readonly params: Readonly<Record<string, string>>
}

interface Candidate<Route extends Matchable> {
  readonly route: Route
  /** Whether it is `/orders` of a route `/orders/*`. */
  readonly isBare: boolean
  /** Whether the last segment is a parameter: `/orders/:id` does not take `/orders/`, find-my-way would. */
  readonly endsInParameter: boolean
  /** Null: any. HEAD follows GET. */
  readonly methods: ReadonlySet<string> | null
  readonly headers: readonly (readonly [string, string])[]
  /** Names of the path's parameters, in order. */
  readonly params: readonly string[]
}

type Leaf<Route extends Matchable> = Candidate<Route>[]

/**
 * Which route a request belongs to. The most specific wins, in this order:
 * A route takes requests of its protocol only; then
 * 1. host: exact, then the longest `*.suffix`, then routes without hosts;
 * 2. path: literal segments before parameters before `/*`, segment by segment (find-my-way's tree); `/orders` before the
 *    `/orders` that `/orders/*` also takes;
 * 3. header conditions: more before fewer;
 * 4. methods: routes that list some before routes that take any;
 * 5. name, alphabetically: two routes that get this far are refused as a configuration.
 * A route that does not match is passed over, so a less specific one may still take the request.
 *
 * Fastify's own constraints are not used for this: its router tries paths before hosts, and holds at most 31 routes a path
 * (docs/adr/0002-matching-before-fastify.md).
 */
export class RouteTable<Route extends Matchable> {
  readonly #exact = new Map<string, HostTree<Route>>()
  readonly #wildcards: { suffix: string; tree: HostTree<Route> }[] = []
  readonly #any: HostTree<Route> | null

  constructor(routes: readonly Route[]) {
    const byHost = new Map<string, Route[]>()
    for (const route of routes) {
      for (const host of route.hosts.length === 0 ? [''] : route.hosts) {
        const group = byHost.get(host)
        if (group === undefined) byHost.set(host, [route])
        else group.push(route)
      }
    }
    for (const [host, group] of byHost) {
      if (host === '') continue
      const tree = new HostTree(group)
      if (host.startsWith('*.')) this.#wildcards.push({ suffix: host.slice(1), tree })
      else this.#exact.set(host, tree)
    }
    this.#wildcards.sort((a, b) => b.suffix.length - a.suffix.length)
    const anyHost = byHost.get('')
    this.#any = anyHost === undefined ? null : new HostTree(anyHost)
  }

  /** `target` is canonical (the gate has seen to that): what is matched is what is forwarded. */
  find(request: IncomingMessage, target: string, protocol: Protocol = 'http'): Match<Route> | null {
    const query = target.indexOf('?')
    const path = pathForm(query === -1 ? target : target.slice(0, query))
    const host = hostname(request.headers.host)
    const exact = this.#exact.get(host)
    if (exact !== undefined) {
      const match = exact.find(request, path, protocol)
      if (match !== null) return match
    }
    for (const { suffix, tree } of this.#wildcards) {
      // A wildcard stands for one or more labels, never for none: ".example.com" must have something before it.
      if (host.length <= suffix.length || !host.endsWith(suffix)) continue
      const match = tree.find(request, path, protocol)
      if (match !== null) return match
    }
    return this.#any === null ? null : this.#any.find(request, path, protocol)
  }
}

/** Host of a Host header: lower case, without port. */
export function hostname(host: string | undefined): string {
  if (host === undefined) return ''
  const end = host.startsWith('[') ? host.indexOf(']') + 1 : host.indexOf(':')
  return (end > 0 ? host.slice(0, end) : host).toLowerCase()
}

/** The routes of one host pattern: find-my-way walks the path, the candidates of its leaf settle headers and method. */
class HostTree<Route extends Matchable> {
  readonly #router: findMyWay.Instance<findMyWay.HTTPVersion.V1>
  // Lookups are synchronous, so one object can carry the question to the strategy and another the answer back.
  readonly #question: { candidates: IncomingMessage | undefined } = { candidates: undefined }
  #protocol: Protocol = 'http'
  #endsInSlash = false
  #isInfrastructure = false
  #answer: Candidate<Route> | null = null

  constructor(routes: readonly Route[]) {
    const leaves = new Map<string, Leaf<Route>>()
    for (const route of routes) {
      for (const pattern of patterns(route.path)) {
        const leaf = leaves.get(pattern) ?? []
        leaf.push(candidate(route, pattern))
        leaves.set(pattern, leaf)
      }
    }
    this.#router = findMyWay({
      caseSensitive: true,
      // A path of 8 KiB in which every byte is escaped.
      maxParamLength: 3 * 8192,
      querystringParser: parseNoQuery,
      // The types know strategies for strings only; the values of ours are requests and leaves.
      constraints: {
        candidates: this.#strategy() as unknown as findMyWay.ConstraintStrategy<findMyWay.HTTPVersion.V1>
      }
    })
    for (const [pattern, leaf] of leaves) {
      leaf.sort(bySpecificity)
      this.#router.on('GET', pattern, { constraints: { candidates: leaf } }, neverCalled)
    }
  }

  /** `path` is in path form. */
  find(request: IncomingMessage, path: string, protocol: Protocol): Match<Route> | null {
    this.#question.candidates = request
    this.#protocol = protocol
    this.#endsInSlash = path.endsWith('/')
    this.#isInfrastructure = protocol === 'grpc' && isInfrastructure(path)
    const found = this.#router.find('GET', path, this.#question)
    this.#question.candidates = undefined
    const answer = this.#answer
    this.#answer = null
    if (found === null || answer === null) return null
    return { route: answer.route, params: named(answer.params, found.params) }
  }

  #takes(one: Candidate<Route>, request: IncomingMessage): boolean {
    if (this.#endsInSlash && one.endsInParameter) return false
    if (this.#isInfrastructure && one.route.sparesInfrastructure) return false
    return accepts(one, request, this.#protocol)
  }

  /**
   * find-my-way asks the strategy at each leaf that the path reaches; where no candidate accepts the request, it goes
   * back and tries the next less specific path.
   */
  #strategy(): findMyWay.ConstraintStrategy<findMyWay.HTTPVersion.V1, Leaf<Route> | IncomingMessage> {
    const accept = (leaf: Leaf<Route>, request: IncomingMessage): boolean => {
      this.#answer = leaf.find(one => this.#takes(one, request)) ?? null
      return this.#answer !== null
    }
    return {
      name: 'candidates',
      mustMatchWhenDerived: true,
      deriveConstraint: request => request,
      storage: () => {
        let leaf: Leaf<Route> | null = null
        let store: unknown = null
        return {
          set(key: Leaf<Route> | IncomingMessage, value: unknown) {
            leaf = key as Leaf<Route>
            store = value
          },
          // While the tree is built it is asked for a leaf; afterwards for a request.
          get(key: Leaf<Route> | IncomingMessage) {
            if (leaf === null || Array.isArray(key)) return null
            return accept(leaf, key) ? (store as findMyWay.Handler<findMyWay.HTTPVersion.V1>) : null
          }
        }
      }
    }
  }
}

/** `/orders/*` takes `/orders` too, as `PathPrefix` of the Gateway API does. Parameters go by position inside the tree. */
function patterns(path: string): string[] {
  let position = 0
  const pattern = path
    .split('/')
    .map(segment => (segment.startsWith(':') ? `:p${position++}` : segment === '*' ? '*' : pathForm(segment)))
    .join('/')
  if (!pattern.endsWith('/*') || pattern === '/*') return [pattern]
  return [pattern.slice(0, -2), pattern]
}

function candidate<Route extends Matchable>(route: Route, pattern: string): Candidate<Route> {
  const methods = new Set(route.methods)
  if (methods.has('GET')) methods.add('HEAD')
  return {
    route,
    endsInParameter: pattern.slice(pattern.lastIndexOf('/')).startsWith('/:'),
    isBare: route.path.endsWith('/*') && !pattern.endsWith('*'),
    methods: methods.size === 0 ? null : methods,
    headers: Object.entries(route.headers).map(([name, value]) => [name.toLowerCase(), value] as const),
    params: route.path.split('/').flatMap(segment => (segment.startsWith(':') ? [segment.slice(1)] : []))
  }
}

function bySpecificity<Route extends Matchable>(a: Candidate<Route>, b: Candidate<Route>): number {
  if (a.isBare !== b.isBare) return a.isBare ? 1 : -1
  if (a.headers.length !== b.headers.length) return b.headers.length - a.headers.length
  if ((a.methods === null) !== (b.methods === null)) return a.methods === null ? 1 : -1
  return a.route.name < b.route.name ? -1 : 1
}

function accepts<Route extends Matchable>(
  one: Candidate<Route>,
  request: IncomingMessage,
  protocol: Protocol
): boolean {
  const method = request.method as string
  if (method === 'OPTIONS' && one.route.answersPreflight && isPreflight(request)) {
    // A browser's preflight carries none of the headers that the request itself will have.
    return one.methods === null || one.methods.has(request.headers['access-control-request-method'] as string)
  }
  if (one.route.protocol !== protocol) return false
  if (one.methods !== null && !one.methods.has(method)) return false
  for (const [name, value] of one.headers) {
    if (request.headers[name] !== value) return false
  }
  return true
}

/** A true CORS preflight (Fetch Standard, 4.8): anything less is an ordinary OPTIONS request. */
export function isPreflight(request: IncomingMessage): boolean {
  return (
    request.method === 'OPTIONS' &&
    request.headers.origin !== undefined &&
    request.headers['access-control-request-method'] !== undefined
  )
}

/** Health and reflection of gRPC: every server may have them, and they tell of what else it has. */
function isInfrastructure(path: string): boolean {
  return (
    path.startsWith('/grpc.health.') ||
    path.startsWith('/grpc.reflection.') ||
    path.startsWith('/grpc.channelz.')
  )
}

const noParams: Readonly<Record<string, string>> = Object.freeze({})

function named(
  names: readonly string[],
  values: Record<string, string | undefined>
): Readonly<Record<string, string>> {
  if (names.length === 0) return noParams
  const params: Record<string, string> = Object.create(null)
  for (let i = 0; i < names.length; i++) params[names[i] as string] = decodeForm(values[`p${i}`] as string)
  return params
}

function parseNoQuery(): Record<string, string> {
  return noParams
}

function neverCalled(): void {}
