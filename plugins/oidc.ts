import type { FastifyReply, FastifyRequest, HookHandlerDoneFunction } from 'fastify'
import type { Identity } from '../src/identity.ts'
import type { GatewayPlugin, OptionProblem } from '../src/plugin/define.ts'

export interface OidcOptions {
  issuer: string
}

/** Lets people in who have signed in with a browser, and sends those who have not to the issuer. */
export default {
  name: 'oidc',
  phase: 'authenticate',
  invites: true,
  schema: {
    type: 'object',
    description:
      'Browser sign-in with OpenID Connect: opens the sign-in for a person who opens a page, and answers 401 to everything else that has no session.',
    properties: {
      issuer: { type: 'string', minLength: 1, description: 'Name of the issuer that people sign in with.' }
    },
    required: ['issuer'],
    additionalProperties: false
  },

  check({ issuer }, config) {
    const problems: OptionProblem[] = []
    const known = Object.hasOwn(config.issuers, issuer) ? config.issuers[issuer] : undefined
    if (known === undefined) {
      problems.push({
        path: ['issuer'],
        message: `there is no issuer ${issuer}`,
        remedy: 'describe it under issuers, with a client'
      })
    } else if (known.client === undefined) {
      problems.push({
        path: ['issuer'],
        message: `the gateway is no client of issuer ${issuer}`,
        remedy: `add issuers.${issuer}.client with the id and secret that the issuer has given you`
      })
    }
    if (config.session === undefined) {
      problems.push({
        path: [],
        message: 'needs session: nobody stays signed in',
        remedy: 'add session with a secret'
      })
    }
    if (config.externalUrl === undefined) {
      problems.push({
        path: [],
        message: 'needs externalUrl: browsers come back to it',
        remedy: 'add externalUrl: and how browsers reach the gateway'
      })
    }
    return problems
  },

  carries() {
    return request => request.gateway.carriesSession
  },

  register(route, options) {
    const signIn = route.gateway.signIn(options.issuer)

    route.addHook(
      'onRequest',
      function authenticateSession(
        request: FastifyRequest,
        reply: FastifyReply,
        done: HookHandlerDoneFunction
      ): void {
        const found = signIn.identify(request)
        if (found instanceof Promise) found.then(settle, done)
        else settle(found)

        function settle(identity: Identity | null): void {
          if (identity === null) {
            signIn.invite(request, reply).catch(done)
            return
          }
          request.gateway.identity = identity
          done()
        }
      }
    )
  }
} satisfies GatewayPlugin<OidcOptions>
