import type { OutgoingHttpHeaders } from 'node:http'
import type { Refusal } from '../../errors.ts'
import type { Exchange } from '../../exchange.ts'
import { grpcStatusOf } from './status.ts'

type Headers = Readonly<Record<string, number | string | string[] | undefined>>

/** HTTP knows these of an answer with a problem document; a gRPC answer has no such body. */
const notMetadata = new Set(['content-type', 'content-length', 'allow'])

/** Content types of gRPC-Web are answered in their own kind. */
const webType = /^application\/grpc-web(?:-text)?(?=[+;]|$)/i

/**
 * Refuses a gRPC call: 200 and trailers alone (PROTOCOL-HTTP2.md, "Trailers-Only"), with the title and the reason of the
 * catalogue as its message. Headers that a refusal brings along (`retry-after`, …) become metadata.
 */
export function refuseRpc(exchange: Exchange, refusal: Refusal, kept: Headers | null): void {
  const { request, response } = exchange
  const status = grpcStatusOf(refusal.reason)
  exchange.grpcStatus = status
  const web = webType.exec(request.headers['content-type'] ?? '')
  const last = {
    'content-type': web === null ? 'application/grpc' : `${web[0].toLowerCase()}+proto`,
    'grpc-status': String(status),
    'grpc-message': `${refusal.title} (${refusal.reason})`,
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

function send({ stream, response }: Exchange, headers: OutgoingHttpHeaders): void {
  if (stream !== null) stream.respond({ ':status': 200, ...headers }, endStream)
  // gRPC-Web over HTTP/1.
  else response.writeHead(200, { ...headers, 'content-length': 0 }).end()
}

const endStream = Object.freeze({ endStream: true })

function metadata(headers: Headers | null | undefined): Headers {
  return Object.fromEntries(Object.entries(headers ?? {}).filter(([name]) => !notMetadata.has(name)))
}
