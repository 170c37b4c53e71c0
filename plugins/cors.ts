import cors from '@fastify/cors'
import type { FastifyReply, FastifyRequest, HookHandlerDoneFunction } from 'fastify'
import type { GatewayPlugin, OptionProblem, RouteInstance } from '../src/plugin/define.ts'

export interface CorsOptions {
  origins: string[]
  methods?: string[]
  headers?: string[]
  exposeHeaders?: string[]
  credentials?: boolean
  /** Milliseconds. */
  maxAge?: number
}

const token = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"

/** The route's policy is the only one: whatever the upstream says about it goes no further. */
const upstreamPolicy = Object.freeze([
  'access-control-allow-origin',
  'access-control-allow-credentials',
  'access-control-allow-methods',
  'access-control-allow-headers',
  'access-control-expose-headers',
  'access-control-max-age'
])

/** Where a gRPC-Web call ends without a message, the client's script has to read these. */
const rpcHeaders = ['grpc-status', 'grpc-message', 'grpc-status-details-bin']

/**
 * Tells browsers which other sites may call the route. A true preflight (OPTIONS with `Origin` and
 * `Access-Control-Request-Method`) is answered here, before authentication, as browsers send it without credentials; it
 * never reaches the upstream. Any other OPTIONS is an ordinary request and is authenticated as one.
 */
export default {
  name: 'cors',
  phase: 'guard',
  answersPreflight: true,
  schema: {
    type: 'object',
    description: 'Tells browsers which other sites may call the route.',
    properties: {
      origins: {
        type: 'array',
        items: { type: 'string', pattern: '^(\\*|[a-z][a-z0-9+.-]*://[^/\\s,*]+)$' },
        minItems: 1,
        description:
          "Origins that may call, exactly as a browser sends them: `https://shop.example.com`. Or `['*']`, without `credentials`."
      },
      methods: {
        type: 'array',
        items: { type: 'string', pattern: token },
        minItems: 1,
        description: "Methods that they may use. Default: the route's, or GET, HEAD and POST."
      },
      headers: {
        type: 'array',
        items: { type: 'string', pattern: token },
        description:
          'Request headers that they may send, beside the simple ones. Default: whichever they ask for.'
      },
      exposeHeaders: {
        type: 'array',
        items: { type: 'string', pattern: token },
        minItems: 1,
        description: 'Response headers that their scripts may read.'
      },
      credentials: {
        type: 'boolean',
        default: false,
        description:
          'Whether they may send cookies and other credentials. With `oidc` on the route they may then also change things in the name of whoever is signed in, which is otherwise for pages of the same origin alone.'
      },
      maxAge: {
        type: 'string',
        format: 'duration',
        description: 'How long a browser may remember a preflight, e.g. `10m`.'
      }
    },
    required: ['origins'],
    additionalProperties: false
  },
  check({ origins, credentials }) {
    const problems: OptionProblem[] = []
    if (!origins.includes('*')) return problems
    if (origins.length > 1) {
      problems.push({
        path: ['origins'],
        message: '* stands beside other origins',
        remedy: "write ['*'], or list the origins"
      })
    }
    if (credentials === true) {
      problems.push({
        path: ['credentials'],
        message: 'every site would act in the name of whoever is signed in',
        remedy: 'list the origins, or remove credentials'
      })
    }
    return problems
  },
  register(route, options) {
    const { gateway } = route
    const any = options.origins.includes('*')
    const origins: ReadonlySet<string> = new Set(options.origins)
    const methods =
      options.methods ?? (gateway.methods.length > 0 ? [...gateway.methods] : ['GET', 'HEAD', 'POST'])
    const settings = {
      origin: any ? '*' : options.origins,
      methods,
      allowedHeaders: options.headers ?? null,
      exposedHeaders: options.exposeHeaders ?? null,
      credentials: options.credentials ?? false,
      maxAge: options.maxAge === undefined ? null : Math.round(options.maxAge / 1000)
    }
    const setHeaders = handlerOf(route, settings)
    const exposedHeaders = [...(options.exposeHeaders ?? []), ...rpcHeaders]
    const setRpcHeaders = handlerOf(route, { ...settings, exposedHeaders })

    route.addHook('onRequest', function answerCrossOrigin(request, reply, done) {
      const { gateway: known } = request
      const before = known.removeResponseHeaders
      known.removeResponseHeaders = before === null ? upstreamPolicy : [...before, ...upstreamPolicy]
      reply.header('vary', 'Origin')
      const { origin } = request.headers
      if (options.credentials === true && origin !== undefined && origins.has(origin))
        known.originAllowed = true
      if (request.method !== 'OPTIONS') {
        return known.protocol === 'grpc'
          ? setRpcHeaders(request, reply, done)
          : setHeaders(request, reply, done)
      }
      const isPreflight =
        origin !== undefined && request.headers['access-control-request-method'] !== undefined
      if (!isPreflight) return done()
      if (!any && !origins.has(origin)) gateway.deny('protocol.origin')
      setHeaders(request, reply, done)
    })
  }
} satisfies GatewayPlugin<CorsOptions>

type Handler = (request: FastifyRequest, reply: FastifyReply, done: HookHandlerDoneFunction) => void

/**
 * The hook of @fastify/cors, without the rest. The package adds a route `OPTIONS *` to whatever it is registered on, which
 * takes every OPTIONS away from the route and clashes as soon as a second route has it; and it answers an OPTIONS that is no
 * preflight itself (400). So it is given an instance that takes the hook and adds nothing, and is asked when there is
 * something to answer.
 */
function handlerOf(route: RouteInstance, settings: object): Handler {
  let handler: Handler | undefined
  const bare = Object.create(route, {
    decorateRequest: { value: () => bare },
    options: { value: () => bare },
    addHook: {
      value: (_name: string, hook: Handler) => {
        handler = hook
        return bare
      }
    }
  })
  cors(bare, settings, () => {})
  if (handler === undefined) throw new Error('@fastify/cors added no hook')
  return handler
}
