import type { IncomingMessage } from 'node:http'
import type { Exchange } from '../exchange.ts'
import type { Identity } from '../identity.ts'
import { setsOwnCookie, withoutOwnCookies } from '../session/cookie.ts'
import type { SignIdentity } from '../signed-identity/signer.ts'
import { formatTraceparent } from '../trace.ts'

/** RFC 9110, 7.6.1, and what RFC 9112 and practice add: these belong to one connection, never to the next. */
const hopByHop = [
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'http2-settings'
]

/** Answered by the gateway, or built by it: a client's own are never forwarded. */
const ours = [
  'host',
  'expect',
  'forwarded',
  'x-real-ip',
  'x-original-url',
  'x-rewrite-url',
  'x-http-method',
  'x-http-method-override',
  'x-method-override',
  'x-request-id',
  'traceparent'
]

/** Everything that says who a request is from or came through. */
const ourPrefixes = ['x-forwarded-', 'x-sallyport-']

const notForwarded = new Set([...hopByHop, ...ours])
const notReturned = new Set([...hopByHop, 'x-sallyport-identity'])

/**
 * Whether a header of this name goes to the upstream. Spellings that a backend may fold into one of ours count as ours: CGI
 * and WSGI read `x_forwarded_user` so, PHP `x.forwarded.user`, lighttpd even `x~forwarded~user`.
 */
export function isForwarded(name: string): boolean {
  const canonical = name.toLowerCase().replaceAll(/[^a-z0-9]/g, '-')
  return !notForwarded.has(canonical) && !ourPrefixes.some(prefix => canonical.startsWith(prefix))
}

/** Whether a header of this name, in lower case, goes back to the client. */
export function isReturned(name: string): boolean {
  return !notReturned.has(name)
}

// Names repeat from request to request, but clients choose them: the memory is bounded, and begins again when it is full, or
// whoever fills it first would keep everybody else's names out for good.
const maxKnownNames = 2000
const knownNames = new Map<string, boolean>()

function isForwardedName(name: string): boolean {
  const known = knownNames.get(name)
  if (known !== undefined) return known
  const answer = isForwarded(name)
  if (knownNames.size >= maxKnownNames) knownNames.clear()
  knownNames.set(name, answer)
  return answer
}

/** Field names that a Connection header nominates; null where it names only connection options. */
function nominated(connection: string | undefined): Set<string> | null {
  if (connection === undefined || connection === 'keep-alive' || connection === 'close') return null
  return new Set(connection.split(',').map(name => name.trim().toLowerCase()))
}

export interface ForwardOptions {
  /** True: the client's Host goes up; otherwise the upstream's own. */
  preserveHost: boolean
  /** Name of the gateway's session cookie, which no upstream gets; null where there is none. */
  sessionCookie: string | null
  /** Signs the identity for the upstream; null where the configuration has no key. */
  signIdentity: SignIdentity | null
  /** Whether a peer's X-Forwarded-For is believed. */
  isTrusted: (address: string) => boolean
}

/**
 * Header of the request to the upstream, as undici takes it: name, value, name, value. Names and values are those that
 * the policy judged (`request.headers`), so that nothing can be read twice in two ways.
 */
export function forwardedHeaders(exchange: Exchange, options: ForwardOptions): string[] {
  const request = exchange.request
  const headers = request.headers
  const drop = nominated(headers.connection)
  const changes = exchange.upstreamHeaders
  const list: string[] = []
  for (const name in headers) {
    if (!isForwardedName(name)) continue
    if (drop?.has(name)) continue
    if (changes !== null && name !== 'content-length' && Object.hasOwn(changes, name)) continue
    if (name === 'tracestate' && exchange.trace.parentId === null) continue
    const value = headers[name]
    if (name === 'cookie' && options.sessionCookie !== null) {
      const rest = withoutOwnCookies(String(value), options.sessionCookie)
      if (rest !== undefined) list.push(name, rest)
    } else if (typeof value === 'string') list.push(name, value)
    else if (Array.isArray(value)) for (const one of value) list.push(name, one)
  }
  if (changes !== null) {
    for (const name in changes) {
      const value = changes[name]
      // The length is the body's, and no plugin changes the body.
      if (typeof value === 'string' && name !== 'content-length' && isForwardedName(name))
        list.push(name, value)
    }
  }
  // HTTP/1.0 knows no Host: undici then sends the upstream's.
  if (options.preserveHost && headers.host !== undefined) list.push('host', headers.host)
  addForwarded(list, request, options)
  list.push('x-request-id', exchange.requestId, 'traceparent', formatTraceparent(exchange.trace))
  const { identity } = exchange
  if (identity !== null) list.push(...identityFields(identity, options.signIdentity))
  return list
}

/** Who a request is from, as upstreams read it: name, value, name, value. */
export function identityFields(identity: Identity, signIdentity: SignIdentity | null): string[] {
  const list = identityHeaders(identity)
  return signIdentity === null ? list : [...list, 'x-sallyport-identity', signIdentity(identity)]
}

/** The way that the request has come. Only a trusted proxy in front is believed about what lies before it. */
function addForwarded(list: string[], request: IncomingMessage, options: ForwardOptions): void {
  const { socket, headers } = request
  const peer = address(socket.remoteAddress ?? '')
  const isTrusted = options.isTrusted(peer)
  const before = isTrusted ? headers['x-forwarded-for'] : undefined
  list.push('x-forwarded-for', before === undefined || before === '' ? peer : `${before}, ${peer}`)
  // The host that was judged, whatever a proxy says: routing and policy have seen no other.
  if (headers.host !== undefined) list.push('x-forwarded-host', headers.host)
  const secure = (socket as { encrypted?: boolean }).encrypted === true
  const proto = isTrusted ? headers['x-forwarded-proto'] : undefined
  const port = isTrusted ? headers['x-forwarded-port'] : undefined
  list.push('x-forwarded-proto', proto === 'https' || proto === 'http' ? proto : secure ? 'https' : 'http')
  list.push('x-forwarded-port', isPort(port) ? port : String(socket.localPort ?? ''))
}

