import type { IncomingMessage } from 'node:http'
import { Refusal } from '../errors.ts'

const maxBytes = 20 * 1024
const maxMilliseconds = 10_000
const type = /^application\/x-www-form-urlencoded *(?:;|$)/i

/** The fields of a form, which the gateway reads only where it answers itself: within 10 s, at most 20 KiB. */
export async function readForm(request: IncomingMessage): Promise<URLSearchParams> {
  if (!type.test(request.headers['content-type'] ?? '')) throw new Refusal('protocol.content_type')
  const timer = setTimeout(() => request.destroy(), maxMilliseconds)
  const chunks: Buffer[] = []
  let size = 0
  try {
    for await (const chunk of request) {
      size += (chunk as Buffer).length
      if (size > maxBytes) throw new Refusal('protocol.size')
      chunks.push(chunk as Buffer)
    }
  } catch (error) {
    if (error instanceof Refusal) throw error
    throw new Refusal('client.aborted', { cause: error })
  } finally {
    clearTimeout(timer)
  }
  const form = new URLSearchParams(Buffer.concat(chunks).toString('utf8'))
  for (const name of new Set(form.keys())) {
    if (form.getAll(name).length > 1)
      throw new Refusal('request.malformed', { detail: 'a field of the form twice' })
  }
  return form
}
