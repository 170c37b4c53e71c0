import type { FastifyReply, FastifyRequest } from 'fastify'
import { type Dispatcher, Pool } from 'undici'
import type { RefusalOptions } from '../src/errors.ts'
import type { Identity } from '../src/identity.ts'
import type { GatewayPlugin, OptionProblem } from '../src/plugin/define.ts'

export interface ForwardAuthOptions {
  url: string
  style: 'forward-auth' | 'ext-authz'
  /** Milliseconds. */
  timeout: number
  sends: string[]
  headers: string[]
  setCookies: boolean
  subject?: string
}

/** Of a refusal that goes to the client, e.g. a page to sign in. A longer one is replaced by a problem document. */
const maxBody = 65_536

const token = "^[!#$%&'*+.^`|~0-9A-Za-z-]+$"

/** What belongs to a connection, or is the gateway's to write: in the hands of the service it would never arrive. */
const reserved =
  /^(connection|keep-alive|proxy-.*|te|trailer|transfer-encoding|upgrade|http2-settings|host|expect|content-length|forwarded|x-forwarded-.*|x-sallyport-.*|x-real-ip|x-original-url|x-rewrite-url|x-http-method(-override)?|x-method-override|x-request-id|traceparent)$/

/** Node writes headers in latin1, and nothing of a header may end it. */
const sendable = /^[\t\x20-\x7e\x80-\xff]*$/

const redirects = new Set([301, 302, 303, 307, 308])

