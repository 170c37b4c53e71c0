import type { FastifyReply, FastifyRequest, HookHandlerDoneFunction } from 'fastify'
import type { Refusal, RefusalOptions } from '../src/errors.ts'
import type { Identity } from '../src/identity.ts'
import type { IssuerVerifier } from '../src/issuer/keys.ts'
import type { GatewayPlugin, OptionProblem } from '../src/plugin/define.ts'
import {
  carrier,
  type Found,
  header,
  readers,
  type Source,
  sourceProblems,
  subprotocol,
  taker
} from './jwt/sources.ts'

export interface JwtOptions {
  issuer?: string
  issuers?: string[]
  scopes?: string[]
  from?: Source[]
}

/** RFC 6750 section 3.1: a request without credentials is told how to authenticate, not that it did wrong. */
const challenge = 'Bearer realm="sallyport"'
const noToken: RefusalOptions = { headers: { 'www-authenticate': challenge } }

/** RFC 6750, 3.1: more than one credential, or one that cannot be read in one way only. */
const ambiguous: RefusalOptions = {
  status: 400,
  headers: { 'www-authenticate': 'Bearer realm="sallyport", error="invalid_request"' },
  detail: 'more than one credential'
}

/** Accepts a request that carries an access token (JWT) of one of the route's issuers. */
export default {
  name: 'jwt',
  phase: 'authenticate',
  scheme: 'bearer',
  challenge,
  schema: {
    type: 'object',
    description:
      'Accepts requests that carry an access token of an issuer: `Authorization: Bearer <JWT>`, or as `from` says. What it finds elsewhere than in that header does not reach the upstream. Two credentials at once get 400.',
    properties: {
      issuer: { type: 'string', minLength: 1, description: 'Name of the issuer whose tokens are accepted.' },
      issuers: {
        type: 'array',
        items: { type: 'string', minLength: 1 },
        minItems: 1,
        uniqueItems: true,
        description: 'Names of several issuers; the `iss` of a token chooses the one that judges it.'
      },
      scopes: {
        type: 'array',
        // RFC 6749 section 3.3; it also keeps quotes out of the challenge.
        items: { type: 'string', pattern: '^[\\x21\\x23-\\x5B\\x5D-\\x7E]+$' },
        minItems: 1,
        uniqueItems: true,
        description: 'Scopes that the token must have, all of them. Otherwise 403 `scope.missing`.'
      },
      from: {
        type: 'array',
        items: {
          oneOf: [
            { enum: ['header', 'subprotocol'] },
            {
              type: 'object',
              properties: { cookie: { type: 'string', pattern: "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$" } },
              required: ['cookie'],
              additionalProperties: false
            },
            {
              type: 'object',
              properties: { query: { type: 'string', pattern: '^[0-9A-Za-z_.~-]+$' } },
              required: ['query'],
              additionalProperties: false
            }
          ]
        },
        minItems: 1,
        uniqueItems: true,
        description:
          'Where a token may be: `header`; on routes with `protocol: websocket`, whose clients in browsers cannot set headers, also `subprotocol` (`bearer, <token>` or `base64url.bearer.authorization.k8s.io.<token in base64url>` in `Sec-WebSocket-Protocol`), `{ cookie: NAME }` (the route then needs `protocol: { origins }`) and `{ query: NAME }` (which proxies on the way may log). Without it `header`, and with WebSocket `subprotocol` too.'
      }
    },
    // `properties` because Ajv's strict mode wants to see what is required.
    oneOf: [
      { required: ['issuer'], properties: { issuer: true } },
      { required: ['issuers'], properties: { issuers: true } }
    ],
    additionalProperties: false
  },

  check(options, config, route = null) {
    const known: Readonly<Record<string, { issuer: string }>> = config.issuers ?? {}
    const problems: OptionProblem[] = sourceProblems(options.from, config, route)
    const seen = new Map<string, string>()
    for (const [at, name] of issuerNames(options).entries()) {
      const path = options.issuers === undefined ? ['issuer'] : ['issuers', at]
      if (!Object.hasOwn(known, name)) {
        problems.push({ path, message: `there is no issuer ${name}`, remedy: remedyFor(Object.keys(known)) })
        continue
      }
      const { issuer } = known[name]!
      const twin = seen.get(issuer)
      if (twin !== undefined) {
        const message = `${name} and ${twin} are the same issuer ${issuer}, so ${name} would never judge a token`
        problems.push({ path, message, remedy: 'name one of them, and give it the audiences of both' })
      }
      seen.set(issuer, twin ?? name)
    }
    return problems
  },

  carries({ from }) {
    if (from !== undefined) return carrier(from)
    const inHeader = carrier([header])
    const inWebSocket = carrier([header, subprotocol])
    return request => (request.gateway.protocol === 'websocket' ? inWebSocket : inHeader)(request)
  },

  conceals({ from }) {
    const take = taker(from ?? [subprotocol])
    if (from !== undefined) return take
    // Of other protocols nothing is read but headers.
    return request => (request.gateway.protocol === 'websocket' ? take(request) : undefined)
  },

  register(route, options) {
    const gateway = route.gateway
    const issuers = issuerNames(options).map(name => gateway.issuer(name))
    const scopes = options.scopes ?? []
    const read = options.from === undefined ? readers([header]) : readers(options.from)
    const readWebSocket = options.from === undefined ? readers([header, subprotocol]) : read
    const lacksScope: RefusalOptions = {
      headers: {
        'www-authenticate': `Bearer realm="sallyport", error="insufficient_scope", scope="${scopes.join(' ')}"`
      }
    }

    /** A refusal that has its challenge already; anything else is a defect, and fails the request as one. */
    function refuse(error: unknown): never {
      if (!isRefusal(error)) throw error
      const { reason, headers, detail, cause } = error
      return gateway.deny(reason, { headers, detail, cause })
    }

    function tokenOf(found: Found): string | undefined {
      return found === null ? gateway.deny('token.invalid', ambiguous) : found
    }

    function accept(request: FastifyRequest, identity: Identity): void {
      for (const scope of scopes)
        if (!identity.scopes.includes(scope)) gateway.deny('scope.missing', lacksScope)
      request.gateway.identity = identity
    }

    route.addHook(
      'onRequest',
      function authenticateJwt(request: FastifyRequest, _reply: FastifyReply, done: HookHandlerDoneFunction) {
        const sources = request.gateway.protocol === 'websocket' ? readWebSocket : read
        const token =
          sources === null ? bearerToken(request.headers.authorization) : tokenOf(sources(request))
        if (token === undefined) return gateway.deny('token.missing', noToken)
        let verdict: Identity | Promise<Identity>
        try {
          verdict = cachedIdentity(issuers, token) ?? verify(issuers, token)
        } catch (error) {
          return refuse(error)
        }
        if (verdict instanceof Promise) {
          verdict.then(identity => accept(request, identity), refuse).then(() => done(), done)
          return
        }
        accept(request, verdict)
        done()
      }
    )
  }
} satisfies GatewayPlugin<JwtOptions>

