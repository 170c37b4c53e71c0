import type { IncomingMessage } from 'node:http'
import { Refusal } from '../errors.ts'

const maxBytes = 20 * 1024
const maxMilliseconds = 10_000
const type = /^application\/x-www-form-urlencoded *(?:;|$)/i

/** The fields of a form, which the gateway reads only where it answers itself: within 10 s, at most 20 KiB. */
export async function readForm(request: IncomingMessage): Promise<URLSearchParams> {
  if (!type.test(request.headers['content-type'] ?? '')) throw new Refusal('protocol.content_type')
  const form = new URLSearchParams(await readText(request))
  for (const name of new Set(form.keys())) {
    if (form.getAll(name).length > 1)
      throw new Refusal('request.malformed', { detail: 'a field of the form twice' })
  }
  return form
}

/** Not `for await`: leaving that early would destroy the connection that the refusal goes out on. */
function readText(request: IncomingMessage): Promise<string> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let size = 0
    const timer = setTimeout(() => {
      refuse(new Refusal('request.malformed', { status: 408, detail: 'the form did not arrive in time' }))
    }, maxMilliseconds)

    function refuse(refusal: Refusal): void {
      clearTimeout(timer)
      request.off('data', keep)
      request.pause()
      reject(refusal)
    }

    function keep(chunk: Buffer): void {
      size += chunk.length
      if (size > maxBytes) refuse(new Refusal('protocol.size'))
      else chunks.push(chunk)
    }

    request.on('data', keep)
    request.once('end', () => {
      clearTimeout(timer)
      resolve(Buffer.concat(chunks).toString('utf8'))
    })
    request.once('error', cause => refuse(new Refusal('client.aborted', { cause })))
    request.once('close', () => refuse(new Refusal('client.aborted')))
  })
}
