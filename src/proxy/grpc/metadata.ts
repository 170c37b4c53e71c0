import type { OutgoingHttpHeaders } from 'node:http2'
import type { Exchange } from '../../exchange.ts'
import { setsOwnCookie } from '../../session/cookie.ts'
import type { Endpoint } from '../endpoint.ts'
import { type ForwardOptions, forwardedHeaders, isReturned } from '../headers.ts'
import { sendable } from '../http2/request-headers.ts'
import { fromWeb } from './content-type.ts'
import { formatTimeout } from './deadline.ts'

/** Name, value, name, value; pseudo-headers first. */
export type HeaderList = string[]

type OwnHeaders = Readonly<Record<string, number | string | string[] | undefined>>

export interface CallHead {
  readonly path: string
  readonly forward: ForwardOptions
  readonly isWeb: boolean
}

const authorities = new WeakMap<Endpoint, readonly [scheme: string, authority: string]>()

/** An endpoint's origin in the words of HTTP/2. */
function authorityOf(endpoint: Endpoint): readonly [string, string] {
  const known = authorities.get(endpoint)
  if (known !== undefined) return known
  const { protocol, host } = new URL(endpoint.origin)
  const made = [protocol.slice(0, -1), host] as const
  authorities.set(endpoint, made)
  return made
}

/**
 * Header of the call to the upstream: what the client sent, as `forwardedHeaders` lets it through, in the form of HTTP/2.
 * @param left milliseconds that the client still waits; null where it has set no deadline
 */
export function callHeaders(
  exchange: Exchange,
  endpoint: Endpoint,
  { path, forward, isWeb }: CallHead,
  left: number | null
): HeaderList {
  const [scheme, authority] = authorityOf(endpoint)
  const list = [':method', 'POST', ':scheme', scheme, ':path', path, ':authority', authority]
  // Servers take a call without it for one that came through a proxy which loses trailers.
  list.push('te', 'trailers')
  const forwarded = forwardedHeaders(exchange, forward)
  for (let i = 0; i < forwarded.length; i += 2) {
    const name = forwarded[i] as string
    const value = sendable(forwarded[i + 1] as string, name)
    if (name === 'host') list[7] = value
    // What is left of it is told below; the length is that of the frames, and theirs differ.
    else if (name === 'grpc-timeout' || name === 'content-length') continue
    else list.push(name, isWeb && name === 'content-type' ? fromWeb(value) : value)
  }
  if (left !== null) list.push('grpc-timeout', formatTimeout(left))
  return list
}

/** Adds to `list` what an upstream's head or trailers hold, without what belongs to its connection or is taken away. */
export function addReturned(
  list: HeaderList,
  raw: readonly string[],
  own: OwnHeaders,
  { removeResponseHeaders: remove, observer }: Exchange
): void {
  const sessionCookie = observer.sessionCookie ?? null
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as string
    if (name.charCodeAt(0) === 0x3a || !isReturned(name)) continue
    if (remove?.includes(name)) continue
    if (name !== 'vary' && Object.hasOwn(own, name)) continue
    const value = raw[i + 1] as string
    // gRPC-Web brings metadata into browsers.
    if (name === 'set-cookie' && sessionCookie !== null && setsOwnCookie(value, sessionCookie)) continue
    list.push(name, value)
  }
}

/** Adds to `list` what plugins have set on the answer. Throws for a value that cannot be sent. */
export function addOwn(list: HeaderList, own: OwnHeaders): void {
  for (const name in own) {
    const value = own[name]
    if (Array.isArray(value)) for (const one of value) list.push(name, sendable(one, name))
    else if (value !== undefined) list.push(name, sendable(String(value), name))
  }
}

/** The form that trailers are sent in: Node takes no list there. */
export function byName(list: readonly string[]): OutgoingHttpHeaders {
  const fields: OutgoingHttpHeaders = Object.create(null)
  for (let i = 0; i < list.length; i += 2) {
    const name = list[i] as string
    const value = list[i + 1] as string
    const before = fields[name]
    if (before === undefined) fields[name] = value
    else if (Array.isArray(before)) before.push(value)
    else fields[name] = [before as string, value]
  }
  return fields
}

export function fieldOf(list: readonly string[], name: string): string | null {
  for (let i = 0; i < list.length; i += 2) if (list[i] === name) return list[i + 1] as string
  return null
}