function issuerNames(options: JwtOptions): string[] {
  return options.issuers ?? [options.issuer!]
}

function remedyFor(known: string[]): string {
  if (known.length === 0) return 'describe it under issuers'
  return `name one that is described under issuers: ${known.join(', ')}`
}

/**
 * RFC 9110 section 11.4, RFC 6750 section 2.1: the scheme in any case, one space, the token. What follows the space
 * is judged as it is. Undefined for another scheme: the credential is not ours to judge.
 */
function bearerToken(authorization: string | undefined): string | undefined {
  if (authorization === undefined || authorization.length < 8) return undefined
  if (!authorization.startsWith('Bearer ') && authorization.slice(0, 7).toLowerCase() !== 'bearer ')
    return undefined
  return authorization.slice(7)
}

/** With one issuer its `verify` looks there itself. */
function cachedIdentity(issuers: readonly IssuerVerifier[], token: string): Identity | undefined {
  if (issuers.length === 1) return undefined
  for (const issuer of issuers) {
    const identity = issuer.cached(token)
    if (identity !== undefined) return identity
  }
  return undefined
}

/** An issuer refuses with `token.issuer` a token whose `iss` is not its own, before it looks at anything else. */
function verify(issuers: readonly IssuerVerifier[], token: string): Identity | Promise<Identity> {
  let foreign: unknown
  for (const issuer of issuers) {
    try {
      return issuer.verify(token)
    } catch (error) {
      if (!isRefusal(error) || error.reason !== 'token.issuer') throw error
      foreign = error
    }
  }
  throw foreign
}

/** By its shape: a plugin has no runtime imports of the gateway. */
function isRefusal(error: unknown): error is Refusal {
  return error instanceof Error && error.name === 'Refusal' && 'reason' in error
}
