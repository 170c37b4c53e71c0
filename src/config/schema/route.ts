import { Type } from 'typebox'
import {
  choice,
  count,
  duration,
  flag,
  object,
  type PluginUse,
  size,
  text,
  textMap,
  texts
} from '../shapes.ts'

export const match = object(
  {
    hosts: texts('Host names, without a port; `*.example.com` matches one or more labels. Empty: any host.', {
      default: [],
      uniqueItems: true
    }),
    path: Type.Optional(
      text(
        'Path: literal segments, `:name` for one segment, `/*` at the end for the rest. Left out: any path.'
      )
    ),
    methods: texts('Methods in upper case. Empty: any method. GET covers HEAD.', {
      default: [],
      uniqueItems: true
    }),
    headers: textMap('Header fields that must have exactly these values.', { default: {} }),
    protocol: choice(['http', 'grpc', 'websocket'], 'Which proxy carries the route.', { default: 'http' }),
    service: Type.Optional(
      text('Full name of a gRPC service, e.g. `shop.v1.Orders`. Only with protocol grpc.')
    )
  },
  { description: 'Which requests the route takes.' }
)

const weightedUpstream = object(
  {
    name: text('Name of an upstream.'),
    weight: count('Share of the requests, beside the weights of the others; 0: none.', {
      minimum: 0,
      maximum: 1_000_000
    })
  },
  { description: 'An upstream and its share.' }
)

/** The shape of a `plugins` list for whoever does not know the plugins; `configSchema` knows them. */
export function pluginUses(description: string, items: object = {}) {
  return Type.Unsafe<PluginUse[]>({ type: 'array', items, default: [], description })
}

export function routeSchema(items?: object) {
  return object(
    {
      match,
      upstream: Type.Optional(text('Name of the upstream.')),
      upstreams: Type.Optional(
        Type.Array(weightedUpstream, {
          minItems: 1,
          description:
            'Several upstreams, instead of `upstream`: each request goes to one of them, by their weights. One that fails keeps its share.'
        })
      ),
      public: flag('Nobody is asked who they are. Without it a route must carry an `authenticate` plugin.'),
      rewrite: Type.Optional(
        object(
          {
            path: Type.Optional(text('Path that the upstream sees; may use `:name` and `/*` of the match.')),
            host: choice(['upstream', 'preserve'], "Host header: the upstream's, or the client's.", {
              default: 'upstream'
            })
          },
          { description: 'What is changed on the way to the upstream.' }
        )
      ),
      timeout: Type.Optional(
        duration("Longest time until the head of the answer, instead of the upstream's.")
      ),
      maxBody: Type.Optional(size('Largest request body, instead of `limits.maxBody`.')),
      encodedSlashes: flag('Takes `%2f`, `%5c` and `%25` in paths. Without it they are refused.'),
      allowUnderscores: flag('Takes header names with `_`. Without it they are refused.'),
      grpcWeb: flag('Takes gRPC-Web calls of browsers. Only with protocol grpc.'),
      plugins: pluginUses(
        "What the route does, beside the gateway's own plugins. Order counts inside a phase.",
        items
      )
    },
    { description: 'Match, plugins and upstream. The name of the route is its metric label.' }
  )
}