function isPort(value: string | string[] | undefined): value is string {
  return typeof value === 'string' && value.length <= 5 && /^[1-9][0-9]*$/.test(value)
}

/** An IPv4 address that arrived on a dual-stack socket is an IPv4 address. */
export function address(remote: string): string {
  return remote.startsWith('::ffff:') ? remote.slice(7) : remote
}

const maxClaimLength = 1024
/** Many servers take 8 KiB for the whole header. */
const maxGroupsLength = 4096
const identities = new WeakMap<Identity, string[]>()

/** Identities are shared by the requests of one credential, so their headers are made once. */
function identityHeaders(identity: Identity): string[] {
  const known = identities.get(identity)
  if (known !== undefined) return known
  const list = ['x-forwarded-user', encodeClaim(identity.subject)]
  if (identity.email !== null) list.push('x-forwarded-email', encodeClaim(identity.email))
  if (identity.groups.length > 0) list.push('x-forwarded-groups', encodeGroups(identity.groups))
  identities.set(identity, list)
  return list
}

/** Whole groups, as many as fit: half of a name could be the name of another group. */
function encodeGroups(groups: readonly string[]): string {
  let list = ''
  for (const group of groups) {
    const encoded = encodeClaim(group)
    if (list.length + encoded.length >= maxGroupsLength) break
    list += list === '' ? encoded : `,${encoded}`
  }
  return list
}

/** A claim as a header value: printable ASCII as it is, everything else percent-encoded, and never endless. */
export function encodeClaim(claim: string): string {
  const cut = claim.slice(0, maxClaimLength).toWellFormed()
  // By code point: half of an emoji cannot be encoded, and would throw.
  return cut.replaceAll(/[^\x21-\x24\x26-\x2b\x2d-\x7e]/gu, encodeURIComponent)
}

export interface ResponseChanges {
  /** Headers that plugins set on the answer; they win over the upstream's. `vary` and `set-cookie` are added. */
  own: Readonly<Record<string, number | string | string[] | undefined>>
  /** Names that plugins take away; null: none. */
  remove: readonly string[] | null
  /** Turns a Location of the upstream into one of the gateway; null where nothing is rewritten. */
  location: ((value: string, host: string | undefined) => string) | null
  /** Name of the gateway's session cookie, which no upstream may set: it could sign people in as whom it likes. Null: none. */
  sessionCookie: string | null
  /** Host that the client asked for; for `location`. */
  host: string | undefined
}

/** Header of the answer, as `writeHead` takes it, from the upstream's raw one. */
export function returnedHeaders(raw: readonly Buffer[], changes: ResponseChanges): string[] {
  const list: string[] = []
  const { own, remove, location, sessionCookie } = changes
  const nominatedByUpstream = connectionOf(raw)
  for (let i = 0; i < raw.length; i += 2) {
    const name = headerName(raw[i] as Buffer)
    if (notReturned.has(name)) continue
    if (nominatedByUpstream?.has(name)) continue
    if (remove?.includes(name)) continue
    if (name !== 'vary' && name !== 'set-cookie' && Object.hasOwn(own, name)) continue
    const value = (raw[i + 1] as Buffer).toString('latin1')
    if (name === 'set-cookie' && sessionCookie !== null && setsOwnCookie(value, sessionCookie)) continue
    list.push(name, name === 'location' && location !== null ? location(value, changes.host) : value)
  }
  for (const name in own) {
    const value = own[name]
    if (Array.isArray(value)) for (const one of value) list.push(name, one)
    else if (value !== undefined) list.push(name, String(value))
  }
  return list
}

function connectionOf(raw: readonly Buffer[]): Set<string> | null {
  let names: Set<string> | null = null
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as Buffer
    if (name.length !== 10 || headerName(name) !== 'connection') continue
    const found = nominated((raw[i + 1] as Buffer).toString('latin1').toLowerCase())
    if (found !== null) names = names === null ? found : new Set([...names, ...found])
  }
  return names
}

/**
 * What is wrong with the framing of an answer, beyond what undici's parser refuses; null when nothing is. A body after a
 * 204 would be read as the next answer, and a transfer coding that we take off would leave the client with its output.
 */
export function faultyFraming(status: number, raw: readonly Buffer[]): string | null {
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as Buffer
    if (name.length === 14 && headerName(name) === 'content-length') {
      if (status === 204 && (raw[i + 1] as Buffer).toString('latin1') !== '0') return 'body on 204'
    } else if (name.length === 17 && headerName(name) === 'transfer-encoding') {
      if (status === 204) return 'body on 204'
      if ((raw[i + 1] as Buffer).toString('latin1').toLowerCase() !== 'chunked') return 'transfer coding'
    }
  }
  return null
}

export function isChunked(raw: readonly Buffer[]): boolean {
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as Buffer
    if (name.length === 17 && headerName(name) === 'transfer-encoding') return true
  }
  return false
}

const maxKnownResponseNames = 1000
const lowerCased = new Map<string, string>()

function headerName(raw: Buffer): string {
  const name = raw.toString('latin1')
  const known = lowerCased.get(name)
  if (known !== undefined) return known
  const lower = name.toLowerCase()
  if (lowerCased.size >= maxKnownResponseNames) lowerCased.clear()
  lowerCased.set(name, lower)
  return lower
}
