import { BlockList, isIP } from 'node:net'
import { type ASTNode, Environment, EvaluationError } from '@marcbachmann/cel-js'
import type { FastifyRequest } from 'fastify'
import { LruMap } from 'toad-cache'
import type { Reason, RefusalOptions } from '../src/errors.ts'
import type { Identity } from '../src/identity.ts'
import type { GatewayPlugin, OptionProblem } from '../src/plugin/define.ts'

export interface AuthorizeOptions {
  allow?: string
  scopes?: string[]
  groups?: string[]
  roles?: string[]
  mode?: 'enforce' | 'shadow'
}

const text = { type: 'string', minLength: 1 }

/**
 * Decides by policy: `scopes` (all of them), `groups` and `roles` (any of each) and `allow`, an expression in CEL. Those that are
 * given must all agree. An expression that fails denies. `mode: shadow` decides and counts, and lets everybody pass.
 *
 * An expression sees: `request` (`method`, `path`, `host`, `headers`, `query`), `identity` (`kind`, `subject`, `issuer`, `email`,
 * `scopes`, `groups`, `roles`, `claims`), `rpc` (`service`, `method`; empty unless gRPC), `client.ip`, `route.name`, and
 * `inCidr(ip, cidr)`. What is not there is an empty text or list; a missing claim or header is an error: ask `has(…)` first.
 */
export default {
  name: 'authorize',
  phase: 'authorize',
  schema: {
    type: 'object',
    description: 'Decides by policy who may.',
    properties: {
      allow: {
        type: 'string',
        minLength: 1,
        maxLength: 4096,
        description:
          'A CEL expression; true lets the request pass. Checked when the configuration is read. Without loops inside loops and `matches`.'
      },
      scopes: {
        type: 'array',
        // RFC 6749 appendix A.4: they are named in WWW-Authenticate.
        items: { type: 'string', pattern: '^[\\x21\\x23-\\x5b\\x5d-\\x7e]+$' },
        minItems: 1,
        description: 'Scopes that the identity must have, all of them.'
      },
      groups: {
        type: 'array',
        items: text,
        minItems: 1,
        description: 'Groups of which the identity must be in one.'
      },
      roles: {
        type: 'array',
        items: text,
        minItems: 1,
        description: 'Roles of which the identity must have one.'
      },
      mode: {
        enum: ['enforce', 'shadow'],
        default: 'enforce',
        description: '`shadow` counts who would be refused and refuses nobody.'
      }
    },
    minProperties: 1,
    additionalProperties: false
  },
  check({ allow, scopes, groups, roles }) {
    if (allow === undefined) {
      if (scopes ?? groups ?? roles) return []
      return [
        { path: [], message: 'there is nothing to decide by', remedy: 'add allow, scopes, groups or roles' }
      ]
    }
    const compiled = compile(allow)
    return 'problem' in compiled ? [compiled.problem] : []
  },
  register(route, options) {
    const { gateway } = route
    const { scopes = [], groups = [], roles = [], mode = 'enforce' } = options
    const allow = options.allow === undefined ? null : evaluatorOf(options.allow)
    const challenge = `Bearer error="insufficient_scope", scope="${scopes.join(' ')}"`
    const scopeMissing: Denial = {
      reason: 'scope.missing',
      options: { headers: { 'www-authenticate': challenge } }
    }
    const routeView = new RouteView(gateway.route)

    function decide(request: FastifyRequest): Denial | null {
      const { identity } = request.gateway
      if (identity === null && !gateway.public) return noIdentity
      const known = identity ?? nobody
      for (const scope of scopes) if (!known.scopes.includes(scope)) return scopeMissing
      if (groups.length > 0 && !groups.some(isIn, known.groups)) return notInGroup
      if (roles.length > 0 && !roles.some(isIn, known.roles)) return noRole
      if (allow === null) return null
      try {
        return allow(new PolicyInput(request, known, routeView)) === true ? null : refused
      } catch (cause) {
        // What cel-js says may quote the request: for the log, not for the client.
        const detail = cause instanceof EvaluationError ? cause.summary : 'the expression failed'
        return { reason: 'policy.error', options: { detail, cause } }
      }
    }

    route.addHook('onRequest', function authorize(request, _reply, done) {
      const denial = decide(request)
      if (denial === null) return done()
      if (mode === 'enforce') gateway.deny(denial.reason, denial.options)
      gateway.shadow(denial.reason)
      done()
    })
  }
} satisfies GatewayPlugin<AuthorizeOptions>

interface Denial {
  reason: Reason
  options: RefusalOptions
}

