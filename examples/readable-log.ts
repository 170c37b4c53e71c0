import { styleText } from 'node:util'

/** A line of the gateway's log for people: it is written in JSON, for machines. A line that is no JSON stays as it is. */
export function readableLine(line: string): string {
  const entry = parse(line)
  if (entry === null) return line
  const time = String(entry.time ?? '').slice(11, 19)
  const text = entry.msg === 'request' ? requestText(entry) : messageText(entry)
  return `${styleText('dim', `${time} gateway`)}  ${text}`
}

type Entry = Record<string, unknown>

function parse(line: string): Entry | null {
  try {
    const value: unknown = JSON.parse(line)
    return typeof value === 'object' ? (value as Entry) : null
  } catch {
    return null
  }
}

function requestText(entry: Entry): string {
  const { protocol, method, path, status, route, reason, refusedBy, subject, durationMs } = entry
  // Beside the status of HTTP, a gRPC call and a WebSocket that came to be have an ending of their own kind.
  const isHttp = protocol === 'http' || protocol === undefined
  const what = isHttp ? method : protocol
  const how = entry.grpcStatus ?? entry.closeCode ?? status
  const who = subject ? ` for ${subject}` : ''
  const why = reason ? `, ${reason}${refusedBy ? ` by ${refusedBy}` : ''}` : ''
  return `${what} ${path} ${how}  route ${route}${who}${why}, ${durationMs} ms`
}

function messageText({ level, msg, errors }: Entry): string {
  const details = Array.isArray(errors) ? errors.map(error => `\n    ${error}`).join('') : ''
  return `${level === 'info' ? '' : `${level}: `}${msg}${details}`
}
