import type { FastifyInstance } from 'fastify'
import type { Explanation } from '../src/explain/explanation.ts'
import { type Field, faultOf, headerOf, type Question } from '../src/explain/question.ts'

export interface ExplainRouteOptions {
  explain(question: Question): Promise<Explanation>
}

const protocols = ['http', 'grpc', 'websocket'] as const

/** Keys of a question; the ones that a URL may hold are all but those of `secret`. */
const keys = ['method', 'target', 'host', 'header', 'headers', 'token', 'clientIp', 'protocol', 'body']
/** URLs are written into logs on their way. */
const secret = /^(authorization|proxy-authorization|cookie|x[-_]api[-_]key)$/i

const maxWaiting = 16

/**
 * `/explain`: what the configuration in force does with a request, and why. It changes nothing, and calls no upstream. A credential
 * or a body comes in a POST.
 */
export async function explainRoutes(app: FastifyInstance, options: ExplainRouteOptions): Promise<void> {
  let waiting = 0

  async function answer(given: unknown, isUrl: boolean): Promise<{ status: number; body: object }> {
    const question = questionOf(given, isUrl)
    if (typeof question === 'string') return { status: 400, body: { error: question } }
    // They are explained one at a time.
    if (waiting >= maxWaiting) return { status: 503, body: { error: 'too many questions at once' } }
    waiting++
    try {
      return { status: 200, body: await options.explain(question) }
    } finally {
      waiting--
    }
  }

  app.setErrorHandler(function saySo(error: { statusCode?: number }, _request, reply) {
    const isClients = error.statusCode !== undefined && error.statusCode < 500
    const said = isClients ? 'an object in JSON is wanted' : 'it could not be explained'
    return reply.code(isClients ? (error.statusCode as number) : 500).send({ error: said })
  })

  app.get('/explain', async function explainQuery(request, reply) {
    const { status, body } = await answer(request.query, true)
    return reply.code(status).send(body)
  })

  app.post('/explain', { bodyLimit: 65_536 }, async function explainBody(request, reply) {
    const { status, body } = await answer(request.body, false)
    return reply.code(status).send(body)
  })
}

/** The question, or what is wrong with it. */
function questionOf(given: unknown, isUrl: boolean): Question | string {
  if (typeof given !== 'object' || given === null || Array.isArray(given)) return 'an object is wanted'
  const fields = given as Record<string, unknown>
  const unknown = Object.keys(fields).find(key => !keys.includes(key))
  if (unknown !== undefined) return `unknown: ${JSON.stringify(unknown)}; known: ${keys.join(', ')}`
  const { method = 'GET', target, host, token, clientIp, protocol = 'http', body: content } = fields
  const headers = headersOf(fields.header ?? fields.headers ?? [])
  if (headers === null) return 'a header is written "name: value"'
  if (isUrl && (token !== undefined || headers.some(([name]) => secret.test(name))))
    return 'send a credential with POST: URLs are logged'
  if (isUrl && content !== undefined) return 'send a body with POST: URLs are logged'
  if (!isText(method) || !isText(target)) return 'method and target are texts'
  if (
    !isOptionalText(host) ||
    !isOptionalText(token) ||
    !isOptionalText(clientIp) ||
    !isOptionalText(content)
  )
    return 'host, token, clientIp and body are texts'
  const spoken = protocols.find(one => one === protocol)
  if (spoken === undefined) return `protocol is one of ${protocols.join(', ')}`
  const body = content === undefined ? undefined : Buffer.from(content)
  const question: Question = { method, target, host, token, clientIp, headers, protocol: spoken, body }
  return faultOf(question) ?? question
}

/** Lines `name: value`, or an object of them. */
function headersOf(given: unknown): readonly Field[] | null {
  if (typeof given === 'string') return headersOf([given])
  const lines = Array.isArray(given)
    ? given
    : typeof given === 'object' && given !== null
      ? Object.entries(given).map(([name, value]) => (isText(value) ? `${name}: ${value}` : null))
      : [null]
  const headers = lines.map(line => (isText(line) ? headerOf(line) : null))
  return headers.includes(null) ? null : (headers as Field[])
}

function isText(value: unknown): value is string {
  return typeof value === 'string'
}

function isOptionalText(value: unknown): value is string | undefined {
  return value === undefined || isText(value)
}
