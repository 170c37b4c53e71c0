import type { FastifyRequest } from 'fastify'
import type { Dispatcher } from 'undici'
import type { ForwardAuthOptions } from './options.ts'

type Question = Pick<Dispatcher.RequestOptions, 'path' | 'method' | 'headers'>

/** What the service is asked. */
export function questioner(options: ForwardAuthOptions): (request: FastifyRequest) => Question {
  const { pathname, search } = new URL(options.url)
  const path = pathname + search
  const prefix = pathname.replace(/\/$/, '')
  const sends = options.sends.map(name => name.toLowerCase())
  if (options.style === 'forward-auth')
    return request => ({ method: 'GET', path, headers: factsOf(request, sends) })

  return function askAsEnvoy(request) {
    const headers = factsOf(request, sends)
    if (request.headers.host !== undefined) headers.host = request.headers.host
    return { method: request.method as Dispatcher.HttpMethod, path: prefix + request.url, headers }
  }
}

/** What the service is told of the request. Only the gateway writes these names: the client's own are not among them. */
function factsOf(
  { headers, method, url, socket, gateway }: FastifyRequest,
  sends: readonly string[]
): Record<string, string> {
  const peer = socket.remoteAddress?.replace(/^::ffff:/, '')
  const isEncrypted = 'encrypted' in socket && socket.encrypted === true
  const claimed = headers['x-forwarded-proto']
  // The gateway takes another address than the socket's only from a proxy that it trusts.
  const isVouchedFor = gateway.clientIp !== peer && (claimed === 'http' || claimed === 'https')
  const facts: Record<string, string> = {
    'x-forwarded-method': method,
    'x-forwarded-proto': isVouchedFor ? String(claimed) : isEncrypted ? 'https' : 'http',
    'x-forwarded-host': headers.host ?? '',
    'x-forwarded-uri': url,
    'x-forwarded-for': gateway.clientIp,
    'x-request-id': gateway.requestId
  }
  for (const name of sends) {
    const value = name === 'cookie' ? gateway.foreignCookies : headers[name]
    if (typeof value === 'string') facts[name] = value
  }
  return facts
}