/** Asks a service about each request: what it lets pass, passes. */
export default {
  name: 'forward-auth',
  phase: 'authenticate',
  takesAll: true,
  scheme: '*',
  schema: {
    type: 'object',
    description:
      'Asks an HTTP service about each request, as Traefik, nginx and Envoy do: never with a body, always with `X-Forwarded-Method`, `-Proto`, `-Host`, `-Uri` and `-For`. 2xx lets it pass. 401, 403 and redirects go to the client, with `WWW-Authenticate`, `Location`, `Set-Cookie` and at most 64 KiB of body. Anything else, and silence, is 503 `auth.unavailable`.',
    properties: {
      url: { type: 'string', minLength: 1, description: 'Address of the service (http or https).' },
      style: {
        enum: ['forward-auth', 'ext-authz'],
        default: 'forward-auth',
        description:
          'How it is asked. `forward-auth` (Traefik, nginx): GET of `url`. `ext-authz` (Envoy, over HTTP): with the method, the `Host` and the target of the request behind the path of `url`; only 200 lets it pass.'
      },
      timeout: {
        type: 'string',
        format: 'duration',
        pattern: '[1-9]',
        default: '1s',
        description: 'How long the service may take. It is asked once.'
      },
      sends: {
        type: 'array',
        items: { type: 'string', pattern: token },
        uniqueItems: true,
        default: ['accept', 'authorization', 'cookie'],
        description:
          "Headers of the client that the service gets. The gateway's own cookies are taken out of `cookie`."
      },
      headers: {
        type: 'array',
        items: { type: 'string', pattern: token },
        uniqueItems: true,
        default: [],
        description:
          "Headers of the service's answer that go to the upstream. The client's own of these names are dropped, in every spelling."
      },
      setCookies: {
        type: 'boolean',
        default: false,
        description:
          "Whether `Set-Cookie` of a yes goes to the client beside the upstream's own: for services that prolong their sessions so. Never cookies of the names of the gateway's own."
      },
      subject: {
        type: 'string',
        pattern: token,
        description:
          'Header of the answer that says who it is; an answer without it is 503. When left out, the first of `headers`, or `x-forwarded-user`, or else `anonymous`.'
      }
    },
    required: ['url'],
    additionalProperties: false
  },

  check({ url, style, sends, headers }) {
    const problems: OptionProblem[] = []
    const fault = urlFault(url, style)
    if (fault !== null)
      problems.push({
        path: ['url'],
        message: `the URL ${fault}`,
        remedy: 'write http(s)://host[:port]/path'
      })
    for (const [option, names] of Object.entries({ sends, headers })) {
      for (const [at, name] of names.entries()) {
        if (!reserved.test(fold(name))) continue
        const message = `${name} belongs to the connection, or is written by the gateway alone`
        problems.push({ path: [option, at], message, remedy: 'remove it from the list' })
      }
    }
    return problems
  },

  carries: () => () => true,

  credentialHeaders: ownNames,

  register(route, options) {
    const { gateway } = route
    const { origin, host } = new URL(options.url)
    const question = questioner(options)
    const isYes = options.style === 'ext-authz' ? isOk : isSuccess
    const identities = gateway.cache<Identity>(`identities of ${host}`, { max: 1000, ttl: 60_000 })
    const pool = gateway.shared(
      origin,
      () => new Pool(origin, { connections: 128, pipelining: 1, maxHeaderSize: 16_384 }),
      pool => pool.close()
    )
    const names = options.headers.map(name => name.toLowerCase())
    const ours = ownNames(options)
    const folded = new Set(ours.map(fold))
    const lengths = new Set(ours.map(name => name.length))
    const subjectName = (options.subject ?? names[0] ?? 'x-forwarded-user').toLowerCase()

    function unavailable(detail: string, cause?: unknown): never {
      return gateway.deny('auth.unavailable', { headers: { 'retry-after': '1' }, detail, cause })
    }

    async function ask(request: FastifyRequest): Promise<Dispatcher.ResponseData> {
      const gone = new AbortController()
      request.gateway.onEnd(() => gone.abort())
      const signal = AbortSignal.any([gone.signal, AbortSignal.timeout(options.timeout)])
      try {
        return await pool.request({ ...question(request), signal })
      } catch (error) {
        return unavailable(`${host} does not answer`, error)
      }
    }

    function subjectOf({ headers }: Dispatcher.ResponseData): string {
      const value = headers[subjectName]
      if (Array.isArray(value)) return unavailable(`${host} names several subjects`)
      const subject = value?.trim() ?? ''
      if (subject !== '') return subject
      return options.subject === undefined ? 'anonymous' : unavailable(`${host} names no subject`)
    }

    /** One for each subject, and not for each request: what is made of an identity is kept with it. */
    function identityOf(subject: string): Identity {
      const known = identities.get(subject)
      if (known !== undefined) return known
      const identity = makeIdentity(subject, host)
      identities.set(subject, identity)
      return identity
    }

    function accept(request: FastifyRequest, answer: Dispatcher.ResponseData): void {
      const known = request.gateway
      const changes: Record<string, string | null> = { ...known.upstreamHeaders }
      for (const name in request.headers)
        if (lengths.has(name.length) && folded.has(fold(name))) changes[name] = null
      for (const name of names) {
        const value = answer.headers[name]
        const text = Array.isArray(value) ? value.join(', ') : value
        if (text !== undefined && !sendable.test(text))
          unavailable(`${host} sends ${name} in no known characters`)
        changes[name] = text ?? null
      }
      const subject = subjectOf(answer)
      known.upstreamHeaders = changes
      known.identity = identityOf(subject)
    }

    async function refuse(
      request: FastifyRequest,
      reply: FastifyReply,
      answer: Dispatcher.ResponseData
    ): Promise<never> {
      const { statusCode: status, headers } = answer
      const body = await readBody(answer).catch(error => unavailable(`${host} breaks off`, error))
      passCookies(request, reply, headers['set-cookie'])
      const told: Record<string, string> = {}
      for (const name of ['www-authenticate', 'location']) {
        const value = headers[name]
        if (value !== undefined) told[name] = Array.isArray(value) ? value.join(', ') : value
      }
      const claimed = String(headers['content-type'] ?? '')
      const type = claimed !== '' && sendable.test(claimed) ? claimed : 'application/octet-stream'
      const denial: RefusalOptions = {
        status,
        headers: told,
        detail: `${host} answered ${status}`,
        ...(body !== null && { body: { type, content: body } })
      }
      if (status === 403) return gateway.deny('policy.denied', denial)
      return gateway.deny(hasCredential(request) ? 'token.invalid' : 'token.missing', denial)
    }

    route.addHook('onRequest', async function authenticateElsewhere(request, reply) {
      const answer = await ask(request)
      const { statusCode: status, body } = answer
      if (status === 401 || status === 403 || redirects.has(status)) return refuse(request, reply, answer)
      // So that the connection can be used again.
      body.dump({ limit: maxBody }).catch(ignore)
      if (!isYes(status)) return unavailable(`${host} answered ${status}`)
      accept(request, answer)
      if (options.setCookies) passCookies(request, reply, answer.headers['set-cookie'])
      return undefined
    })
  }
} satisfies GatewayPlugin<ForwardAuthOptions>

