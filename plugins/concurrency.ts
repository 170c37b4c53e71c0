import type { GatewayPlugin } from '../src/plugin/define.ts'

export interface ConcurrencyOptions {
  limit: number
  by?: string
}

const retryLater = { headers: { 'retry-after': '1' } }

/**
 * Bounds the requests that are under way at once, for each principal or for the whole route. A request gives its place back
 * exactly once, however it ends: answered, refused, aborted, or closed as a WebSocket. Counted per replica, also with Redis:
 * somebody would have to give back the places of a replica that died.
 */
export default {
  name: 'concurrency',
  phase: 'limit',
  schema: {
    type: 'object',
    description: 'Bounds the requests that are under way at once.',
    properties: {
      limit: {
        type: 'integer',
        minimum: 1,
        description: 'Requests under way at once in each replica; one more gets 429.'
      },
      by: {
        type: 'string',
        default: 'route',
        description:
          'Whom to count for: `route` (everybody together), `identity.subject` (issuer and subject), `identity.issuer`, `client.ip` (IPv6 by /64) or `header:NAME` (the address where the request lacks the header).'
      }
    },
    required: ['limit'],
    additionalProperties: false
  },
  check({ by = 'route' }) {
    if (/^(identity\.subject|identity\.issuer|client\.ip|route|header:[!#$%&'*+.^_`|~0-9A-Za-z-]+)$/.test(by))
      return []
    return [
      {
        path: ['by'],
        message: `nobody is known as ${JSON.stringify(by)}`,
        remedy: 'use identity.subject, identity.issuer, client.ip, route or header:NAME'
      }
    ]
  },
  register(route, { limit, by = 'route' }) {
    const { gateway } = route
    const principal = gateway.principal(by)

    // Requests of the generation before are still under way after a reload, and count.
    const underWay = gateway.places(`${by} ${limit}`)

    route.addHook('onRequest', function limitConcurrency(request, _reply, done) {
      const key = principal(request)
      if (underWay.count(key) >= limit) gateway.deny('concurrency.exceeded', retryLater)
      underWay.enter(key)
      request.gateway.onEnd(function leave() {
        underWay.leave(key)
      })
      done()
    })
  }
} satisfies GatewayPlugin<ConcurrencyOptions>
