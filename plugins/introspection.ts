import type { FastifyReply, FastifyRequest, HookHandlerDoneFunction } from 'fastify'
import type { Refusal, RefusalOptions } from '../src/errors.ts'
import type { Identity } from '../src/identity.ts'
import type { GatewayPlugin, OptionProblem } from '../src/plugin/define.ts'

export interface IntrospectionOptions {
  issuer: string
  /** Milliseconds. */
  cache: number
}

/** RFC 6750 section 3.1: a request without credentials is told how to authenticate, not that it did wrong. */
const challenge = 'Bearer realm="sallyport"'
const noToken: RefusalOptions = { headers: { 'www-authenticate': challenge } }

const longestCache = 300_000

/** Accepts a request whose bearer token its issuer calls active. */
export default {
  name: 'introspection',
  phase: 'authenticate',
  scheme: 'bearer',
  challenge,
  schema: {
    type: 'object',
    description:
      'Accepts requests that carry `Authorization: Bearer TOKEN`, where the issuer of the token says that it is active (RFC 7662): for tokens that are no JWTs, or that must be dead soon after they are revoked. The answer has to name an `audience` of the issuer.',
    properties: {
      issuer: {
        type: 'string',
        minLength: 1,
        description: 'Name of the issuer that is asked. It needs `client` with an id and a secret.'
      },
      cache: {
        type: 'string',
        format: 'duration',
        default: '30s',
        description:
          'How long an answer counts, and so how long a revoked token is still good; never longer than the token. At most 5m.'
      }
    },
    required: ['issuer'],
    additionalProperties: false
  },

  check({ issuer, cache }, config) {
    const problems: OptionProblem[] = []
    const known = config.issuers ?? {}
    if (cache > longestCache) {
      const message = 'keeps revoked tokens alive for longer than 5m'
      problems.push({ path: ['cache'], message, remedy: 'write 5m or less' })
    }
    if (!Object.hasOwn(known, issuer)) {
      const names = Object.keys(known).join(', ')
      const remedy = names === '' ? 'describe it under issuers' : `name one that is described there: ${names}`
      problems.push({ path: ['issuer'], message: `there is no issuer ${issuer}`, remedy })
    } else if (known[issuer]?.client?.secret === undefined) {
      const message = `the gateway is no client of issuer ${issuer}, or has no secret there`
      problems.push({ path: ['issuer'], message, remedy: `set issuers.${issuer}.client with id and secret` })
    }
    return problems
  },

  carries:
    () =>
    ({ headers }) =>
      bearerToken(headers.authorization) !== undefined,

  async register(route, { issuer, cache }) {
    const { gateway } = route
    const introspector = await gateway.introspector(issuer)

    /** A refusal that has its challenge already; anything else is a defect, and fails the request as one. */
    function refuse(error: unknown): never {
      if (!isRefusal(error)) throw error
      const { reason, headers, detail, cause } = error
      return gateway.deny(reason, { headers, detail, cause })
    }

    /** The issuer is asked again once `cache` is over. An issuer that does not answer has not said no. */
    async function stillHolds({ authorization }: FastifyRequest['headers']): Promise<boolean> {
      try {
        await introspector.introspect(bearerToken(authorization) ?? '', cache)
        return true
      } catch (error) {
        return !isRefusal(error) || !error.reason.startsWith('token.')
      }
    }

    route.addHook(
      'onRequest',
      function authenticateByIntrospection(
        request: FastifyRequest,
        _reply: FastifyReply,
        done: HookHandlerDoneFunction
      ) {
        const token = bearerToken(request.headers.authorization)
        if (token === undefined) return gateway.deny('token.missing', noToken)
        request.gateway.stillHolds = stillHolds
        let verdict: Identity | Promise<Identity>
        try {
          verdict = introspector.introspect(token, cache)
        } catch (error) {
          return refuse(error)
        }
        if (!(verdict instanceof Promise)) {
          request.gateway.identity = verdict
          done()
          return
        }
        const accept = (identity: Identity): void => {
          request.gateway.identity = identity
        }
        verdict.then(accept, refuse).then(() => done(), done)
      }
    )
  }
} satisfies GatewayPlugin<IntrospectionOptions>

/** RFC 9110 section 11.4, RFC 6750 section 2.1: the scheme in any case, one space, the token. */
function bearerToken(authorization: string | undefined): string | undefined {
  if (authorization === undefined || authorization.length < 8) return undefined
  return authorization.slice(0, 7).toLowerCase() === 'bearer ' ? authorization.slice(7) : undefined
}

/** By its shape: a plugin has no runtime imports of the gateway. */
function isRefusal(error: unknown): error is Refusal {
  return error instanceof Error && error.name === 'Refusal' && 'reason' in error
}
