import type { GatewayPlugin } from '../../src/plugin/define.ts'

interface Options {
  claim: string
  header: string
}

/** Tells the upstream which tenant a request belongs to: a claim of the token becomes a header. */
export default {
  phase: 'transform',
  schema: {
    type: 'object',
    properties: {
      claim: { type: 'string', default: 'tenant', description: 'Claim that names the tenant.' },
      header: { type: 'string', default: 'x-tenant', description: 'Header that the upstream gets.' }
    },
    additionalProperties: false
  },
  register(route, { claim, header }) {
    const { gateway } = route

    route.addHook('onRequest', function addTenant(request, _reply, done) {
      const tenant = request.gateway.identity?.claims[claim]
      if (typeof tenant !== 'string' || !/^[\w-]{1,64}$/.test(tenant)) {
        return gateway.deny('policy.denied', { detail: 'the token names no tenant' })
      }
      request.gateway.upstreamHeaders = { ...request.gateway.upstreamHeaders, [header]: tenant }
      done()
    })
  }
} satisfies Omit<GatewayPlugin<Options>, 'name'>
