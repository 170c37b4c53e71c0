import type { GatewayPlugin } from '../src/plugin/define.ts'

export interface RequestIdOptions {
  header?: string
  accept?: boolean
  respond?: boolean
}

const longest = 128

/**
 * Lets a client name its request (`accept`) and tells it the name in the answer (`respond`). The id is in every log line
 * and goes to the upstream as `X-Request-Id` in any case. One that does not look like an id is replaced, not refused.
 */
export default {
  name: 'request-id',
  phase: 'observe',
  schema: {
    type: 'object',
    description: 'Lets a client name its request and tells it the name in the answer.',
    properties: {
      header: {
        type: 'string',
        pattern: "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$",
        default: 'x-request-id',
        description: 'The header that carries the id, in the request and in the answer.'
      },
      accept: {
        type: 'boolean',
        default: false,
        description:
          "Take the client's id: 1 to 128 letters, digits and `.` `_` `~` `:` `-`. Otherwise the gateway makes one."
      },
      respond: {
        type: 'boolean',
        default: false,
        description: 'Put the id on the answer, refusals included.'
      }
    },
    additionalProperties: false
  },
  register(route, options) {
    const header = (options.header ?? 'x-request-id').toLowerCase()
    const { accept = false, respond = false } = options

    route.addHook('onRequest', function nameRequest(request, reply, done) {
      if (accept) {
        const id = request.headers[header]
        if (typeof id === 'string' && isRequestId(id)) request.gateway.useRequestId(id)
      }
      if (respond) reply.header(header, request.gateway.requestId)
      done()
    })
  }
} satisfies GatewayPlugin<RequestIdOptions>

/** Ids end up in logs, headers and other people's shells: letters, digits and `-` `.` `:` `_` `~` only. */
function isRequestId(id: string): boolean {
  if (id.length === 0 || id.length > longest) return false
  for (let i = 0; i < id.length; i++) {
    const code = id.charCodeAt(i)
    const isDigitOrColon = code >= 0x30 && code <= 0x3a
    const isLetter = (code >= 0x41 && code <= 0x5a) || (code >= 0x61 && code <= 0x7a)
    const isMark = code === 0x2d || code === 0x2e || code === 0x5f || code === 0x7e
    if (!isDigitOrColon && !isLetter && !isMark) return false
  }
  return true
}
