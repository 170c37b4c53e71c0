import type { PluginUse } from '../src/config/schema.ts'
import type { Identity } from '../src/identity.ts'
import type { GatewayPlugin } from '../src/plugin/define.ts'

export interface AnonymousOptions {
  scopes: string[]
  groups: string[]
}

/** Accepts every request: for the end of an `any` list, where it takes those that carry no credential. */
export default {
  name: 'anonymous',
  phase: 'authenticate',
  takesAll: true,
  asksNobody: true,
  schema: {
    type: 'object',
    description:
      'Accepts every request, as `anonymous`. For the end of an `any` list: it takes the requests that carry none of the credentials before it. A bad credential is still refused by the plugin that it is for. To limits by `identity.subject` all of them are one: count them by `client.ip`.',
    properties: {
      scopes: {
        type: 'array',
        // RFC 6749 section 3.3.
        items: { type: 'string', pattern: '^[\\x21\\x23-\\x5B\\x5D-\\x7E]+$' },
        uniqueItems: true,
        default: [],
        description: 'Scopes that everybody has.'
      },
      groups: {
        type: 'array',
        items: { type: 'string', minLength: 1 },
        uniqueItems: true,
        default: [],
        description: 'Groups that everybody belongs to.'
      }
    },
    additionalProperties: false
  },

  check(_options, config, route) {
    const uses = route === undefined ? [] : (route?.plugins ?? config.plugins)
    if (!uses.some(isAnonymous)) return []
    const message = 'asks nobody who they are, so the route lets everybody in'
    return [{ path: [], message, remedy: 'write it behind others in an any list, or say public: true' }]
  },

  carries: () => () => true,

  register(route, { scopes = [], groups = [] }) {
    const identity: Identity = Object.freeze({
      kind: 'custom',
      subject: 'anonymous',
      issuer: 'anonymous',
      email: null,
      scopes: Object.freeze([...scopes]),
      groups: Object.freeze([...groups]),
      roles: Object.freeze([]),
      claims: Object.freeze({}),
      expiresAt: null
    })
    route.addHook('onRequest', function acceptAnybody(request, _reply, done) {
      request.gateway.identity = identity
      done()
    })
  }
} satisfies GatewayPlugin<AnonymousOptions>

/** By itself, or as all that an `any` has: then nobody is asked either. */
function isAnonymous({ name, options }: PluginUse): boolean {
  if (name === 'anonymous') return true
  return name === 'any' && Array.isArray(options) && options.every(isAnonymous)
}
