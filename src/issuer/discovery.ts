import { type FetchContext, fetchJson, UnexpectedStatus } from './fetch-json.ts'

const loopback: ReadonlySet<string> = new Set(['localhost', '[::1]'])

/** Whether keys may be fetched from an address: https, and plain http only from this machine itself. */
export function isTrustworthyUrl(text: string): boolean {
  if (!URL.canParse(text)) return false
  const url = new URL(text)
  if (url.username !== '' || url.password !== '') return false
  return url.protocol === 'https:' || (url.protocol === 'http:' && isLoopback(url.hostname))
}

function isLoopback(host: string): boolean {
  // The URL parser writes every spelling of an IPv4 address as four numbers.
  return loopback.has(host) || /^127\.\d+\.\d+\.\d+$/.test(host)
}

/**
 * Where the keys of an issuer are: `jwks_uri` of its OpenID Connect discovery document or, where it has none, of its
 * RFC 8414 metadata. The document must name exactly the issuer that was asked for (RFC 8414 section 3.3), or any
 * issuer on a shared host could answer for another. Rejects when there is no such document.
 */
export async function discoverKeysUrl(issuer: string, context: FetchContext): Promise<string> {
  return urlIn(await discoverMetadata(issuer, context), 'jwks_uri', issuer)
}

export interface IntrospectionEndpoint {
  readonly url: string
  /** How the gateway says who it is: RFC 6749, 2.3.1. */
  readonly authentication: 'client_secret_basic' | 'client_secret_post'
}

/** Where the issuer answers for tokens (RFC 8414, section 2). Rejects where it does not, or not to a client with a secret. */
export async function discoverIntrospection(
  issuer: string,
  context: FetchContext
): Promise<IntrospectionEndpoint> {
  const document = await discoverMetadata(issuer, context)
  const url = urlIn(document, 'introspection_endpoint', issuer)
  // RFC 8414 says nothing of what holds when it is left out; of the token endpoint it says `client_secret_basic`.
  const methods = document.introspection_endpoint_auth_methods_supported ??
    document.token_endpoint_auth_methods_supported ?? ['client_secret_basic']
  for (const authentication of ['client_secret_basic', 'client_secret_post'] as const)
    if (Array.isArray(methods) && methods.includes(authentication)) return { url, authentication }
  throw new Error(`the introspection endpoint of ${issuer} takes no client secret`)
}

async function discoverMetadata(issuer: string, context: FetchContext): Promise<Record<string, unknown>> {
  if (!isTrustworthyUrl(issuer)) throw new Error(`${issuer} is neither https nor on the loopback interface`)
  const document = await fetchMetadata(issuer, context)
  if (document.issuer !== issuer) throw new Error(`the metadata of ${issuer} is that of another issuer`)
  return document
}

function urlIn(document: Record<string, unknown>, name: string, issuer: string): string {
  const url = document[name]
  if (typeof url !== 'string' || !isTrustworthyUrl(url)) {
    throw new Error(`the metadata of ${issuer} names no ${name} that is https or on the loopback interface`)
  }
  if (url.startsWith('http:') && !issuer.startsWith('http:')) {
    throw new Error(`the metadata of ${issuer} names a ${name} without TLS`)
  }
  return url
}

async function fetchMetadata(issuer: string, context: FetchContext): Promise<Record<string, unknown>> {
  const [openid, oauth] = metadataUrls(issuer)
  let document: unknown
  try {
    document = await fetchJson(openid, context)
  } catch (error) {
    const isAbsent = error instanceof UnexpectedStatus && error.status >= 400 && error.status < 500
    if (!isAbsent) throw error
    document = await fetchJson(oauth, context)
  }
  if (typeof document !== 'object' || document === null)
    throw new Error(`the metadata of ${issuer} is not an object`)
  return document as Record<string, unknown>
}

/** OpenID Connect appends to the path of the issuer, RFC 8414 section 3.1 inserts before it. */
function metadataUrls(issuer: string): [openid: string, oauth: string] {
  const base = issuer.endsWith('/') ? issuer.slice(0, -1) : issuer
  const { origin, pathname } = new URL(base)
  const path = pathname === '/' ? '' : pathname
  return [
    `${base}/.well-known/openid-configuration`,
    `${origin}/.well-known/oauth-authorization-server${path}`
  ]
}
