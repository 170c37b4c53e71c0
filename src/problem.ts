import type { ServerResponse } from 'node:http'
import type { Refusal } from './errors.ts'

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

/** Headers that plugins had set on the answer. */
export type KeptHeaders = Readonly<Record<string, number | string | string[] | undefined>> | null

/**
 * Answers with the problem document of a refusal. `kept` are headers that plugins had set on the answer before
 * (CORS, rate limits): a refusal keeps them, a client needs them to read it.
 * @returns bytes of the body that was sent
 */
export function sendProblem(
  response: ServerResponse,
  refusal: Refusal,
  requestId: string,
  kept: KeptHeaders,
  close: boolean
): number {
  const body = refusal.body?.content ?? problemBody(refusal, requestId)
  const length = Buffer.byteLength(body)
  const headers: Record<string, number | string | string[] | undefined> = {
    'content-type': refusal.body?.type ?? problemType,
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
