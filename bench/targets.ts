import { manyTokens } from './cells.ts'

/** A ratio that the gateway is to reach: its cost over somebody else's. */
export interface Target {
  readonly what: string
  readonly ours: string
  readonly theirs: string
  readonly atMost: number
}

export const targets: readonly Target[] = [
  ...['', `/${manyTokens}`].flatMap((suffix): Target[] => {
    const which = suffix === '' ? 'one token' : `${manyTokens} tokens`
    return [
      {
        what: `full chain, ${which}, over HAProxy's`,
        ours: `sallyport/full${suffix}`,
        theirs: `haproxy/full${suffix}`,
        atMost: 1.4
      },
      {
        what: `full chain, ${which}, over Envoy's without its cache`,
        ours: `sallyport/full${suffix}`,
        theirs: `envoy/full-uncached${suffix}`,
        atMost: 1
      },
      {
        what: `full chain, ${which}, over bare Fastify's with its cache`,
        ours: `sallyport/full${suffix}`,
        theirs: `fastify/full${suffix}`,
        atMost: 0.85
      }
    ]
  }),
  { what: "plain chain over Caddy's", ours: 'sallyport/plain', theirs: 'caddy/plain', atMost: 0.75 }
]
