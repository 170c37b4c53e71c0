import type { IncomingMessage, ServerResponse } from 'node:http'
import { isIP } from 'node:net'
import { all } from '@fastify/proxy-addr'
import type { FastifyInstance } from 'fastify'
import { answer } from './answer.ts'
import type { Config } from './config/schema.ts'
import { type Reason, Refusal } from './errors.ts'
import { Exchange } from './exchange.ts'
import type { ExchangeObserver, Upgrade } from './exchange-parties.ts'
import { encodedSlashTraits, requestTraits, traits } from './gate/gate.ts'
import type { Identity } from './identity.ts'
import type { Logger } from './log.ts'
import { LogLimit } from './log-limit.ts'
import type { Outcome, Protocol } from './outcome.ts'
import type { GatewayPlugin } from './plugin/define.ts'
import { address } from './proxy/headers.ts'
import type { Upstream } from './proxy/upstream.ts'
import type { Cell } from './registry.ts'
import type { BuiltRoute } from './route/build.ts'
import { RouteTable } from './route/match.ts'
import { protocolOf, refusalOfUnmatched } from './route/protocol.ts'
import { type GenerationServices, trustFunction } from './services.ts'
import { becomeAsked, isQuestion } from './session/question.ts'
import type { Sessions } from './session/sessions.ts'

/** Those that get a label of their own, as in plugins/metrics.ts: a client cannot make series. */
const methods = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])

/** Lines a second about requests that are shed: writing them all would keep the event loop late. */
const shedLog = new LogLimit(10)

/**
 * One configuration, running. It takes requests while it is in force, ends those that are under way when it is replaced,
 * and closes with the last of them.
 */
export class Generation implements ExchangeObserver {
  readonly config: Config
  readonly hash: string
  readonly routes: readonly BuiltRoute[]
  /** Every plugin that a route may name. */
  readonly plugins: ReadonlyMap<string, GatewayPlugin>
  readonly log: Logger
  /** Null where nobody signs in. */
  readonly sessions: Sessions | null
  readonly sessionCookie: string | null
  readonly #app: FastifyInstance
  readonly #services: GenerationServices
  readonly #table: RouteTable<BuiltRoute>
  readonly #isTrusted: (address: string) => boolean
  /** How far clocks may differ, by the `iss` of tokens. */
  readonly #tolerances: ReadonlyMap<string, number>
  /** What the gateway answers itself on its public listeners: paths that begin so belong to no route. */
  readonly #own: readonly string[]
  #underWay = 0
  #retired: (() => void) | null = null

  constructor(
    config: Config,
    hash: string,
    app: FastifyInstance,
    routes: readonly BuiltRoute[],
    services: GenerationServices,
    own: readonly string[],
    plugins: ReadonlyMap<string, GatewayPlugin>,
    sessions: Sessions | null
  ) {
    this.plugins = plugins
    this.#own = own
    this.sessions = sessions
    this.sessionCookie = sessions?.options.cookie.name ?? null
    this.config = config
    this.hash = hash
    this.routes = routes
    this.log = services.log
    this.#app = app
    this.#services = services
    this.#table = new RouteTable(routes)
    this.#isTrusted = trustFunction(config.trustedProxies)
    this.#tolerances = tolerancesOf(config)
  }

  get upstreams(): ReadonlySet<Upstream> {
    return new Set(this.routes.flatMap(route => route.shares.map(({ upstream }) => upstream)))
  }

  get underWay(): number {
    return this.#underWay
  }

  /** A request from a public listener. `refusal` is what the gate or the process has against it (overload, drain). */
  handle(request: IncomingMessage, response: ServerResponse, refusal: Refusal | null): Exchange {
    return this.#enter(request, response, refusal, protocolOf(request), null)
  }

  /**
   * A WebSocket handshake. `response` is for a refusal: the answer of an accepted one is written by the WebSocket library.
   * @returns the exchange, which ends with the connection
   */
  handleUpgrade(
    request: IncomingMessage,
    response: ServerResponse,
    refusal: Refusal | null,
    upgrade: Upgrade
  ): Exchange {
    return this.#enter(request, response, refusal, 'websocket', upgrade)
  }

