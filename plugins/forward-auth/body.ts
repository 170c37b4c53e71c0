import type { Dispatcher } from 'undici'

/** Of a refusal that goes to the client, e.g. a page to sign in. A longer one is replaced by a problem document. */
export const maxBody = 65_536

/** Null where it is too long, or there is none. */
export async function readBody({ body }: Dispatcher.ResponseData): Promise<Buffer | null> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of body as AsyncIterable<Buffer>) {
    size += chunk.length
    // Leaving the loop ends the connection.
    if (size > maxBody) return null
    chunks.push(chunk)
  }
  return size === 0 ? null : Buffer.concat(chunks)
}
