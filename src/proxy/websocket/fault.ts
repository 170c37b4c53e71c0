/** The codes of ws's errors (its doc/ws.md), and the close code that ws has answered each with (RFC 6455, 7.4.1). */
const byCode: Readonly<Record<string, number>> = {
  WS_ERR_INVALID_UTF8: 1007,
  WS_ERR_TOO_MANY_BUFFERED_PARTS: 1008,
  WS_ERR_UNSUPPORTED_DATA_PAYLOAD_LENGTH: 1009,
  WS_ERR_UNSUPPORTED_MESSAGE_LENGTH: 1009
}

/** With what ws closes whoever has broken the protocol so. Errors of zlib (`Z_`): data that does not inflate. */
export function closeCodeOf(error: Error): number {
  const { code } = error as { code?: unknown }
  if (typeof code !== 'string') return 1002
  return byCode[code] ?? (code.startsWith('Z_') ? 1007 : 1002)
}
