const grpcType = 'application/grpc'

/** Which gRPC a client speaks: over HTTP/2, or that of browsers in one of its two modes (PROTOCOL-WEB.md). */
export type RpcKind = 'grpc' | 'web' | 'web-text'

const prefixes: readonly (readonly [RpcKind, string])[] = [
  ['grpc', grpcType],
  ['web-text', `${grpcType}-web-text`],
  ['web', `${grpcType}-web`]
]

/** Null for a content type that only begins like one of gRPC. */
export function rpcKindOf(contentType: string | undefined): RpcKind | null {
  if (contentType === undefined) return null
  for (const [kind, prefix] of prefixes) {
    if (contentType.startsWith(prefix) && isEnd(contentType, prefix.length)) return kind
  }
  return null
}

/** `+proto`, `;charset=utf-8` and nothing may follow. */
function isEnd(contentType: string, at: number): boolean {
  const next = contentType.charCodeAt(at)
  return Number.isNaN(next) || next === 0x2b || next === 0x3b
}

/** The content type of gRPC for one of gRPC-Web, with the same encoding of messages. */
export function fromWeb(contentType: string): string {
  return contentType.replace(/^application\/grpc-web(?:-text)?/, grpcType)
}

/** The other way round; a browser wants to know the encoding. */
export function toWeb(contentType: string, kind: RpcKind): string {
  const format = contentType.slice(grpcType.length)
  return `${grpcType}-${kind}${format === '' ? '+proto' : format}`
}
