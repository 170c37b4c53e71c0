import type { FastifyRequest } from 'fastify'
import type { Config, RouteConfig } from '../../src/config/schema.ts'
import type { OptionProblem } from '../../src/plugin/define.ts'

/** Where a token may be. */
export type Source = 'header' | 'subprotocol' | { cookie: string } | { query: string }

export const header = 'header'
export const subprotocol = 'subprotocol'

/** A token; undefined: there is none; null: there is more than one, and nobody knows which one another reader takes. */
export type Found = string | undefined | null

type Take = (request: FastifyRequest) => readonly string[]

const nothing: readonly string[] = []

/** What a browser offers beside its token, because it wants one of its offers chosen. */
const marker = 'bearer'
/** As the API server of Kubernetes takes it. */
const encodedPrefix = 'base64url.bearer.authorization.k8s.io.'
const base64url = /^[A-Za-z0-9_-]+$/

/**
 * A function that finds the token of a request, and takes it out of what is forwarded unless it is in the header. Null where
 * that is the only place: then there is nothing to compare.
 */
export function readers(sources: readonly Source[]): ((request: FastifyRequest) => Found) | null {
  const takes = sources.filter(source => source !== header).map(takeFrom)
  if (takes.length === 0) return null
  const usesHeader = sources.includes(header)
  return function findToken(request) {
    const { authorization } = request.headers
    const found = takes.flatMap(take => take(request))
    // Any scheme: the upstream may read a credential in it.
    if (authorization !== undefined)
      return found.length > 0 ? null : usesHeader ? bearer(authorization) : undefined
    return found.length > 1 ? null : found[0]
  }
}

/** Takes the tokens out of what is forwarded, wherever the sources look but in the header. */
export function taker(sources: readonly Source[]): (request: FastifyRequest) => void {
  const takes = sources.filter(source => source !== header).map(takeFrom)
  return function takeTokens(request) {
    for (const take of takes) take(request)
  }
}

function bearer(authorization: string): string | undefined {
  return authorization.slice(0, 7).toLowerCase() === 'bearer ' && authorization.length > 7
    ? authorization.slice(7)
    : undefined
}

function takeFrom(source: Source): Take {
  if (typeof source === 'string') return takeOffers
  if ('cookie' in source) return request => takeCookies(request, source.cookie)
  return request => request.gateway.takeQuery(source.query)
}

/** `bearer, <token>` side by side, or the token in base64url behind a prefix, among the subprotocols of a WebSocket. */
function takeOffers({ headers, gateway }: FastifyRequest): readonly string[] {
  const offered = headers['sec-websocket-protocol']
  if (offered === undefined) return nothing
  const offers = offered.split(',').map(offer => offer.trim())
  const tokens: string[] = []
  const rest: string[] = []
  let isMarked = false
  for (let i = 0; i < offers.length; i++) {
    const offer = offers[i] as string
    if (offer === marker && i + 1 < offers.length) {
      isMarked = true
      tokens.push(offers[++i] as string)
    } else if (offer.startsWith(encodedPrefix)) tokens.push(decode(offer.slice(encodedPrefix.length)))
    else rest.push(offer)
  }
  if (tokens.length === 0) return nothing
  if (rest.length > 0) headers['sec-websocket-protocol'] = rest.join(', ')
  else {
    delete headers['sec-websocket-protocol']
    if (isMarked) gateway.ownSubprotocol = marker
  }
  return tokens
}

/** What is not base64url is no token either, and is judged as the one that it is not. */
function decode(text: string): string {
  return base64url.test(text) ? Buffer.from(text, 'base64url').toString('latin1') : ''
}

function takeCookies({ headers }: FastifyRequest, name: string): readonly string[] {
  const { cookie } = headers
  if (cookie === undefined) return nothing
  const tokens: string[] = []
  const rest: string[] = []
  for (const pair of cookie.split(';')) {
    const equals = pair.indexOf('=')
    if (equals !== -1 && pair.slice(0, equals).trim() === name)
      tokens.push(unquoted(pair.slice(equals + 1).trim()))
    else if (pair.trim() !== '') rest.push(pair.trim())
  }
  if (tokens.length === 0) return nothing
  if (rest.length > 0) headers.cookie = rest.join('; ')
  else delete headers.cookie
  return tokens
}

type Carries = (request: FastifyRequest) => boolean

/** Three parts of base64url, the last one empty in a token that nobody has signed. */
const jwtShape = /^[\w-]+\.[\w-]+\.[\w-]*$/

/**
 * Whether a request has a token where one of the sources looks, good or bad; nothing is taken out. In the header only what has
 * the shape of a JWT counts: other bearer tokens are for other plugins.
 */
export function carrier(sources: readonly Source[]): Carries {
  const looks = sources.map(lookInto)
  return request => looks.some(look => look(request))
}

function lookInto(source: Source): Carries {
  if (source === 'header') return ({ headers }) => jwtShape.test(bearer(headers.authorization ?? '') ?? '')
  if (source === 'subprotocol') return offersToken
  if ('cookie' in source) return ({ headers }) => hasCookie(headers.cookie, source.cookie)
  return ({ url }) => url.includes('?') && new URLSearchParams(url.slice(url.indexOf('?'))).has(source.query)
}

function offersToken({ headers }: FastifyRequest): boolean {
  const offers = headers['sec-websocket-protocol']?.split(',').map(offer => offer.trim()) ?? []
  return offers.some(
    (offer, at) => offer.startsWith(encodedPrefix) || (offer === marker && at + 1 < offers.length)
  )
}

function hasCookie(cookie: string | undefined, name: string): boolean {
  const pairs = cookie?.split(';') ?? []
  return pairs.some(pair => pair.includes('=') && pair.slice(0, pair.indexOf('=')).trim() === name)
}

/** RFC 6265, 4.1.1. */
function unquoted(value: string): string {
  return value.length > 1 && value.startsWith('"') && value.endsWith('"') ? value.slice(1, -1) : value
}

/** Sources that are for WebSocket only, and the one that needs a look at where the page is from. */
export function sourceProblems(
  from: readonly Source[] | undefined,
  config: Config,
  route: RouteConfig | null
): OptionProblem[] {
  const problems: OptionProblem[] = []
  for (const [at, source] of (from ?? []).entries()) {
    if (source === header) continue
    const path = ['from', at]
    if (route?.match.protocol !== 'websocket') {
      problems.push({
        path,
        message: 'needs a route with protocol: websocket',
        remedy: 'use header, or write this jwt on that route'
      })
    } else if (typeof source === 'object' && 'cookie' in source && !judgesOrigins(config, route)) {
      problems.push({
        path,
        message: 'lets pages of any site in with the cookies of their visitors',
        remedy: 'add the plugin protocol with origins to the route'
      })
    }
  }
  return problems
}

function judgesOrigins(config: Config, route: RouteConfig): boolean {
  return [...config.plugins, ...route.plugins].some(({ name, options }) => {
    return name === 'protocol' && (options as { origins?: unknown } | undefined)?.origins !== undefined
  })
}
