import type { FastifyRequest } from 'fastify'
import type { Protocol } from '../src/outcome.ts'
import type { GatewayPlugin, MessageLimits, OptionProblem, Rpc } from '../src/plugin/define.ts'

export interface ProtocolOptions {
  methods?: string[]
  contentTypes?: string[]
  /** Bytes. */
  maxHeaderBytes?: number
  /** Bytes. */
  maxBody?: number
  rpcs?: string[]
  origins?: string[]
  subprotocols?: string[]
  /** Bytes. */
  maxMessage?: number
  messageRate?: number
  /** Milliseconds. */
  idle?: number
  /** Milliseconds. */
  lifetime?: number
}

const token = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"
const mediaType = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+$"

/** Options that only mean something on routes of another protocol. */
const elsewhere = {
  rpcs: ['grpc'],
  origins: ['websocket'],
  subprotocols: ['websocket'],
  maxMessage: ['grpc', 'websocket'],
  messageRate: ['websocket'],
  idle: ['websocket'],
  lifetime: ['websocket']
} as const satisfies Partial<Record<keyof ProtocolOptions, readonly Protocol[]>>

/** `package.Service/Method`, in the letters that Protocol Buffers allow. */
const rpcName = '^(?:[A-Za-z_][A-Za-z0-9_]*\\.)*[A-Za-z_][A-Za-z0-9_]*/[A-Za-z_][A-Za-z0-9_]*$'

/**
 * Lets only requests pass that the protocol of the service knows: its methods, its content types, its sizes. `methods` with GET
 * takes HEAD too. Put `cors` before it, or it refuses the preflight.
 */
export default {
  name: 'protocol',
  phase: 'guard',
  schema: {
    type: 'object',
    description: 'Lets only requests pass that the protocol of the service knows.',
    properties: {
      methods: {
        type: 'array',
        items: { type: 'string', pattern: token },
        minItems: 1,
        description: 'Methods that pass; HEAD follows GET. Another gets 405 with `Allow`.'
      },
      contentTypes: {
        type: 'array',
        items: { type: 'string', pattern: mediaType },
        minItems: 1,
        description:
          'Media types of request bodies that pass, e.g. `application/json` or `image/*`; parameters do not matter. Another gets 415.'
      },
      maxHeaderBytes: {
        type: 'string',
        format: 'size',
        description: 'Largest sum of the header names and values. More gets 431.'
      },
      maxBody: { type: 'string', format: 'size', description: 'Largest request body. More gets 413.' },
      rpcs: {
        type: 'array',
        items: { type: 'string', pattern: rpcName },
        minItems: 1,
        description:
          'Routes with `protocol: grpc`: methods that pass, exactly as `package.Service/Method`. Another gets UNIMPLEMENTED (12).'
      },
      origins: {
        type: 'array',
        // As browsers write them (RFC 6454, 6.2); `null` is everybody's.
        items: { type: 'string', pattern: '^[a-z][a-z0-9+.-]*://[^/?#@\\sA-Z]+$' },
        minItems: 1,
        description:
          'Routes with `protocol: websocket`: values of `Origin` that pass, exactly as browsers write them, e.g. `https://shop.example.com`. Another gets 403. A handshake without `Origin` is from no browser: it passes if it has an `Authorization` header, which no browser can send.'
      },
      subprotocols: {
        type: 'array',
        items: { type: 'string', pattern: token },
        minItems: 1,
        description:
          'Routes with `protocol: websocket`: subprotocols that the client may offer. Others are taken out of its offer; with none left it gets 400.'
      },
      maxMessage: {
        type: 'string',
        format: 'size',
        description:
          'Routes with `protocol: websocket` or `grpc`: largest message. On a WebSocket of either side, uncompressed: a longer one closes with 1009; without it 1Mi. With gRPC it counts as it is sent, compressed or not, and only that of the client; without it `maxBody` is the bound of each. More gets RESOURCE_EXHAUSTED (8).'
      },
      messageRate: {
        type: 'integer',
        minimum: 1,
        maximum: 1_000_000,
        description:
          'Routes with `protocol: websocket`: messages, pings and pongs a second from the client. More closes with 1008.'
      },
      idle: {
        type: 'string',
        format: 'duration',
        description:
          'Routes with `protocol: websocket`: longest silence of both sides, pings and pongs included; it closes with 1001.'
      },
      lifetime: {
        type: 'string',
        format: 'duration',
        description: 'Routes with `protocol: websocket`: longest connection; it closes with 1001.'
      }
    },
    minProperties: 1,
    additionalProperties: false
  },
  check(options, _config, route) {
    const problems: OptionProblem[] = []
    for (const [option, protocols] of Object.entries(elsewhere)) {
      const isHere = route !== null && (protocols as readonly string[]).includes(route?.match.protocol ?? '')
      if (options[option as keyof ProtocolOptions] === undefined || isHere) continue
      problems.push({
        path: [option],
        message: `needs protocol: ${protocols.join(' or ')}`,
        remedy: 'remove it from this route'
      })
    }
    return [...problems, ...foreignRpcs(options.rpcs ?? [], route?.match.service)]
  },
  register(route, options) {
    const { gateway } = route
    const { maxHeaderBytes, maxBody } = options
    const methods = options.methods === undefined ? null : methodsOf(options.methods)
    const types = options.contentTypes === undefined ? null : typesOf(options.contentTypes)
    const rpcs = options.rpcs === undefined ? null : rpcsOf(options.rpcs)
    const origins = options.origins === undefined ? null : new Set(options.origins)
    const messages = messageLimits(options)
    const allow = methods === null ? {} : { headers: { allow: [...methods].join(', ') } }

    route.addHook('onRequest', function checkProtocol(request, _reply, done) {
      const { headers } = request
      if (methods !== null && !methods.has(request.method)) gateway.deny('protocol.method', allow)
      if (rpcs !== null && !isKnownRpc(rpcs, request.gateway.rpc)) gateway.deny('protocol.rpc')
      if (origins !== null) {
        if (!isFrom(origins, headers)) gateway.deny('protocol.origin')
        request.gateway.originAllowed = headers.origin !== undefined
      }
      if (messages !== null) request.gateway.messageLimits = messages
      if (maxHeaderBytes !== undefined && headerBytes(request.raw.rawHeaders) > maxHeaderBytes) {
        gateway.deny('protocol.size', { status: 431, detail: 'the headers are larger than the route allows' })
      }
      const length = headers['content-length']
      if (maxBody !== undefined) {
        request.gateway.maxBody = maxBody
        if (length !== undefined && !(Number(length) <= maxBody)) gateway.deny('protocol.size')
      }
      if (types !== null && hasBody(request) && !types(headers['content-type']))
        gateway.deny('protocol.content_type')
      done()
    })

    if (options.subprotocols === undefined) return
    const subprotocols = new Set(options.subprotocols)
    // After authentication, which may take a token out of the offer.
    route.addHook('preHandler', function checkSubprotocols({ headers }, _reply, done) {
      const offers = headers['sec-websocket-protocol']?.split(',').map(offer => offer.trim())
      const known = offers?.filter(offer => subprotocols.has(offer)) ?? []
      if (known.length === 0) gateway.deny('protocol.subprotocol')
      headers['sec-websocket-protocol'] = known.join(', ')
      done()
    })
  }
} satisfies GatewayPlugin<ProtocolOptions>

