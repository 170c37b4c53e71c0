import type { IncomingHttpHeaders } from 'node:http'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Config, PluginUse, RouteConfig } from '../config/schema.ts'
import type { Reason, RefusalOptions } from '../errors.ts'
import type { ClientCertificate } from '../gate/client-certificate.ts'
import type { Identity } from '../identity.ts'
import type { TokenIntrospector } from '../issuer/introspector.ts'
import type { IssuerVerifier } from '../issuer/keys.ts'
import type { Logger } from '../log.ts'
import type { OutcomeListener, Protocol } from '../outcome.ts'
import type { BrowserSignIn } from '../session/browser.ts'
import type { LimitStore } from '../store/contract.ts'
import type { Places } from './places.ts'

/** The phases, in the order in which they run; inside a phase the order is the YAML's. */
export const phases = ['observe', 'guard', 'authenticate', 'authorize', 'limit', 'transform'] as const
export type Phase = (typeof phases)[number]

/**
 * A plugin: a Fastify plugin with a name, a phase and a schema. One file, one plugin, one word in the YAML.
 * `name` may be left out by a custom plugin: it takes its file name.
 */
export interface GatewayPlugin<Options = Record<string, unknown>> {
  name: string
  phase: Phase
  /** Optional: these options need another phase than `phase` (a limit by address stands before authentication). */
  phaseFor?(options: Options): Phase
  /** JSON Schema (2020-12) of the options; formats `duration`, `size` and `cidr` are converted (ms, bytes, as is). */
  schema: object
  /**
   * Optional second look at options that the schema accepts, with the whole configuration at hand (an unknown issuer,
   * an expression that does not type-check). Every problem is reported at its line of the YAML. `route` is the one that the
   * plugin stands on; null for a plugin of every route.
   */
  check?(options: Options, config: Config, route?: RouteConfig | null): OptionProblem[]
  /**
   * Of plugins that authenticate: whether a request carries the credential that the plugin judges, good or bad. Made once per
   * route; `any` asks it. A plugin without it cannot stand in `any`.
   */
  carries?(options: Options): (request: FastifyRequest) => boolean
  /**
   * Header fields, in lower case, that hold nothing but the credential, or that only this plugin may say to the upstream. The
   * plugin keeps the client's own from the upstream; where another plugin has judged the request `any` does, in every spelling.
   */
  readonly credentialHeaders?: readonly string[] | ((options: Options) => readonly string[])
  /** As `credentialHeaders`, for what is elsewhere in a request: takes it out of what is forwarded. Made once per route. */
  conceals?(options: Options): (request: FastifyRequest) => void
  /**
   * Scheme of `Authorization` that the plugin reads, in lower case; `*`: every one. In `any` a header of this scheme is the
   * plugin's to refuse when nobody else recognises it, and it stays here when another plugin has judged the request.
   */
  readonly scheme?: string
  /** What `WWW-Authenticate` says to who has no credential: `any` lists those of all its plugins. */
  readonly challenge?: string
  /** The plugin has an answer for clients without any credential, such as a way to sign in: `any` leaves them to it. */
  readonly invites?: true
  /** Of plugins with `carries`: it says yes to every request, so nothing that stands behind it in `any` is ever asked. */
  readonly takesAll?: true
  /** Of plugins with `takesAll`: it looks at no credential, so in `any` it gets what is for nobody else. */
  readonly asksNobody?: true
  /** The options are a list of uses of other plugins, which the plugin brings onto the route with `route.gateway.plugin`. */
  readonly composes?: true
  /** The plugin answers true CORS preflights, so those are matched to the route by the method that they ask about. */
  readonly answersPreflight?: true
  /** Called once per route with the route's own encapsulated Fastify instance. May be async. */
  register(route: RouteInstance, options: Options): void | Promise<void>
}

export interface OptionProblem {
  /** Where below the options, e.g. `['issuers', 0]`; empty for the options as a whole. */
  path: (string | number)[]
  /** What is wrong. */
  message: string
  /** What to do. */
  remedy: string
}

/** A route's encapsulated Fastify instance. `gateway` belongs to one plugin on one route. */
export type RouteInstance = FastifyInstance & { gateway: PluginGateway }