const noIdentity: Denial = { reason: 'policy.error', options: { detail: 'the request carries no identity' } }
const notInGroup: Denial = { reason: 'policy.denied', options: { detail: 'in none of the groups' } }
const noRole: Denial = { reason: 'policy.denied', options: { detail: 'has none of the roles' } }
const refused: Denial = { reason: 'policy.denied', options: { detail: 'the expression is false' } }

/** Who asks on a public route that authenticates nobody. */
const nobody: Identity = Object.freeze({
  kind: 'custom',
  subject: '',
  issuer: '',
  email: null,
  scopes: [],
  groups: [],
  roles: [],
  claims: {},
  expiresAt: null
})

function isIn(this: readonly string[], name: string): boolean {
  return this.includes(name)
}

// What an expression sees. cel-js reads a field when the expression does, so a view costs one small object, and what
// an expression does not mention is never built.

class PolicyInput {
  readonly #request: FastifyRequest
  readonly #identity: Identity
  readonly route: RouteView
  constructor(request: FastifyRequest, identity: Identity, route: RouteView) {
    this.#request = request
    this.#identity = identity
    this.route = route
  }

  get request(): RequestView {
    return new RequestView(this.#request)
  }
  get identity(): IdentityView {
    return new IdentityView(this.#identity)
  }
  get rpc(): RpcView {
    return new RpcView(this.#request)
  }
  get client(): ClientView {
    return new ClientView(this.#request)
  }
}

class RequestView {
  readonly #request: FastifyRequest
  constructor(request: FastifyRequest) {
    this.#request = request
  }

  get method(): string {
    return this.#request.method
  }
  /** As the client sent it: targets that could be read in two ways were refused before. */
  get path(): string {
    const url = this.#request.raw.url ?? ''
    const end = url.indexOf('?')
    return end === -1 ? url : url.slice(0, end)
  }
  /** In lower case and without the port. Not Fastify's, which believes X-Forwarded-Host. */
  get host(): string {
    const { headers } = this.#request
    const host = headers.host ?? headers[':authority']
    return typeof host === 'string' ? host.replace(/:\d*$/, '').toLowerCase() : ''
  }
  get headers(): object {
    return this.#request.headers
  }
  /** Everything behind the question mark, undecoded. */
  get query(): string {
    const url = this.#request.raw.url ?? ''
    const end = url.indexOf('?')
    return end === -1 ? '' : url.slice(end + 1)
  }
}

class IdentityView {
  readonly #identity: Identity
  constructor(identity: Identity) {
    this.#identity = identity
  }

  get kind(): string {
    return this.#identity.kind
  }
  get subject(): string {
    return this.#identity.subject
  }
  get issuer(): string {
    return this.#identity.issuer
  }
  get email(): string {
    return this.#identity.email ?? ''
  }
  get scopes(): readonly string[] {
    return this.#identity.scopes
  }
  get groups(): readonly string[] {
    return this.#identity.groups
  }
  get roles(): readonly string[] {
    return this.#identity.roles
  }
  get claims(): object {
    return this.#identity.claims
  }
}

class RpcView {
  readonly service: string
  readonly method: string
  constructor(request: FastifyRequest) {
    this.service = request.gateway.rpc?.service ?? ''
    this.method = request.gateway.rpc?.method ?? ''
  }
}

class ClientView {
  readonly ip: string
  constructor(request: FastifyRequest) {
    const { clientIp } = request.gateway
    const zone = clientIp.indexOf('%')
    const address = zone === -1 ? clientIp : clientIp.slice(0, zone)
    this.ip = address.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address
  }
}

class RouteView {
  readonly name: string
  constructor(name: string) {
    this.name = name
  }
}

const environment = new Environment({
  limits: { maxAstNodes: 500, maxDepth: 32, maxListElements: 200, maxMapEntries: 50, maxCallArguments: 8 }
})
  .registerType('Request', {
    ctor: RequestView,
    fields: {
      method: 'string',
      path: 'string',
      host: 'string',
      headers: 'map<string, string>',
      query: 'string'
    }
  })
  .registerType('Identity', {
    ctor: IdentityView,
    fields: {
      kind: 'string',
      subject: 'string',
      issuer: 'string',
      email: 'string',
      scopes: 'list<string>',
      groups: 'list<string>',
      roles: 'list<string>',
      claims: 'map<string, dyn>'
    }
  })
  .registerType('Rpc', { ctor: RpcView, fields: { service: 'string', method: 'string' } })
  .registerType('Client', { ctor: ClientView, fields: { ip: 'string' } })
  .registerType('Route', { ctor: RouteView, fields: { name: 'string' } })
  .registerVariable('request', 'Request')
  .registerVariable('identity', 'Identity')
  .registerVariable('rpc', 'Rpc')
  .registerVariable('client', 'Client')
  .registerVariable('route', 'Route')
  .registerFunction('inCidr(string, string): bool', inCidr, { async: false })

type Compiled = { evaluate: (input: PolicyInput) => unknown } | { problem: OptionProblem }

function compile(source: string): Compiled {
  try {
    const evaluate = environment.parse(source)
    const { valid, type, error } = evaluate.check()
    if (!valid) return { problem: problemOf(source, error) }
    const flaw = flawOf(evaluate.ast, 0)
    if (flaw !== null) return { problem: problemOf(source, flaw) }
    if (type === 'bool') return { evaluate }
    const remedy = 'compare it with something, e.g. … == true'
    return { problem: { path: ['allow'], message: `the expression gives ${type}, not bool`, remedy } }
  } catch (error) {
    return { problem: problemOf(source, error as Flaw) }
  }
}

function evaluatorOf(source: string): (input: PolicyInput) => unknown {
  const compiled = compile(source)
  if ('problem' in compiled) throw new Error(`${compiled.problem.message}: ${compiled.problem.remedy}`)
  return compiled.evaluate
}

interface Flaw {
  summary?: string
  range?: { start: number }
  remedy?: string
}

function problemOf(source: string, flaw: Flaw | undefined): OptionProblem {
  const what = flaw?.summary ?? 'the expression cannot be read'
  const remedy =
    flaw?.remedy ?? 'correct the expression; request, identity, rpc, client and route are what it sees'
  if (flaw?.range === undefined) return { path: ['allow'], message: what, remedy }
  const lines = source.slice(0, flaw.range.start).split('\n')
  const message = `${what} (line ${lines.length}, column ${lines.at(-1)!.length + 1} of the expression)`
  return { path: ['allow'], message, remedy }
}

/** Work that grows with what the request brings. One in another would grow with its square. */
const loops = new Set(['all', 'exists', 'exists_one', 'map', 'filter', 'split'])

/**
 * What type-checks and is refused all the same. `matches` of cel-js is `new RegExp(…).test(…)`, which backtracks: one long
 * header and a careless pattern would stop the process.
 */
function flawOf(node: unknown, depth: number): Flaw | null {
  if (Array.isArray(node)) return firstFlaw(node, depth)
  if (!isNode(node)) return null
  if (node.op === 'call') {
    const [name, args] = node.args
    return (name === 'inCidr' ? networkFlaw(args[1]) : null) ?? firstFlaw(args, depth)
  }
  if (node.op !== 'rcall') return flawOf(node.args, depth)
  const [name, receiver, args] = node.args
  if (name === 'matches') {
    const remedy = 'use startsWith, endsWith, contains or =='
    return { summary: 'matches is not available: its patterns can take for ever', range: node.range, remedy }
  }
  const inside = loops.has(name) ? depth + 1 : depth
  if (inside > 1) {
    const remedy = 'use one loop, or in'
    return { summary: `${name} stands inside another loop`, range: node.range, remedy }
  }
  return flawOf(receiver, depth) ?? firstFlaw(args, inside)
}

function firstFlaw(nodes: readonly unknown[], depth: number): Flaw | null {
  for (const node of nodes) {
    const flaw = flawOf(node, depth)
    if (flaw !== null) return flaw
  }
  return null
}

function isNode(value: unknown): value is ASTNode {
  return typeof value === 'object' && value !== null && 'op' in value && 'args' in value
}

function networkFlaw(node: ASTNode | undefined): Flaw | null {
  if (node?.op !== 'value' || typeof node.args !== 'string' || networkOf(node.args) !== null) return null
  const remedy = 'write an address and a prefix length, e.g. 10.0.0.0/8'
  return { summary: `${JSON.stringify(node.args)} is not a network`, range: node.range, remedy }
}

/** Nearly always constants of the expression; bounded, as an expression may take one from a claim. */
const networks = new LruMap<BlockList>(1000)

function inCidr(address: string, cidr: string): boolean {
  const network = networkOf(cidr)
  if (network === null) throw new EvaluationError(`${JSON.stringify(cidr)} is not a network`)
  const version = isIP(address)
  return version !== 0 && network.check(address, version === 6 ? 'ipv6' : 'ipv4')
}

function networkOf(cidr: string): BlockList | null {
  const known = networks.get(cidr)
  if (known !== undefined) return known
  const [address = '', prefix = ''] = cidr.split('/')
  const version = isIP(address)
  const bits = Number(prefix)
  if (version === 0 || !/^\d{1,3}$/.test(prefix) || bits > (version === 6 ? 128 : 32)) return null
  const network = new BlockList()
  network.addSubnet(address, bits, version === 6 ? 'ipv6' : 'ipv4')
  networks.set(cidr, network)
  return network
}
