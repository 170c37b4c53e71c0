import { errors } from 'undici'

export interface RequestTarget {
  readonly method: string
  readonly scheme: string
  readonly authority: string
  /** Path and query. */
  readonly path: string
}

/** What a field value must not hold (RFC 9113, 8.2.1): controls, and space at its ends. */
const faultyValue = /[^\t\x20-\x7e\x80-\xff]|^[\t ]|[\t ]$/

/**
 * A header for HTTP/2 from one for HTTP/1, both name, value, name, value: pseudo-headers first, `host` as `:authority`, names
 * in lower case. Throws as undici does where a value cannot be sent: nghttp2 would leave that to the upstream.
 */
export function requestHeaders(target: RequestTarget, fields: readonly string[]): string[] {
  const list = [
    ':method',
    target.method,
    ':scheme',
    target.scheme,
    ':authority',
    target.authority,
    ':path',
    target.path
  ]
  for (let i = 0; i < fields.length; i += 2) {
    const name = (fields[i] as string).toLowerCase()
    const value = sendable(fields[i + 1] as string, name)
    if (name === 'host') list[5] = value
    else list.push(name, value)
  }
  return list
}

/** A value as HTTP/2 may say it. Throws where it has none: Node would hand on whatever stands in it. */
export function sendable(value: string, name: string): string {
  if (!faultyValue.test(value)) return value
  const trimmed = value.replaceAll(/^[\t ]+|[\t ]+$/g, '')
  if (faultyValue.test(trimmed)) throw new errors.InvalidArgumentError(`invalid ${name} header`)
  return trimmed
}