  #enter(
    request: IncomingMessage,
    response: ServerResponse,
    refusal: Refusal | null,
    protocol: Protocol,
    upgrade: Upgrade | null
  ): Exchange {
    const asks = refusal === null && protocol === 'http' && this.#asks(request)
    const fault = asks ? becomeAsked(request) : refusal
    const exchange = new Exchange(request, response, this.#clientIp(request), this, protocol, upgrade)
    exchange.isQuestion = asks
    if (fault !== null) answer(exchange, fault, null)
    else this.#route(exchange)
    return exchange
  }

  #route(exchange: Exchange): void {
    const { request, response, target, protocol } = exchange
    // The other proxy would take our own answer for a yes, and let the request through to a service of its own.
    if (protocol === 'http' && !exchange.isQuestion && this.#isOwn(target)) {
      this.#app.routing(request, response)
      return
    }
    const match = this.#table.find(request, target, protocol)
    if (match === null) {
      const matches = (other: Protocol) => this.#table.find(request, target, other) !== null
      answer(exchange, refusalOfUnmatched(protocol, matches), null)
      return
    }
    const { route } = match
    exchange.enter(route, match.params, route.maxBody)
    const spelling = judgeTraits(request, route)
    if (spelling !== null) {
      answer(exchange, spelling, null)
      return
    }
    // Fastify finds the route's context by its address; `beginRequest` gives plugins and the proxy the client's target.
    request.url = route.address
    this.#app.routing(request, response)
  }

  /** Only a proxy that is trusted may ask in the name of others. */
  #asks(request: IncomingMessage): boolean {
    if (this.sessionCookie === null || request.httpVersionMajor !== 1 || !isQuestion(request)) return false
    return this.#isTrusted(address(request.socket.remoteAddress ?? ''))
  }

  #isOwn(target: string): boolean {
    for (let i = 0; i < this.#own.length; i++) if (target.startsWith(this.#own[i] as string)) return true
    return false
  }

  graceOf({ kind, issuer }: Identity): number {
    return kind === 'jwt' || kind === 'introspection' ? (this.#tolerances.get(issuer) ?? 0) : 0
  }

  began(): void {
    this.#underWay++
  }

  ended(exchange: Exchange, outcome: Outcome): void {
    this.#underWay--
    const route = exchange.route as BuiltRoute | null
    if (route === null) this.#countUnmatched(outcome)
    else this.#countDecisions(exchange, route)
    if (this.#retired !== null && this.#underWay === 0) this.#retired()
  }

  /** Waits for the requests under way, then closes. */
  async retire(): Promise<void> {
    if (this.#underWay > 0) await new Promise<void>(resolve => (this.#retired = resolve))
    await this.#app.close()
  }

  /** No plugin hears of a request without a route, so the gateway counts and logs it. */
  #countUnmatched(outcome: Outcome): void {
    const method = methods.has(outcome.method) ? outcome.method : 'other'
    this.#services.registry
      .number('requests_total')
      .child('none', outcome.protocol, method, String(outcome.status)).value++
    if (outcome.grpcStatus !== null)
      this.#services.registry.number('grpc_responses_total').child('none', String(outcome.grpcStatus)).value++
    const suppressed = outcome.reason === 'gateway.overloaded' ? shedLog.take() : 0
    if (suppressed === null) return
    this.log.info({ route: 'none', ...outcome.line(), suppressed }, 'request')
  }

  #countDecisions(exchange: Exchange, route: BuiltRoute): void {
    for (let i = 0; i < exchange.passed; i++) {
      const cell: Cell | null | undefined = route.allowed[i]
      if (cell) cell.value++
    }
    if (exchange.plugin === null) return
    const decisions = this.#services.registry.number('decisions_total')
    decisions.child(route.name, exchange.plugin, 'deny', exchange.reason as Reason).value++
  }

  #clientIp(request: IncomingMessage): string {
    const peer = address(request.socket.remoteAddress ?? '')
    if (!this.#isTrusted(peer)) return peer
    const claimed = all(request, this.#isTrusted).at(-1) ?? peer
    return clientAddress(claimed) ?? peer
  }
}

/** Two issuers may be one by their `iss`, with different audiences. */
function tolerancesOf({ issuers }: Config): ReadonlyMap<string, number> {
  const tolerances = new Map<string, number>()
  for (const { issuer, clockTolerance } of Object.values(issuers))
    tolerances.set(issuer, Math.max(clockTolerance, tolerances.get(issuer) ?? 0))
  return tolerances
}

/** `192.0.2.1:4711` and `[2001:db8::1]:4711`, as some proxies write it. */
const withPort = /^(?:\[([^\]]*)\]|([0-9.]+))(?::[0-9]{1,5})?$/

/**
 * The address in an entry of X-Forwarded-For, in one spelling; null where there is none (`unknown`, `_hidden`, garbage). A port
 * would make each connection a client of its own, and limits by address would be none.
 */
function clientAddress(entry: string): string | null {
  const found = isIP(entry) !== 0 ? entry : (withPort.exec(entry)?.slice(1).find(Boolean) ?? '')
  const version = isIP(found)
  if (version !== 6) return version === 4 ? found : null
  const mapped = address(URL.parse(`http://[${found}]`)?.hostname.slice(1, -1) ?? found)
  if (isIP(mapped) !== 0) return mapped
  // `::ffff:c000:201`: the mapped address in hexadecimal.
  const [high = 0, low = 0] = mapped.split(':').map(part => Number.parseInt(part, 16))
  return `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`
}

/** Header spellings and encodings that only a route which asks for them may take. */
function judgeTraits(request: IncomingMessage, route: BuiltRoute): Refusal | null {
  const found = requestTraits(request)
  if (found === 0) return null
  if ((found & traits.underscores) !== 0 && !route.config.allowUnderscores) {
    return new Refusal('request.malformed', { detail: 'underscore in a header name' })
  }
  if ((found & encodedSlashTraits) !== 0 && !route.config.encodedSlashes) {
    return new Refusal('request.malformed', { detail: 'encoded separator in the path' })
  }
  return null
}
