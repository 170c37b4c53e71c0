import type { OptionProblem } from '../../src/plugin/define.ts'

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

const token = "^[!#$%&'*+.^`|~0-9A-Za-z-]+$"

/** What belongs to a connection, or is the gateway's to write: in the hands of the service it would never arrive. */
const reserved =
  /^(connection|keep-alive|proxy-.*|te|trailer|transfer-encoding|upgrade|http2-settings|host|expect|content-length|forwarded|x-forwarded-.*|x-sallyport-.*|x-real-ip|x-original-url|x-rewrite-url|x-http-method(-override)?|x-method-override|x-request-id|traceparent)$/

export const schema: object = {
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
}

export function check({ url, style, sends, headers }: ForwardAuthOptions): OptionProblem[] {
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
}

/** Who reads these in the upstream takes them for the service's word. */
export function ownNames({ headers, subject }: ForwardAuthOptions): string[] {
  return (subject === undefined ? headers : [...headers, subject]).map(name => name.toLowerCase())
}

/** One spelling for all that an upstream may take for the same name. */
export function fold(name: string): string {
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
