import { timingSafeEqual } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { FastifyReply, FastifyRequest, HookHandlerDoneFunction } from 'fastify'
import type { RefusalOptions } from '../src/errors.ts'
import type { GatewayPlugin, OptionProblem } from '../src/plugin/define.ts'
import { digestOfKey, idOfKey } from './api-key/key.ts'
import { KeyFileError, parseKeyFile, type StoredKey } from './api-key/key-file.ts'

export interface ApiKeyOptions {
  keys: { file: string }
}

const header = 'x-api-key'
const scheme = 'apikey '

const challenge = 'ApiKey realm="sallyport"'
const noKey: RefusalOptions = { headers: { 'www-authenticate': challenge } }
/** The same for a key that is unknown, revoked or altered; the log says which. */
const badKey = { 'www-authenticate': `${challenge}, error="invalid_token"` }
const expired: RefusalOptions = { headers: badKey }

function ambiguous(detail: string): RefusalOptions {
  return {
    status: 400,
    headers: { 'www-authenticate': `${challenge}, error="invalid_request"` },
    detail
  }
}
const twoCredentials = ambiguous('more than one credential')
const inQuery = ambiguous('a key in the query')

/** Compared with when there is no such key, so that an unknown id takes as long as a wrong secret. */
const nobody = Buffer.alloc(32)

/** The upstream learns who, never by which key. */
const withoutKey = Object.freeze({ [header]: null, authorization: null })

/** Accepts a request that carries a key of a file. */
export default {
  name: 'api-key',
  phase: 'authenticate',
  scheme: 'apikey',
  challenge,
  schema: {
    type: 'object',
    description:
      'Accepts requests that carry a key of a file: `X-API-Key: KEY`, or `Authorization: ApiKey KEY`. The key does not reach the upstream. A key beside another credential, or in the query, gets 400.',
    properties: {
      keys: {
        type: 'object',
        'x-secret': true,
        'x-remedy': 'write { file: PATH }',
        description:
          'The file with the hashes of the keys, their owners and what they may, as `sallyport keys add` writes it. A changed file is in force within a second; a bad one changes nothing. The identity of a key: subject is its owner, issuer the name of the file.',
        properties: {
          file: { type: 'string', minLength: 1, description: 'Path of the file (YAML).' }
        },
        required: ['file'],
        additionalProperties: false
      }
    },
    required: ['keys'],
    additionalProperties: false
  },

  check({ keys }) {
    let text: string
    try {
      text = readFileSync(keys.file, 'utf8')
    } catch {
      // Said where every file that is referred to is looked for.
      return []
    }
    return problemsOf(text, keys.file)
  },

  carries: () => carriesKey,

  credentialHeaders: [header],

  async register(route, { keys }) {
    const { gateway } = route
    const file = await gateway.watchFile(keys.file, parseKeyFile)

    function judge(key: string): StoredKey {
      const id = idOfKey(key)
      const stored = id === undefined ? undefined : file.current.get(id)
      const isSame = timingSafeEqual(digestOfKey(key), stored?.digest ?? nobody)
      if (stored === undefined)
        return gateway.deny('token.invalid', { headers: badKey, detail: 'no such key' })
      if (!isSame)
        return gateway.deny('token.invalid', {
          headers: badKey,
          detail: `not the secret of key ${stored.id}`
        })
      const { expiresAt } = stored.identity
      if (expiresAt !== null && Date.now() >= expiresAt) return gateway.deny('token.expired', expired)
      return stored
    }

    /** Whoever takes a key out of the file wants to be rid of its holder now. */
    function stillHolds(headers: Headers): boolean {
      const key = keyOf(headers)
      const id = typeof key === 'string' ? idOfKey(key) : undefined
      const stored = id === undefined ? undefined : file.current.get(id)
      if (stored === undefined || !timingSafeEqual(digestOfKey(key as string), stored.digest)) return false
      const { expiresAt } = stored.identity
      return expiresAt === null || Date.now() < expiresAt
    }

    route.addHook(
      'onRequest',
      function authenticateApiKey(
        request: FastifyRequest,
        _reply: FastifyReply,
        done: HookHandlerDoneFunction
      ) {
        if (hasKeyInQuery(request.url)) gateway.deny('token.invalid', inQuery)
        const key = keyOf(request.headers)
        if (key === null) return gateway.deny('token.invalid', twoCredentials)
        if (key === undefined) return gateway.deny('token.missing', noKey)
        const known = request.gateway
        known.identity = judge(key).identity
        known.stillHolds = stillHolds
        const before = known.upstreamHeaders
        known.upstreamHeaders = before === null ? withoutKey : { ...before, ...withoutKey }
        done()
      }
    )
  }
} satisfies GatewayPlugin<ApiKeyOptions>

function problemsOf(text: string, file: string): OptionProblem[] {
  try {
    parseKeyFile(text, file)
    return []
  } catch (error) {
    if (!(error instanceof KeyFileError)) throw error
    return error.problems.map(({ line, col, path, message, remedy }) => ({
      path: ['keys', 'file'],
      message: `${file}:${line}:${col}  ${path}  ${message}`,
      remedy
    }))
  }
}

type Headers = FastifyRequest['headers']

/** Also where no key may be: the client is told so, and the upstream does not get it. */
function carriesKey({ headers, url }: FastifyRequest): boolean {
  if (headers[header] !== undefined || isApiKeyScheme(headers.authorization)) return true
  return hasOtherSpelling(headers) || hasKeyInQuery(url)
}

/**
 * Undefined: there is no key. Null: there are two credentials, and nobody knows which of them the upstream goes by. Two
 * `X-API-Key` arrive as one value with a comma, which no key has.
 */
function keyOf(headers: Headers): string | undefined | null {
  const { authorization } = headers
  const own = headers[header]
  if (own !== undefined && (authorization !== undefined || typeof own !== 'string' || own.includes(',')))
    return null
  if (hasOtherSpelling(headers)) return null
  if (own !== undefined) return own as string
  return isApiKeyScheme(authorization) ? authorization?.slice(scheme.length) : undefined
}

/** RFC 9110, 11.4: the scheme in any case, one space, the key. */
function isApiKeyScheme(authorization: string | undefined): boolean {
  return authorization?.slice(0, scheme.length).toLowerCase() === scheme
}

/** `x_api_key` and the like, which some upstreams read as `x-api-key`. */
function hasOtherSpelling(headers: Headers): boolean {
  for (const name in headers) {
    if (name.length !== header.length || name === header || !name.startsWith('x')) continue
    if (name.replaceAll(/[^a-z0-9]/g, '-') === header) return true
  }
  return false
}

/** Of a query without any of these nothing below can be true, whatever is encoded in it. */
const worthReading = /sp_|key|%/i
const namesOfKeys = new Set(['apikey', 'xapikey'])

/** Targets end in logs, histories and `Referer`: a key that was there is burnt, and the client must hear of it. */
function hasKeyInQuery(url: string): boolean {
  const start = url.indexOf('?')
  if (start === -1 || !worthReading.test(url)) return false
  for (const [name, value] of new URLSearchParams(url.slice(start + 1))) {
    if (namesOfKeys.has(name.toLowerCase().replaceAll(/[^a-z0-9]/g, ''))) return true
    if (idOfKey(value) !== undefined) return true
  }
  return false
}
