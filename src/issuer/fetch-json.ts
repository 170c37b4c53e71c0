import type { Timers } from '../timers.ts'

const maxBytes = 1024 * 1024
const maxMilliseconds = 5000

export interface FetchContext {
  fetch: typeof globalThis.fetch
  timers: Timers
  /** Ends every fetch under way, when the issuer is closed. */
  signal: AbortSignal
}

/** Another status than 200. Any other failure (network, timeout, size, syntax) is an ordinary error. */
export class UnexpectedStatus extends Error {
  readonly status: number

  constructor(url: string, status: number) {
    super(`${url} answered ${status}`)
    this.name = 'UnexpectedStatus'
    this.status = status
  }
}

/**
 * A JSON document of an issuer: within 5 s, at most 1 MiB, without following a redirect (it would let whoever answers
 * choose the keys, or an address inside the cluster, for the gateway).
 */
export async function fetchJson(url: string, context: FetchContext): Promise<unknown> {
  return JSON.parse(await fetchText(url, context))
}

/** As `fetchJson`, before it is read; `init` for another method than GET. */
export async function fetchText(
  url: string,
  context: FetchContext,
  init: { method?: string; headers?: Record<string, string>; body?: string } = {}
): Promise<string> {
  const timeout = new AbortController()
  const timer = context.timers.setTimeout(
    () => timeout.abort(new Error(`${url} did not answer within ${maxMilliseconds} ms`)),
    maxMilliseconds
  )
  const signal = AbortSignal.any([timeout.signal, context.signal])
  try {
    const response = await context.fetch(url, {
      ...init,
      redirect: 'manual',
      signal,
      headers: { accept: 'application/json, application/jwk-set+json', ...init.headers }
    })
    if (response.status !== 200) {
      await response.body?.cancel()
      throw new UnexpectedStatus(url, response.status)
    }
    return await readCapped(url, response)
  } finally {
    context.timers.clearTimeout(timer)
  }
}

async function readCapped(url: string, response: Response): Promise<string> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length
    // Leaving the loop cancels the body.
    if (bytes > maxBytes) throw new Error(`${url} answered with more than 1 MiB`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}
