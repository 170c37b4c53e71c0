import type { GatewayPlugin } from '../src/plugin/define.ts'

interface Options {
  only: 'all' | 'refused' | 'failed'
}

export default {
  name: 'access-log',
  phase: 'observe',
  schema: {
    type: 'object',
    description: 'One JSON line for each request, made from its outcome.',
    properties: {
      only: {
        enum: ['all', 'refused', 'failed'],
        default: 'all',
        description:
          'Which requests get a line: all, those with a reason, or those with a status of 500 and more.'
      }
    },
    additionalProperties: false
  },
  register(route, { only }) {
    const { log } = route.gateway

    function isWanted(status: number, reason: string | null): boolean {
      if (only === 'refused') return reason !== null
      if (only === 'failed') return status >= 500
      return true
    }

    route.gateway.onOutcome(function logRequest(outcome) {
      if (isWanted(outcome.status, outcome.reason)) log.info(outcome.line(), 'request')
    })
  }
} satisfies GatewayPlugin<Options>
