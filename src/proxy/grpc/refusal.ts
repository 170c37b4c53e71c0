import type { OutgoingHttpHeaders } from 'node:http'
import type { Refusal } from '../../errors.ts'
import type { Exchange } from '../../exchange.ts'
import { rpcKindOf, toWeb } from './content-type.ts'
import { grpcStatusOf } from './status.ts'

type Headers = Readonly<Record<string, number | string | string[] | undefined>>

/** HTTP knows these of an answer with a problem document; a gRPC answer has no such body. */
const notMetadata = new Set(['content-type', 'content-length', 'allow'])

/** Whether the client of a call understands an answer of gRPC: over HTTP/1 only that of a browser does. */
export function readsRpcStatus({ request, stream }: Exchange): boolean {
  return stream !== null || isWeb(request.headers['content-type'])
}

/**
 * Refuses a gRPC call: 200 and trailers alone (PROTOCOL-HTTP2.md, "Trailers-Only"), with the title and the reason of the
 * catalogue as its message. Headers that a refusal brings along (`retry-after`, …) become metadata.
 */
export function refuseRpc(exchange: Exchange, refusal: Refusal, kept: Headers | null): void {
  const { request, response } = exchange
  const kind = rpcKindOf(request.headers['content-type'])
  const status = statusOfRefusal(refusal)
  exchange.grpcStatus = status
  const last = {
    // Content types of gRPC-Web are answered in their own kind.
    'content-type': kind === null || kind === 'grpc' ? 'application/grpc' : toWeb('application/grpc', kind),
    'grpc-status': String(status),
    'grpc-message': messageOf(refusal),
    'x-request-id': exchange.requestId
  }
  response.statusCode = 200
  try {
    send(exchange, { ...metadata(kept), ...metadata(refusal.headers), ...last })
  } catch {
    // A plugin has set a header that cannot be sent. The refusal can.
    send(exchange, last)
  }
}

export function statusOfRefusal(refusal: Refusal): number {
  return refusal.grpcStatus ?? grpcStatusOf(refusal.reason)
}

/** `grpc-message`: words of the catalogue, which are ASCII and need no escapes. */
export function messageOf({ title, reason }: Refusal): string {
  return `${title} (${reason})`
}

function isWeb(contentType: string | undefined): boolean {
  const kind = rpcKindOf(contentType)
  return kind === 'web' || kind === 'web-text'
}

function send({ stream, response }: Exchange, headers: OutgoingHttpHeaders): void {
  if (stream !== null) stream.respond({ ':status': 200, ...headers }, endStream)
  // gRPC-Web over HTTP/1.
  else response.writeHead(200, { ...headers, 'content-length': 0 }).end()
}

const endStream = Object.freeze({ endStream: true })

function metadata(headers: Headers | null | undefined): Headers {
  return Object.fromEntries(Object.entries(headers ?? {}).filter(([name]) => !notMetadata.has(name)))
}
