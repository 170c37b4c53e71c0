import type { Exchange } from '../../exchange.ts'
import { type ForwardOptions, forwardedHeaders, returnedHeaders } from '../headers.ts'
import type { RewriteLocation } from '../rewrite.ts'

type OwnHeaders = Readonly<Record<string, number | string | string[] | undefined>>

/** RFC 6455, 11.3: the handshake of one connection. The other one has its own. */
const handshakePrefix = 'sec-websocket-'

/** Header of the handshake to the upstream, as node:http takes it. */
export function dialledHeaders(
  exchange: Exchange,
  options: ForwardOptions
): Record<string, string | string[]> {
  const list = forwardedHeaders(exchange, options)
  const headers: Record<string, string | string[]> = Object.create(null)
  for (let i = 0; i < list.length; i += 2) {
    const name = list[i] as string
    if (isOfConnection(name)) continue
    const value = list[i + 1] as string
    const before = headers[name]
    headers[name] = before === undefined ? value : [before, value].flat()
  }
  return headers
}

/** Fields of the upstream's answer, and those that plugins set on it, for the client's 101. */
export function acceptedFields(exchange: Exchange, rawHeaders: readonly string[], own: OwnHeaders): string[] {
  const fields = returnedFields(exchange, rawHeaders, own, null)
  return pairsWhere(fields, name => !name.startsWith(handshakePrefix) && name !== 'content-length')
}

/** Fields of an answer that is none to a handshake: as for a request over HTTP, with a length of our own. */
export function refusedFields(
  exchange: Exchange,
  rawHeaders: readonly string[],
  own: OwnHeaders,
  location: RewriteLocation | null,
  hasBody: boolean
): string[] {
  const fields = returnedFields(exchange, rawHeaders, own, location)
  return pairsWhere(fields, name => (hasBody ? name !== 'content-length' : !name.startsWith('content-')))
}

export function buffersOf(rawHeaders: readonly string[]): Buffer[] {
  return rawHeaders.map(text => Buffer.from(text, 'latin1'))
}

function returnedFields(
  { removeResponseHeaders, request, observer }: Exchange,
  rawHeaders: readonly string[],
  own: OwnHeaders,
  location: RewriteLocation | null
): string[] {
  return returnedHeaders(buffersOf(rawHeaders), {
    own,
    remove: removeResponseHeaders,
    location,
    sessionCookie: observer.sessionCookie ?? null,
    host: request.headers.host
  })
}

function isOfConnection(name: string): boolean {
  return name.startsWith(handshakePrefix) || name === 'content-length'
}

function pairsWhere(fields: readonly string[], keeps: (name: string) => boolean): string[] {
  const kept: string[] = []
  for (let i = 0; i < fields.length; i += 2) {
    if (keeps((fields[i] as string).toLowerCase())) kept.push(fields[i] as string, fields[i + 1] as string)
  }
  return kept
}
