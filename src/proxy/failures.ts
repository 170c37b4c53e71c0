import type { Reason } from '../errors.ts'

/**
 * What an error of the transport means to a client: the table behind 502, 503 and 504. Codes are Node's, OpenSSL's,
 * llhttp's (`HPE_`), undici's (`UND_ERR_`) and those of http2/errors.ts (`HTTP2_`); texts are never shown.
 */
const byCode: Readonly<Record<string, Reason>> = {
  ECONNREFUSED: 'upstream.connect',
  ENOTFOUND: 'upstream.connect',
  EAI_AGAIN: 'upstream.connect',
  EHOSTUNREACH: 'upstream.connect',
  ENETUNREACH: 'upstream.connect',
  EADDRNOTAVAIL: 'upstream.connect',
  ECONNABORTED: 'upstream.reset',
  ECONNRESET: 'upstream.reset',
  EPIPE: 'upstream.reset',
  UND_ERR_SOCKET: 'upstream.reset',
  UND_ERR_CONNECT_TIMEOUT: 'upstream.timeout',
  UND_ERR_HEADERS_TIMEOUT: 'upstream.timeout',
  UND_ERR_BODY_TIMEOUT: 'upstream.timeout',
  ETIMEDOUT: 'upstream.timeout',
  UND_ERR_HEADERS_OVERFLOW: 'upstream.protocol',
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: 'upstream.protocol',
  UND_ERR_RES_EXCEEDED_MAX_SIZE: 'upstream.protocol',
  ERR_INVALID_CHAR: 'upstream.protocol',
  ERR_HTTP_INVALID_STATUS_CODE: 'upstream.protocol',
  ERR_HTTP_INVALID_HEADER_VALUE: 'upstream.protocol',
  // undici or node:http2 refuses what we send: only a plugin's header can be at fault, the client's have passed the gate.
  UND_ERR_INVALID_ARG: 'plugin.failed',
  ERR_HTTP2_HEADER_SINGLE_VALUE: 'plugin.failed',
  ERR_HTTP2_INVALID_CONNECTION_HEADERS: 'plugin.failed',
  ERR_INVALID_HTTP_TOKEN: 'plugin.failed',
  UND_ERR_NOT_SUPPORTED: 'plugin.failed',
  // nghttp2 cannot make sense of what the upstream sends, and the session is over.
  ERR_HTTP2_ERROR: 'upstream.protocol',
  ERR_HTTP2_TOO_MANY_INVALID_FRAMES: 'upstream.protocol',
  HTTP2_PROTOCOL_ERROR: 'upstream.protocol',
  HTTP2_FLOW_CONTROL_ERROR: 'upstream.protocol',
  HTTP2_SETTINGS_TIMEOUT: 'upstream.protocol',
  HTTP2_STREAM_CLOSED: 'upstream.protocol',
  HTTP2_FRAME_SIZE_ERROR: 'upstream.protocol',
  HTTP2_COMPRESSION_ERROR: 'upstream.protocol',
  HTTP2_HTTP_1_1_REQUIRED: 'upstream.protocol',
  HTTP2_FLOOD: 'upstream.protocol',
  HTTP2_NOT_CHOSEN: 'upstream.protocol',
  ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL: 'upstream.protocol',
  HTTP2_INADEQUATE_SECURITY: 'upstream.tls',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'upstream.tls',
  SELF_SIGNED_CERT_IN_CHAIN: 'upstream.tls',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'upstream.tls',
  UNABLE_TO_GET_ISSUER_CERT: 'upstream.tls',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'upstream.tls',
  HOSTNAME_MISMATCH: 'upstream.tls',
  INVALID_PURPOSE: 'upstream.tls',
  EPROTO: 'upstream.tls'
}

const byPrefix: readonly (readonly [string, Reason])[] = [
  ['HPE_', 'upstream.protocol'],
  ['CERT_', 'upstream.tls'],
  ['ERR_TLS_', 'upstream.tls'],
  ['ERR_SSL_', 'upstream.tls']
]

/** undici says these with one code and different texts: the upstream answered, but not in HTTP. */
const protocolTexts = new Set(['bad response', 'bad upgrade'])

/** The reason for an error of the transport; an unknown one is a broken connection. */
export function reasonOf(error: unknown): Reason {
  if (error instanceof AggregateError && error.errors.length > 0) return reasonOf(error.errors[0])
  const { code, message, name } = error as { code?: unknown; message?: string; name?: string }
  // undici's own parser errors: their code is missing where llhttp has numbered it and undici has no name for it.
  if (name === 'HTTPParserError') return 'upstream.protocol'
  if (typeof code !== 'string') return 'upstream.reset'
  if (code === 'UND_ERR_SOCKET' && protocolTexts.has(message ?? '')) return 'upstream.protocol'
  const reason = byCode[code]
  if (reason !== undefined) return reason
  for (const [prefix, prefixed] of byPrefix) {
    if (code.startsWith(prefix)) return prefixed
  }
  return 'upstream.reset'
}

/** The length in a 304 is that of the body that there would have been (RFC 9110, 8.6); undici misses that body. */
export function isLengthMismatch(error: Error): boolean {
  return (error as { code?: unknown }).code === 'UND_ERR_RES_CONTENT_LENGTH_MISMATCH'
}

/** For the log only: the code says more than the text, and holds no addresses. */
export function detailOf(error: Error): string {
  const code = (error as { code?: unknown }).code
  return typeof code === 'string' ? code : error.message
}