function ignore(): void {}

function isOk(status: number): boolean {
  return status === 200
}

function isSuccess(status: number): boolean {
  return status >= 200 && status <= 299
}

/** Who reads these in the upstream takes them for the service's word. */
function ownNames({ headers, subject }: ForwardAuthOptions): string[] {
  return (subject === undefined ? headers : [...headers, subject]).map(name => name.toLowerCase())
}

type Question = Pick<Dispatcher.RequestOptions, 'path' | 'method' | 'headers'>

/** What the service is asked. */
function questioner(options: ForwardAuthOptions): (request: FastifyRequest) => Question {
  const { pathname, search } = new URL(options.url)
  const path = pathname + search
  const prefix = pathname.replace(/\/$/, '')
  const sends = options.sends.map(name => name.toLowerCase())
  if (options.style === 'forward-auth')
    return request => ({ method: 'GET', path, headers: factsOf(request, sends) })

  return function askAsEnvoy(request) {
    const headers = factsOf(request, sends)
    if (request.headers.host !== undefined) headers.host = request.headers.host
    return { method: request.method as Dispatcher.HttpMethod, path: prefix + request.url, headers }
  }
}

/** What the service is told of the request. Only the gateway writes these names: the client's own are not among them. */
function factsOf(
  { headers, method, url, socket, gateway }: FastifyRequest,
  sends: readonly string[]
): Record<string, string> {
  const peer = socket.remoteAddress?.replace(/^::ffff:/, '')
  const isEncrypted = 'encrypted' in socket && socket.encrypted === true
  const claimed = headers['x-forwarded-proto']
  // The gateway takes another address than the socket's only from a proxy that it trusts.
  const isVouchedFor = gateway.clientIp !== peer && (claimed === 'http' || claimed === 'https')
  const facts: Record<string, string> = {
    'x-forwarded-method': method,
    'x-forwarded-proto': isVouchedFor ? String(claimed) : isEncrypted ? 'https' : 'http',
    'x-forwarded-host': headers.host ?? '',
    'x-forwarded-uri': url,
    'x-forwarded-for': gateway.clientIp,
    'x-request-id': gateway.requestId
  }
  for (const name of sends) {
    const value = name === 'cookie' ? gateway.foreignCookies : headers[name]
    if (typeof value === 'string') facts[name] = value
  }
  return facts
}

function passCookies(
  { gateway }: FastifyRequest,
  reply: FastifyReply,
  cookies: string | string[] | undefined
): void {
  const theirs = cookies === undefined ? [] : gateway.foreignSetCookies(cookies)
  if (theirs.length > 0) reply.header('set-cookie', theirs)
}

function hasCredential({ headers }: FastifyRequest): boolean {
  return headers.authorization !== undefined || headers.cookie !== undefined
}

/** Null where it is too long, or there is none. */
async function readBody({ body }: Dispatcher.ResponseData): Promise<Buffer | null> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of body as AsyncIterable<Buffer>) {
    size += chunk.length
    // Leaving the loop ends the connection.
    if (size > maxBody) return null
    chunks.push(chunk)
  }
  return size === 0 ? null : Buffer.concat(chunks)
}

function makeIdentity(subject: string, service: string): Identity {
  const none = Object.freeze([])
  return Object.freeze({
    kind: 'forward-auth',
    subject,
    issuer: service,
    email: null,
    scopes: none,
    groups: none,
    roles: none,
    claims: Object.freeze({}),
    expiresAt: null
  })
}

/** One spelling for all that an upstream may take for the same name. */
function fold(name: string): string {
  return name.toLowerCase().replaceAll(/[^a-z0-9]/g, '-')
}

function urlFault(text: string, style: ForwardAuthOptions['style']): string | null {
  if (!/^https?:\/\//.test(text) || !URL.canParse(text) || /[\s\\]/.test(text))
    return 'is not one of http or https'
  const url = new URL(text)
  if (url.username !== '' || url.password !== '') return 'holds a user name or password'
  if (url.hash !== '') return 'has a fragment'
  return style === 'ext-authz' && url.search !== ''
    ? 'has a query, where the target of a request follows'
    : null
}
