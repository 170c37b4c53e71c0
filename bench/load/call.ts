import type { Dispatcher } from 'undici'

const body = Buffer.alloc(2000, 'x')

export interface CallResult {
  /** Null when the answer is what it should be. */
  failure: string | null
  headers: Record<string, string | string[] | undefined>
}

/** The i-th request of a load: mostly short GETs, some POSTs with a body, some that take a while. */
export async function call(client: Dispatcher, origin: string, i: number): Promise<CallResult> {
  const isPost = i % 8 === 0
  const path = i % 32 === 1 ? '/slow' : '/quick'
  try {
    const response = await client.request({
      origin,
      path,
      method: isPost ? 'POST' : 'GET',
      body: isPost ? body : null
    })
    const text = await response.body.text()
    const expected = isPost ? '2000 bytes' : '0 bytes'
    const isGood = response.statusCode === 200 && text === expected
    return {
      failure: isGood ? null : `${response.statusCode} ${text.slice(0, 200)}`,
      headers: response.headers
    }
  } catch (error) {
    return { failure: (error as { code?: string }).code ?? (error as Error).message, headers: {} }
  }
}

/** Counts equal failures, so that a thousand of them are one line. */
export function countFailure(failures: Record<string, number>, failure: string): void {
  failures[failure] = (failures[failure] ?? 0) + 1
}
