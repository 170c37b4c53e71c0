import type { ServerResponse } from 'node:http'
import type { Refusal } from './errors.ts'
import type { Exchange } from './exchange.ts'
import { hasBody } from './proxy/body.ts'

export const problemType = 'application/problem+json; charset=utf-8'

/**
 * A problem document (RFC 9457). It holds nothing but the catalogue's words and the request id: no text of an upstream,
 * a key source, a plugin or the file system ever gets here.
 */
export function problemBody(refusal: Refusal, requestId: string): string {
  return JSON.stringify({
    type: `urn:sallyport:problem:${refusal.reason}`,
    title: refusal.title,
    status: refusal.status,
    code: refusal.code,
    reason: refusal.reason,
    requestId
  })
}

/**
 * Answers with the problem document of a refusal. `kept` are headers that plugins had set on the answer before
 * (CORS, rate limits): a refusal keeps them, a client needs them to read it.
 * @returns bytes of the body that was sent
 */
export function sendProblem(
  response: ServerResponse,
  refusal: Refusal,
  requestId: string,
  kept: Readonly<Record<string, number | string | string[] | undefined>> | null,
  close: boolean
): number {
  const body = problemBody(refusal, requestId)
  const length = Buffer.byteLength(body)
  const headers: Record<string, number | string | string[] | undefined> = {
    'content-type': problemType,
    'content-length': length,
    'cache-control': 'no-store',
    'x-request-id': requestId
  }
  if (close) headers.connection = 'close'
  // Fastify puts an upstream's header on the raw response before the first byte of its body: none of it is ours.
  for (const name of response.getHeaderNames()) response.removeHeader(name)
  try {
    response.writeHead(refusal.status, { ...kept, ...refusal.headers, ...headers })
  } catch {
    // A plugin has set a header that cannot be sent. The refusal can.
    response.writeHead(refusal.status, headers)
  }
  if (response.req.method === 'HEAD') {
    response.end()
    return 0
  }
  response.end(body)
  return length
}

/** Answers an exchange with a refusal, if it can still be answered. */
export function answer(exchange: Exchange, refusal: Refusal, kept: Parameters<typeof sendProblem>[3]): void {
  const { request, response } = exchange
  exchange.refuse(refusal.reason, null, refusal.detail ?? null)
  if (response.headersSent || response.destroyed) {
    response.destroy()
    return
  }
  // What is left of a body that nobody reads must not be taken for the next request.
  const close = refusal.reason === 'request.malformed' || (hasBody(request) && !request.complete)
  exchange.bytesOut = sendProblem(response, refusal, exchange.requestId, kept, close)
}
