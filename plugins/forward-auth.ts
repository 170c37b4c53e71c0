import type { FastifyReply, FastifyRequest } from 'fastify'
import { type Dispatcher, Pool } from 'undici'
import type { RefusalOptions } from '../src/errors.ts'
import type { Identity } from '../src/identity.ts'
import type { GatewayPlugin } from '../src/plugin/define.ts'
import { maxBody, readBody } from './forward-auth/body.ts'
import { check, type ForwardAuthOptions, fold, ownNames, schema } from './forward-auth/options.ts'
import { questioner } from './forward-auth/question.ts'

/** Node writes headers in latin1, and nothing of a header may end it. */
const sendable = /^[\t\x20-\x7e\x80-\xff]*$/

const redirects = new Set([301, 302, 303, 307, 308])

/** Asks a service about each request: what it lets pass, passes. */
export default {
  name: 'forward-auth',
  phase: 'authenticate',
  takesAll: true,
  scheme: '*',
  schema,
  check,

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