/** RFC 6454: a page of another site can open a WebSocket with the user's cookies, but not without saying where it is from. */
function isFrom(origins: ReadonlySet<string>, headers: FastifyRequest['headers']): boolean {
  if (headers.origin === undefined) return headers.authorization !== undefined
  return origins.has(headers.origin)
}

function messageLimits(options: ProtocolOptions): MessageLimits | null {
  const { maxMessage, messageRate, idle, lifetime } = options
  if ([maxMessage, messageRate, idle, lifetime].every(limit => limit === undefined)) return null
  return Object.freeze({ maxMessage, messageRate, idle, lifetime })
}

/** Methods of another service than the route's never get to it: whoever lists one means something else. */
function foreignRpcs(rpcs: readonly string[], service: string | undefined): OptionProblem[] {
  if (service === undefined) return []
  return rpcs.flatMap((rpc, index) =>
    rpc.startsWith(`${service}/`)
      ? []
      : [
          {
            path: ['rpcs', index],
            message: `${rpc} is no method of ${service}, which the route matches`,
            remedy: `write ${service}/ and the method, or remove match.service`
          }
        ]
  )
}

/** Methods by their service. */
function rpcsOf(list: readonly string[]): ReadonlyMap<string, ReadonlySet<string>> {
  const byService = new Map<string, Set<string>>()
  for (const rpc of list) {
    const [service, method] = rpc.split('/') as [string, string]
    byService.set(service, (byService.get(service) ?? new Set()).add(method))
  }
  return byService
}

/** Case counts, and so does each escape: servers take the path byte for byte. */
function isKnownRpc(rpcs: ReadonlyMap<string, ReadonlySet<string>>, rpc: Rpc | null): boolean {
  return rpc !== null && rpcs.get(rpc.service)?.has(rpc.method) === true
}

function methodsOf(list: string[]): ReadonlySet<string> {
  const methods = new Set(list.map(method => method.toUpperCase()))
  if (methods.has('GET')) methods.add('HEAD')
  return methods
}

function typesOf(list: string[]): (contentType: string | undefined) => boolean {
  const lower = list.map(type => type.toLowerCase())
  const exact = new Set(lower.filter(type => !type.endsWith('/*')))
  const families = new Set(lower.filter(type => type.endsWith('/*')).map(type => type.slice(0, -2)))

  return function isKnown(contentType) {
    if (contentType === undefined) return false
    const end = contentType.indexOf(';')
    const type = (end === -1 ? contentType : contentType.slice(0, end)).trim().toLowerCase()
    if (exact.has(type)) return true
    const slash = type.indexOf('/')
    return slash > 0 && slash < type.length - 1 && families.has(type.slice(0, slash))
  }
}

/** HTTP/1 says so in the head; on HTTP/2 a body may follow that no header announces. */
function hasBody({ headers, raw }: FastifyRequest): boolean {
  if (headers['transfer-encoding'] !== undefined) return true
  const length = headers['content-length']
  if (length !== undefined) return Number(length) !== 0
  const { stream } = raw as { stream?: { endAfterHeaders?: boolean } }
  return raw.httpVersionMajor === 2 && stream?.endAfterHeaders !== true
}

/** As they stand in the message: name, colon, space, value, line end. */
function headerBytes(rawHeaders: string[]): number {
  let bytes = 0
  for (const text of rawHeaders) bytes += text.length + 2
  return bytes
}
