import type { GatewayPlugin } from '../src/plugin/define.ts'

/** Methods that get a label of their own; the rest are `other`, so that a client cannot make series. */
const methods = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])

export default {
  name: 'metrics',
  phase: 'observe',
  schema: {
    type: 'object',
    description: 'Counts the requests of the route and times them, for Prometheus.',
    properties: {},
    additionalProperties: false
  },
  register(route) {
    const { metrics, route: name } = route.gateway
    const labels = ['route', 'protocol', 'method', 'code']
    const requests = metrics.counter('requests_total', '', labels)
    const durations = metrics.histogram('request_duration_seconds', '', ['route', 'protocol'])
    // Both grow to what the route has seen: a handful of methods and codes.
    const counters = new Map<string, { value: number }[]>()
    const timers = new Map<string, { observe(seconds: number): void }>()
    const statuses = metrics.counter('grpc_responses_total', '', ['route', 'grpc_status'])
    const byStatus: { value: number }[] = []

    function counterOf(protocol: string, method: string, code: number): { value: number } {
      const label = methods.has(method) ? method : 'other'
      let byCode = counters.get(label)
      if (byCode === undefined) {
        byCode = []
        counters.set(label, byCode)
      }
      const known = byCode[code]
      if (known !== undefined) return known
      const counter = requests.child(name, protocol, label, String(code))
      byCode[code] = counter
      return counter
    }

    /** The proxy knows the statuses of gRPC only: seventeen at most. */
    function countStatus(status: number): void {
      let counter = byStatus[status]
      if (counter === undefined) {
        counter = statuses.child(name, String(status))
        byStatus[status] = counter
      }
      counter.value++
    }

    route.gateway.onOutcome(function countRequest(outcome) {
      const { protocol } = outcome
      counterOf(protocol, outcome.method, outcome.status).value++
      let timer = timers.get(protocol)
      if (timer === undefined) {
        timer = durations.child(name, protocol)
        timers.set(protocol, timer)
      }
      timer.observe(outcome.duration / 1000)
      if (outcome.grpcStatus !== null) countStatus(outcome.grpcStatus)
    })
  }
} satisfies GatewayPlugin
