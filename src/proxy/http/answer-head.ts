import { validateHeaderName, validateHeaderValue } from 'node:http'
import type { FastifyReply } from 'fastify'

/** More interim answers (1xx) than this before the final one is a flood. */
const maxInterim = 16

/** What is wrong with an interim answer, the `count`th one; null: nothing. */
export function interimFault(status: number, count: number): string | null {
  if (status < 100) return 'status below 100'
  if (status === 101) return 'unsolicited 101'
  return count > maxInterim ? 'flood of 1xx' : null
}

/** The values of each header, in the order of the list. */
export function byName(headers: readonly string[]): Map<string, string[]> {
  const grouped = new Map<string, string[]>()
  for (let i = 0; i < headers.length; i += 2) {
    const values = grouped.get(headers[i] as string)
    if (values === undefined) grouped.set(headers[i] as string, [headers[i + 1] as string])
    else values.push(headers[i + 1] as string)
  }
  return grouped
}

/** RFC 9110, 8.6: not on a 204, and zero says nothing there. */
export function dropContentLength(headers: string[]): void {
  for (let i = headers.length - 2; i >= 0; i -= 2) {
    if (headers[i] === 'content-length') headers.splice(i, 2)
  }
}

/** Whether Node would send the headers that plugins have set. */
export function isSendable(own: ReturnType<FastifyReply['getHeaders']>): boolean {
  try {
    for (const [name, value] of Object.entries(own)) {
      validateHeaderName(name)
      validateHeaderValue(name, value as string)
    }
    return true
  } catch {
    return false
  }
}

/** -1: the list has none. */
export function contentLength(headers: readonly string[]): number {
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i] === 'content-length') return Number(headers[i + 1])
  }
  return -1
}
