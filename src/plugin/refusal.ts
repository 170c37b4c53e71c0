import { type Reason, Refusal } from '../errors.ts'

/** What the status of an error from a plugin that knows nothing of ours (any Fastify plugin) means. */
const byStatus: Readonly<Record<number, Reason>> = {
  401: 'token.invalid',
  403: 'policy.denied',
  405: 'protocol.method',
  413: 'protocol.size',
  415: 'protocol.content_type',
  429: 'rate.exceeded'
}

/** A refusal for whatever was thrown: ours as it is, a client error as such, everything else as a failed plugin. */
export function refusalOf(error: unknown): Refusal {
  if (error instanceof Refusal) return error
  const status = (error as { statusCode?: unknown } | null)?.statusCode
  if (typeof status !== 'number' || status < 400 || status > 499)
    return new Refusal('plugin.failed', { cause: error })
  return new Refusal(byStatus[status] ?? 'policy.denied', { status, cause: error })
}
