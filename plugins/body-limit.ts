import type { GatewayPlugin } from '../src/plugin/define.ts'

export interface BodyLimitOptions {
  /** Bytes. */
  max: number
}

/**
 * Bounds the request body. One that announces more is refused at once; one that does not say is counted as it is
 * forwarded, and the upstream call is aborted at the limit. 413 either way.
 */
export default {
  name: 'body-limit',
  phase: 'guard',
  schema: {
    type: 'object',
    description: 'Bounds the request body.',
    properties: {
      max: {
        type: 'string',
        format: 'size',
        description: 'Largest body that passes, e.g. `64Ki`, `1Mi`. In place of `limits.maxBody`.'
      }
    },
    required: ['max'],
    additionalProperties: false
  },
  register(route, { max }) {
    const { gateway } = route

    route.addHook('onRequest', function limitBody(request, _reply, done) {
      request.gateway.maxBody = max
      const announced = request.headers['content-length']
      if (announced !== undefined && !(Number(announced) <= max)) gateway.deny('protocol.size')
      done()
    })
  }
} satisfies GatewayPlugin<BodyLimitOptions>
