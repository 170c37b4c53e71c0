import fc from 'fast-check'

type Labels = Record<string, string>

interface Upstream {
  url: string
  kubernetes: { namespace: string; podSelector: Labels; port: number }
}

/** Values of the chart that hang together: tables of upstreams with a perimeter around them. */
export interface Table {
  config: { upstreams: Record<string, Upstream>; routes: Record<string, object> }
  perimeter: object
}

const namespaces = ['shop', 'store', 'gateway', 'a-1']
const port = fc.constantFrom(80, 3000, 8080, 50051)
const label = fc.constantFrom('web', 'batch', 'prometheus')
const peer = fc.oneof(
  fc.record({ namespace: fc.constantFrom('frontend', 'monitoring', ...namespaces) }),
  fc.record({ namespace: fc.constantFrom('frontend', ...namespaces), podLabels: fc.record({ role: label }) }),
  fc.record({ cidr: fc.constant('198.51.100.0/24'), except: fc.constant(['198.51.100.128/25']) })
)
const directions: fc.Arbitrary<string[]> = fc.constantFrom(['Ingress'], ['Ingress', 'Egress'])

/** Upstreams have labels of their own, but for twins: two ports of the same pods. */
const upstreams = fc
  .array(
    fc.record({ namespace: fc.constantFrom(...namespaces), port, tier: fc.boolean(), twin: fc.boolean() }),
    {
      minLength: 1,
      maxLength: 4
    }
  )
  .map(drawn =>
    Object.fromEntries(
      drawn.flatMap(({ namespace, port, tier, twin }, index) => {
        const name = `up-${index}`
        const podSelector: Labels = tier ? { app: name, tier: 'api' } : { app: name }
        const make = (port: number): Upstream => ({
          url: `http://${name}.${namespace}.svc.cluster.local:80`,
          kubernetes: { namespace, podSelector, port }
        })
        return twin
          ? [
              [name, make(port)],
              [`${name}-twin`, make(port + 1)]
            ]
          : [[name, make(port)]]
      })
    )
  )

const edge = fc.record({ from: peer, port, protocol: fc.constantFrom('TCP', 'UDP'), which: fc.nat(10) })
const way = fc.oneof(
  fc.record({
    name: fc.constant('redis'),
    namespace: fc.constant('data'),
    podLabels: fc.constant({ app: 'redis' }),
    port
  }),
  fc.record({
    name: fc.constant('idp'),
    cidr: fc.constant('0.0.0.0/0'),
    except: fc.constant(['10.0.0.0/8']),
    port: fc.constant(443)
  })
)

export const tables: fc.Arbitrary<Table> = fc
  .record({
    upstreams,
    scope: fc.constantFrom('namespace', 'upstreams'),
    defaultDeny: directions,
    own: fc.option(directions, { nil: undefined }),
    edges: fc.array(edge, { maxLength: 3 }),
    from: fc.array(peer, { maxLength: 2 }),
    metrics: fc.array(peer, { maxLength: 2 }),
    allow: fc.array(way, { maxLength: 2 }),
    dnsCidrs: fc.constantFrom([], ['169.254.20.10/32'])
  })
  .map(drawn => {
    const names = Object.keys(drawn.upstreams)
    const protectedOnes: Record<string, { defaultDeny?: string[]; allow: object[] }> = {}
    for (const [index, { which, ...edge }] of drawn.edges.entries()) {
      const target = drawn.upstreams[names[which % names.length]!]!.kubernetes
      const settings = protectedOnes[target.namespace] ?? { allow: [] }
      protectedOnes[target.namespace] = settings
      if (drawn.own) settings.defaultDeny = drawn.own
      settings.allow.push({ name: `edge-${index}`, ...edge, to: { podLabels: target.podSelector } })
    }
    return {
      config: {
        upstreams: drawn.upstreams,
        routes: Object.fromEntries(
          names.map(name => [name, { match: { path: `/${name}/*` }, public: true, upstream: name }])
        )
      },
      perimeter: {
        gateway: { from: drawn.from, allow: drawn.allow, dns: { cidrs: drawn.dnsCidrs } },
        metrics: { from: drawn.metrics },
        protect: { scope: drawn.scope, defaultDeny: drawn.defaultDeny, namespaces: protectedOnes }
      }
    }
  })
