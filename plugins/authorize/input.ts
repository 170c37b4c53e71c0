import type { FastifyRequest } from 'fastify'
import type { Identity } from '../../src/identity.ts'

// What an expression sees. cel-js reads a field when the expression does, so a view costs one small object, and what
// an expression does not mention is never built.

export class PolicyInput {
  readonly #request: FastifyRequest
  readonly #identity: Identity
  readonly #body: unknown
  readonly route: RouteView
  /** @param body a `viewOfBody`; undefined: the request has none, or it was not read */
  constructor(request: FastifyRequest, identity: Identity, route: RouteView, body: unknown) {
    this.#request = request
    this.#identity = identity
    this.#body = body
    this.route = route
  }

  get request(): RequestView {
    return new RequestView(this.#request, this.#body)
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

export class RequestView {
  readonly #request: FastifyRequest
  readonly #body: unknown
  constructor(request: FastifyRequest, body: unknown) {
    this.#request = request
    this.#body = body
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
  /** Undefined: there is none, which `has` tells. */
  get body(): unknown {
    return this.#body
  }
}

export class IdentityView {
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

export class RpcView {
  readonly service: string
  readonly method: string
  constructor(request: FastifyRequest) {
    this.service = request.gateway.rpc?.service ?? ''
    this.method = request.gateway.rpc?.method ?? ''
  }
}

export class ClientView {
  readonly ip: string
  constructor(request: FastifyRequest) {
    const { clientIp } = request.gateway
    const zone = clientIp.indexOf('%')
    const address = zone === -1 ? clientIp : clientIp.slice(0, zone)
    this.ip = address.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address
  }
}

export class RouteView {
  readonly name: string
  constructor(name: string) {
    this.name = name
  }
}