/** What a plugin gets from the gateway: `route.gateway`. Valid while `register` runs and for ever after. */
export interface PluginGateway {
  /** The route's name: the metric label. */
  readonly route: string
  /** The name of the route's upstream; of the first one where it has several. */
  readonly upstream: string
  /** Names of all upstreams that the route spreads its requests over. */
  readonly upstreams: readonly string[]
  /** Whether the route says `public: true`. */
  readonly public: boolean
  /** The methods of the match; empty means any. */
  readonly methods: readonly string[]
  /** A child logger that carries `{ plugin, route }`. */
  readonly log: Logger
  /** Metrics of this plugin; names get the prefix `sallyport_`, labels are declared up front. Made once per process. */
  readonly metrics: PluginMetrics
  /** Refuses the request: throws, so `throw route.gateway.deny(…)` and `route.gateway.deny(…)` both end the hook. */
  deny(reason: Reason, options?: RefusalOptions): never
  /** Counts a decision that does not end the request: a would-be denial in shadow mode. */
  shadow(reason: Reason): void
  /** Called exactly once per request of the route, for every ending. Must not throw; if it does, it is logged. */
  onOutcome(listener: OutcomeListener): void
  /** A bounded least-recently-used cache that lives as long as the process, one per name and route. */
  cache<Value>(name: string, options: { max: number; ttl: number }): PluginCache<Value>
  /**
   * Counts of what is under way, by key: they live as long as the process, one for each name and route. Whoever enters leaves,
   * once (`request.gateway.onEnd`).
   */
  places(name: string): Places
  /** `fetch` with a timeout of 5 s, no redirects and at most 1 MiB of answer. */
  readonly fetch: typeof globalThis.fetch
  /** The verifier of an issuer of the configuration; one per issuer and process. */
  issuer(name: string): IssuerVerifier
  /**
   * Asks an issuer about tokens, as the client that the configuration describes; one per issuer and process. While `register`
   * runs. Rejects when the client or its secret is missing.
   */
  introspector(issuer: string): Promise<TokenIntrospector>
  /**
   * Something that costs to make or holds connections: one per plugin and `name`, whatever the route, kept over a reload and
   * closed when no route uses it any more. While `register` runs.
   */
  shared<Value>(name: string, make: () => Value, close?: (value: Value) => unknown): Value
  /**
   * A file that the plugin goes by, at most 1 MiB. It is read at once and again when it changes; `current` is the newest content
   * that `parse` took. A bad change is logged once, line by line of the error's message, and changes nothing. While `register`
   * runs. Rejects when the file cannot be read, or with what `parse` throws.
   */
  watchFile<Value>(path: string, parse: ParseFile<Value>): Promise<WatchedFile<Value>>
  /** Sign-in of people in browsers with an issuer of the configuration that has a client. */
  signIn(issuer: string): BrowserSignIn
  /** Another plugin, for one whose options are uses of others (`composes`). */
  plugin(use: PluginUse): ComposedPlugin
  /** Where rate limits are counted; one per process. */
  readonly limits: LimitStore
  /**
   * Whom to count a request for: `identity.subject`, `identity.issuer`, `client.ip`, `route` or `header:NAME`. The
   * function that it gives turns a request into a short key, different for different principals. Throws at once when
   * the route is public and `by` needs an identity; the function throws when a request has none.
   */
  principal(by: string): (request: FastifyRequest) => string
}

/** Throws when the text is bad. A function of the module and not of one `register`, or each route reads the file for itself. */
export type ParseFile<Value> = (text: string, path: string) => Value

export interface WatchedFile<Value> {
  readonly current: Value
}

/** A plugin that stands in the options of another one. */
export interface ComposedPlugin {
  readonly name: string
  readonly invites: boolean
  readonly asksNobody: boolean
  readonly scheme: string | null
  readonly challenge: string | null
  readonly credentialHeaders: readonly string[]
  carries(request: FastifyRequest): boolean
  /** Null where all that it reads is in headers. */
  readonly conceal: ((request: FastifyRequest) => void) | null
  /** Brings its hooks onto `instance`: the route, or what the outer plugin puts before it. */
  register(instance: RouteInstance): Promise<void>
}

export interface PluginCache<Value> {
  get(key: string): Value | undefined
  set(key: string, value: Value): void
  delete(key: string): void
}

/**
 * Metrics of a plugin: those of the catalogue by their name, or new ones. Children are looked up by label values, in the
 * order of the declared labels; keep them where the hot path is, a lookup costs more than a count.
 */
export interface PluginMetrics {
  counter(
    name: string,
    help: string,
    labels: readonly string[]
  ): { child(...values: string[]): { value: number } }
  gauge(
    name: string,
    help: string,
    labels: readonly string[]
  ): { child(...values: string[]): { value: number } }
  /** Seconds; buckets from 1 ms to 60 s. */
  histogram(
    name: string,
    help: string,
    labels: readonly string[]
  ): { child(...values: string[]): { observe(seconds: number): void } }
}

/** Method of a gRPC call, e.g. `shop.v1.Orders` and `Get`. */
export interface Rpc {
  readonly service: string
  readonly method: string
}

