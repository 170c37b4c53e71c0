import { hash } from 'node:crypto'
import { normalizeIP } from '@fastify/rate-limit'
import type { FastifyRequest } from 'fastify'
import { LruMap } from 'toad-cache'

export type PrincipalKey = (request: FastifyRequest) => string

/** Longest text that is kept as it is: 100,000 keys must not cost gigabytes because somebody sends long ones. */
const longest = 200

/** Normalising an IPv6 address costs microseconds, and clients come back. */
const networks = new LruMap<string>(10_000)

/**
 * Whom to count a request for. Every kind has a prefix of its own and every variable part comes last or with its length,
 * so that two principals never share a key.
 *
 * @param by `identity.subject` (issuer and subject), `identity.issuer`, `client.ip` (IPv6 by /64), `route` (one count for
 * everybody) or `header:NAME` (hashed, as it may be a secret; the client's address when the request lacks the header)
 * @throws Error when `by` is none of these, or needs an identity on a public route
 */
export function principalKey(by: string, publicRoute: boolean): PrincipalKey {
  if (by.startsWith('identity.') && publicRoute) {
    throw new Error(
      `by: ${by} needs an identity, but the route is public; use client.ip, or remove public: true`
    )
  }
  if (by === 'identity.subject') return subjectKey
  if (by === 'identity.issuer') return issuerKey
  if (by === 'client.ip') return addressKey
  if (by === 'route') return routeKey
  if (by.startsWith('header:') && by.length > 'header:'.length)
    return headerKey(by.slice('header:'.length).toLowerCase())
  throw new Error(
    `by: ${by} is not known; use identity.subject, identity.issuer, client.ip, route or header:NAME`
  )
}

function subjectKey(request: FastifyRequest): string {
  const { issuer, subject } = identityOf(request)
  const text = `${issuer.length}:${issuer}${subject}`
  return text.length <= longest ? `s:${text}` : `S:${digest(text)}`
}

function issuerKey(request: FastifyRequest): string {
  const { issuer } = identityOf(request)
  return issuer.length <= longest ? `i:${issuer}` : `I:${digest(issuer)}`
}

function addressKey(request: FastifyRequest): string {
  return `a:${networkOf(request.gateway.clientIp)}`
}

function routeKey(): string {
  return 'r'
}

function headerKey(name: string): PrincipalKey {
  return function keyOfHeader(request) {
    const value = request.headers[name]
    if (value === undefined) return addressKey(request)
    return `h:${digest(Array.isArray(value) ? value.join(',') : value)}`
  }
}

/** One household or server owns a /64, so anything narrower is no limit at all; `::ffff:` is the IPv4 address it wraps. */
export function networkOf(address: string): string {
  if (!address.includes(':')) return address
  let network = networks.get(address)
  if (network === undefined) {
    network = normalizeIP(address)
    networks.set(address, network)
  }
  return network
}

function identityOf(request: FastifyRequest) {
  const { identity } = request.gateway
  if (identity === null) throw new Error('the request carries no identity to count for')
  return identity
}

function digest(text: string): string {
  return hash('sha256', text, 'base64url')
}
