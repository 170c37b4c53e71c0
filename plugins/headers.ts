import { validateHeaderValue } from 'node:http'
import type { GatewayPlugin, OptionProblem } from '../src/plugin/define.ts'

interface Changes {
  set?: Record<string, string>
  remove?: string[]
}

export interface HeadersOptions {
  request?: Changes
  response?: Changes
}

const token = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"

function changes(description: string, verb: string) {
  return {
    type: 'object',
    description,
    properties: {
      set: {
        type: 'object',
        propertyNames: { pattern: token },
        additionalProperties: { type: 'string' },
        description: `Headers ${verb} with this value, in place of any that are there.`
      },
      remove: {
        type: 'array',
        items: { type: 'string', pattern: token },
        description: 'Headers that are taken away.'
      }
    },
    minProperties: 1,
    additionalProperties: false
  }
}

/** RFC 9110 section 7.6.1, and what the two ends of one connection agree on between themselves. */
const hopByHop = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'content-length',
  'host'
])

/** Headers by which the gateway tells the upstream who a request is from: nobody else writes them. */
const ours =
  /^(x-forwarded-.*|forwarded|x-real-ip|x-sallyport-.*|x-original-url|x-rewrite-url|x-http-method(-override)?|x-method-override)$/

/**
 * Sets and removes headers on the way to the upstream and on the way back. What is set wins over what was there. Framing,
 * routing and identity headers are refused: they are the gateway's.
 */
export default {
  name: 'headers',
  phase: 'transform',
  schema: {
    type: 'object',
    description: 'Sets and removes headers.',
    properties: {
      request: changes('What goes to the upstream.', 'that go to the upstream'),
      response: changes('What goes to the client.', 'that go to the client')
    },
    minProperties: 1,
    additionalProperties: false
  },
  check({ request = {}, response = {} }) {
    return [...problemsOf('request', request), ...problemsOf('response', response)]
  },
  register(route, { request = {}, response = {} }) {
    const upstream: Record<string, string | null> = {}
    for (const name of request.remove ?? []) upstream[name.toLowerCase()] = null
    for (const [name, value] of Object.entries(request.set ?? {})) upstream[name.toLowerCase()] = value
    const upstreamHeaders = Object.keys(upstream).length === 0 ? null : Object.freeze(upstream)
    const removed = Object.freeze((response.remove ?? []).map(name => name.toLowerCase()))
    const answered = Object.freeze(lowerCased(response.set ?? {}))

    route.addHook('onRequest', function changeHeaders(request, reply, done) {
      const { gateway } = request
      if (upstreamHeaders !== null) {
        const before = gateway.upstreamHeaders
        gateway.upstreamHeaders = before === null ? upstreamHeaders : { ...before, ...upstreamHeaders }
      }
      if (removed.length > 0) {
        const before = gateway.removeResponseHeaders
        gateway.removeResponseHeaders = before === null ? removed : [...before, ...removed]
      }
      reply.headers(answered)
      done()
    })
  }
} satisfies GatewayPlugin<HeadersOptions>

function lowerCased(headers: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]))
}

function problemsOf(side: 'request' | 'response', { set = {}, remove = [] }: Changes): OptionProblem[] {
  const problems: OptionProblem[] = []
  const named: [string, (string | number)[]][] = [
    ...Object.keys(set).map((name): [string, string[]] => [name, [side, 'set', name]]),
    ...remove.map((name, index): [string, (string | number)[]] => [name, [side, 'remove', index]])
  ]
  for (const [name, path] of named) {
    const reason = reservation(side, name)
    if (reason !== null)
      problems.push({ path, message: `${name} ${reason}`, remedy: 'remove it from the list' })
  }
  for (const [name, value] of Object.entries(set)) {
    try {
      validateHeaderValue(name, value)
    } catch {
      const remedy = 'use visible ASCII characters, spaces and tabs'
      problems.push({
        path: [side, 'set', name],
        message: `the value of ${name} cannot stand in a header`,
        remedy
      })
    }
  }
  const removed = new Set(remove.map(name => name.toLowerCase()))
  for (const name of Object.keys(set)) {
    if (!removed.has(name.toLowerCase())) continue
    problems.push({
      path: [side, 'set', name],
      message: `${name} is set and removed`,
      remedy: 'set alone replaces what was there'
    })
  }
  return problems
}

function reservation(side: 'request' | 'response', name: string): string | null {
  // Some upstreams read `_` and `.` as `-`: a reserved name is reserved in every spelling.
  const plain = name.toLowerCase().replaceAll(/[_.]/g, '-')
  if (hopByHop.has(plain)) return 'belongs to the connection, not to the message'
  if (side === 'request' && ours.test(plain))
    return 'tells the upstream who asks, and is set by the gateway alone'
  return null
}