/** What a message stream may cost. Absent: the gateway's own. */
export interface MessageLimits {
  /** Bytes of one message. */
  readonly maxMessage?: number | undefined
  /** Messages a second from a WebSocket client. */
  readonly messageRate?: number | undefined
  /** Longest silence of a WebSocket, in milliseconds. */
  readonly idle?: number | undefined
  /** Longest life of a WebSocket, in milliseconds. */
  readonly lifetime?: number | undefined
}

/**
 * Whether the credential among the headers of a request, which was accepted when the request came, is one still: neither withdrawn nor
 * run out. Throwing or rejecting says that this cannot be told now, and ends nothing.
 */
export type StillHolds = (headers: IncomingHttpHeaders) => boolean | Promise<boolean>

/** What the body of a request says, or why that is not to be known. */
export interface JsonBody {
  /** As `JSON.parse` gives it; undefined where the request has no body, or where it cannot be judged. Others see it too: do not change it. */
  readonly value: unknown
  /** Why the body cannot be judged: `gateway.deny(fault.reason, fault.options)`. Null: it can. */
  readonly fault: { readonly reason: Reason; readonly options: RefusalOptions } | null
}

/** What is known of one request while it is under way: `request.gateway`. */
export interface RequestGateway {
  readonly protocol: Protocol
  readonly requestId: string
  readonly traceId: string
  /** Address of the client: the socket's, or the one that a trusted proxy vouches for. */
  readonly clientIp: string
  /** Of the connection, verified against `clientCa`; null when the client has shown none. */
  readonly clientCertificate: ClientCertificate | null
  /** Milliseconds on the clock of `performance.now()`. */
  readonly startTime: number
  /** Service and method of a gRPC call; null for other protocols, and for a path that names no method. */
  readonly rpc: Rpc | null
  /** Whether the request has a session cookie of the gateway, good or bad. */
  readonly carriesSession: boolean
  /**
   * Set by a `guard` plugin whose options name the `Origin` of the request: its pages may act for whoever is signed in. Without,
   * only pages of the gateway's own origin may.
   */
  originAllowed: boolean
  /** The client's `Cookie` without those of the gateway, which nobody else gets; undefined where nothing is left. */
  readonly foreignCookies: string | undefined
  /**
   * `Set-Cookie` of somebody else, for the client, without cookies of the gateway's names: those would put the session of one person
   * into the browser of another.
   */
  foreignSetCookies(values: string | readonly string[]): string[]
  /** Set by the `authenticate` plugin that accepts the request. A route that is not public is never proxied without. */
  identity: Identity | null
  /**
   * Set beside `identity` by a plugin whose credentials can be withdrawn, to a function made at build time. It is asked every five
   * seconds about what stays open. Null: `identity.expiresAt` alone ends that.
   */
  stillHolds: StillHolds | null
  /** Parameters of the match's path, decoded. */
  readonly params: Readonly<Record<string, string>>
  /** Largest request body in bytes; a `guard` plugin may lower or raise it. */
  maxBody: number
  /**
   * Changes to the headers that go to the upstream: a value sets, null removes. Names in lower case. Null at first; a
   * `transform` plugin with fixed rules assigns a frozen object made at build time, or merges into what is there.
   */
  upstreamHeaders: Readonly<Record<string, string | null>> | null
  /**
   * Headers of the upstream's answer that the client does not get, in lower case; null at first. Those that a plugin
   * sets with `reply.header` are kept.
   */
  removeResponseHeaders: readonly string[] | null
  /** Limits of the messages of a gRPC call or a WebSocket; null: the gateway's own. A frozen object made at build time. */
  messageLimits: MessageLimits | null
  /**
   * WebSocket: the subprotocol that a client is told when the upstream chooses none; null at first. For a plugin that takes a
   * credential out of the offer: a browser wants one of its offers chosen.
   */
  ownSubprotocol: string | null
  /**
   * Takes a parameter out of the query, for what must not reach the upstream.
   * @returns its values, decoded; empty when there is none
   */
  takeQuery(name: string): readonly string[]
  /**
   * Reads the body of a request of a route with `protocol: http`, whole, as JSON in UTF-8. It is held meanwhile and goes to the
   * upstream as it came, judged or not; plugins of one request share one reading. A body that two readers could read in two ways,
   * is of another type, longer, too slow or not here is a `fault`.
   * @param maxSize bytes, from 1 to 1 MiB; `maxBody` counts where it is less
   * @returns rejects when the client has gone, and on routes of another protocol
   */
  readJson(maxSize: number): Promise<JsonBody>
  /** Another request id than the gateway's own, for logs and the upstream. */
  useRequestId(id: string): void
  /** Called once when this request ends, after the route's outcome listeners; at once when it has ended already. */
  onEnd(listener: () => void): void
}

declare module 'fastify' {
  interface FastifyRequest {
    gateway: RequestGateway
  }
}
