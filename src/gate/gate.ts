import type { IncomingMessage } from 'node:http'
import { Refusal } from '../errors.ts'
import { finding, type HeaderReport, judgeHeaders } from './headers.ts'
import { isHost } from './host.ts'
import type { Http2Request } from './http2-request.ts'
import { allowedMethods } from './raw-problem.ts'
import { judgeTarget, longTarget, malformedTarget, traits } from './target.ts'

export { encodedSlashTraits, traits } from './target.ts'

export interface GateOptions {
  /** Most header fields of a request. */
  maxHeaderCount: number
  /** Longest path of a target, without its query, in bytes. */
  maxPathBytes: number
}

// One refusal per rule, made once: a flood of bad requests costs no allocation, and the log can tell the rules apart.
export const refusals = Object.freeze({
  version: malformed('HTTP version other than 1.0 and 1.1'),
  headerCount: malformed('too many header fields', 431),
  headerBytes: malformed('the header fields are too large', 431),
  duplicate: malformed('a header field that may come once came twice'),
  transferEncoding: malformed('Transfer-Encoding other than chunked'),
  contentLength: malformed('Content-Length is not a canonical number'),
  connection: malformed('Connection names a protected header field'),
  disguise: malformed('a protected header field is spelled with an underscore'),
  expectation: malformed('Expect other than 100-continue', 417),
  noHost: malformed('Host is missing'),
  badHost: malformed('Host is not a host and port'),
  otherHost: malformed('the authority of the target differs from Host'),
  scheme: malformed('the scheme is neither http nor https'),
  unknownMethod: malformed('no method that HTTP/1 knows'),
  target: malformed('the target is not in canonical form'),
  targetTooLong: malformed('the path is too long', 414),
  method: new Refusal('protocol.method', {
    headers: { allow: allowedMethods },
    detail: 'method is never forwarded'
  })
})

function malformed(detail: string, status = 400): Refusal {
  return new Refusal('request.malformed', { status, detail })
}

const kTraits = Symbol('sallyport.traits')
type JudgedRequest = (IncomingMessage | Http2Request) & { [kTraits]?: number }

/** What the last call of `judgeFields` has found. One object for all requests: nothing of it is kept. */
export const report: Readonly<HeaderReport> = {
  finding: finding.none,
  underscores: false,
  nominates: false,
  host: null
}

/**
 * Judges one parsed HTTP/1 request before anything else sees it. A target in absolute-form is turned into origin-form
 * here, once, so that routing, policy and forwarding all read the same `request.url`.
 * @returns null when it is well formed; otherwise the refusal to answer with, after which the connection is closed
 */
export function judgeRequest(request: IncomingMessage, options: GateOptions): Refusal | null {
  // llhttp also takes 0.9 and 2.0.
  if (request.httpVersionMajor !== 1 || request.httpVersionMinor > 1) return refusals.version
  const { rawHeaders } = request
  // Node's own `maxHeadersCount` drops what is beyond it and passes the request on.
  if (rawHeaders.length > options.maxHeaderCount * 2) return refusals.headerCount

  const isOld = request.httpVersionMinor === 0
  const faulty = judgeFields(rawHeaders, isOld)
  if (faulty !== null) return faulty

  const { host } = report
  // HTTP/1.0 knows no Host; such a request matches routes without hosts only.
  if (host === null) {
    if (!isOld) return refusals.noHost
  } else if (!isHost(host)) return refusals.badHost

  if (!isForwardable(request.method)) return refusals.method

  let url = request.url ?? ''
  if (url.charCodeAt(0) !== 0x2f) {
    const authorityEnd = endOfAuthority(url)
    // Also refuses `*`: the gateway answers nothing of its own.
    if (authorityEnd === -1) return refusals.target
    if (host === null || !isAuthority(url, authorityEnd, host)) return refusals.otherHost
    url = originForm(url, authorityEnd)
    request.url = url
  }
  const astray = judgeOriginForm(request, url, options.maxPathBytes)
  if (astray !== null) return astray
  if (report.nominates) dropNominated(request)
  return null
}

/** Judges the fields of a request of either protocol; `report` then holds what else is to be known of them. */
export function judgeFields(rawHeaders: readonly string[], isOld: boolean): Refusal | null {
  judgeHeaders(rawHeaders, isOld, report)
  return report.finding === finding.none ? null : refusalFor(report.finding)
}

/** Judges a target in origin-form, and leaves its traits and those of the fields on the request. */
export function judgeOriginForm(request: JudgedRequest, url: string, maxPathBytes: number): Refusal | null {
  const found = judgeTarget(url, maxPathBytes)
  if (found === malformedTarget) return refusals.target
  if (found === longTarget) return refusals.targetTooLong
  const all = report.underscores ? found | traits.underscores : found
  if (all !== 0) request[kTraits] = all
  return null
}

/** Flags of `traits` that the route has to allow: underscores in header names, escapes of separators in the path. */
export function requestTraits(request: IncomingMessage | Http2Request): number {
  return (request as JudgedRequest)[kTraits] ?? 0
}

/** RFC 9110 7.6.1: such a field is for us alone. It must not be there for routing and policy when the upstream never sees it. */
function dropNominated({ headers }: IncomingMessage): void {
  for (const option of (headers.connection ?? '').split(',')) {
    const name = option.trim().toLowerCase()
    if (name !== 'upgrade' && name !== 'connection') delete headers[name]
  }
}

function refusalFor(found: HeaderReport['finding']): Refusal {
  switch (found) {
    case finding.duplicate:
      return refusals.duplicate
    case finding.transferEncoding:
      return refusals.transferEncoding
    case finding.contentLength:
      return refusals.contentLength
    case finding.connection:
      return refusals.connection
    case finding.expectation:
      return refusals.expectation
    default:
      return refusals.disguise
  }
}

/**
 * TRACE echoes credentials; CONNECT asks for a tunnel; the others that llhttp knows belong to RTSP and Icecast, whose
 * request lines it takes as HTTP/1.0.
 */
const refusedMethods = new Set([
  'ANNOUNCE',
  'CONNECT',
  'DESCRIBE',
  'FLUSH',
  'GET_PARAMETER',
  'PAUSE',
  'PLAY',
  'PRI',
  'RECORD',
  'REDIRECT',
  'SETUP',
  'SET_PARAMETER',
  'SOURCE',
  'TEARDOWN',
  'TRACE'
])

export function isForwardable(method: string | undefined): boolean {
  return method === 'GET' || method === 'POST' || (method !== undefined && !refusedMethods.has(method))
}

/** Index after the authority of `http://authority…` or `https://authority…`; -1 when the target has neither form. */
function endOfAuthority(url: string): number {
  const scheme = url.slice(0, 8).toLowerCase()
  const start = scheme === 'https://' ? 8 : scheme.startsWith('http://') ? 7 : -1
  if (start === -1) return -1
  for (let i = start; i < url.length; i++) {
    const code = url.charCodeAt(i)
    if (code === 0x2f || code === 0x3f || code === 0x23) return i
  }
  return url.length
}

function isAuthority(url: string, end: number, host: string): boolean {
  const start = end - host.length
  return url.slice(0, start).endsWith('//') && url.slice(start, end).toLowerCase() === host.toLowerCase()
}

function originForm(url: string, authorityEnd: number): string {
  const rest = url.slice(authorityEnd)
  return rest.charCodeAt(0) === 0x2f ? rest : `/${rest}`
}
