import { EvaluationError } from '@marcbachmann/cel-js'
import type { FastifyRequest } from 'fastify'
import type { Reason, RefusalOptions } from '../src/errors.ts'
import type { Identity } from '../src/identity.ts'
import type { GatewayPlugin } from '../src/plugin/define.ts'
import { viewOfBody } from './authorize/body.ts'
import { problemsOfBody } from './authorize/body-option.ts'
import { evaluatorOf, problemWith } from './authorize/expression.ts'
import { PolicyInput, RouteView } from './authorize/input.ts'

export interface AuthorizeOptions {
  allow?: string
  body?: { /** Bytes. */ maxSize: number }
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
 *
 * With `body`, it also sees `request.body`: the JSON that the request brings, read whole before the upstream is asked and forwarded
 * as it came. Without a body there is no such field (`has(request.body)`). What is no JSON, or is JSON that two readers could read in
 * two ways, is refused with 400; another content type or an encoded body with 415, a longer one with 413.
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
      body: {
        type: 'object',
        description:
          'Has the body read, so that `allow` may look at `request.body`. Only routes with `protocol: http`.',
        properties: {
          maxSize: {
            type: 'string',
            format: 'size',
            default: '16Ki',
            description:
              'Largest body that passes, at most 1Mi. So much of each request is held in memory while it arrives.'
          }
        },
        additionalProperties: false
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
  check({ allow, scopes, groups, roles, body }, config, route) {
    const problems = body === undefined ? [] : problemsOfBody(body.maxSize, allow, config, route)
    const problem = allow === undefined ? null : problemWith(allow, body !== undefined)
    if (problem !== null) problems.push(problem)
    if (!(allow ?? scopes ?? groups ?? roles)) {
      const remedy = 'add allow, scopes, groups or roles'
      problems.push({ path: [], message: 'there is nothing to decide by', remedy })
    }
    return problems
  },
  register(route, options) {
    const { gateway } = route
    const { scopes = [], groups = [], roles = [], mode = 'enforce', body } = options
    const allow = options.allow === undefined ? null : evaluatorOf(options.allow, body !== undefined)
    const challenge = `Bearer error="insufficient_scope", scope="${scopes.join(' ')}"`
    const scopeMissing: Denial = {
      reason: 'scope.missing',
      options: { headers: { 'www-authenticate': challenge } }
    }
    const routeView = new RouteView(gateway.route)

    function decideByLists({ gateway: { identity } }: FastifyRequest): Denial | null {
      if (identity === null && !gateway.public) return noIdentity
      const known = identity ?? nobody
      for (const scope of scopes) if (!known.scopes.includes(scope)) return scopeMissing
      if (groups.length > 0 && !groups.some(isIn, known.groups)) return notInGroup
      if (roles.length > 0 && !roles.some(isIn, known.roles)) return noRole
      return null
    }

    function decideByExpression(request: FastifyRequest, seen: unknown): Denial | null {
      if (allow === null) return null
      try {
        const known = request.gateway.identity ?? nobody
        return allow(new PolicyInput(request, known, routeView, seen)) === true ? null : refused
      } catch (cause) {
        // What cel-js says may quote the request: for the log, not for the client, and not the whole of it.
        const detail =
          cause instanceof EvaluationError ? cause.summary.slice(0, 200) : 'the expression failed'
        return { reason: 'policy.error', options: { detail, cause } }
      }
    }

    async function decideByBody(request: FastifyRequest, maxSize: number): Promise<Denial | null> {
      const { value, fault } = await request.gateway.readJson(maxSize)
      return fault ?? decideByExpression(request, viewOfBody(value))
    }

    function conclude(denial: Denial): void {
      if (mode === 'enforce') gateway.deny(denial.reason, denial.options)
      gateway.shadow(denial.reason)
    }

    if (body === undefined) {
      route.addHook('onRequest', function authorize(request, _reply, done) {
        const denial = decideByLists(request) ?? decideByExpression(request, undefined)
        if (denial !== null) conclude(denial)
        done()
      })
      return
    }

    route.addHook('onRequest', async function authorizeBody(request) {
      // Who may not come in at all is not asked for a body.
      const denial = decideByLists(request) ?? (await decideByBody(request, body.maxSize))
      if (denial !== null) conclude(denial)
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
