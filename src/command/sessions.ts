/** What `sallyport sessions` takes from the command line. */
export interface SessionsOptions {
  /** Origin of the admin listener. */
  readonly admin: string
  readonly issuer?: string
  readonly subject?: string
  readonly limit?: string
  readonly format: 'text' | 'json'
}

interface Listed {
  readonly handle: string
  readonly issuer: string
  readonly subject: string
  readonly email: string | null
  readonly host: string
  readonly createdAt: string
  readonly endsAt: string
}

/** Milliseconds. */
const patience = 10_000

/**
 * `sallyport sessions list`: one line for each session.
 * @returns what goes to standard output, and what there is to add for the person who reads it
 */
export async function listSessions(options: SessionsOptions): Promise<{ output: string; note: string }> {
  const { issuer, subject, limit, format } = options
  const { sessions, cut } = await ask(options, 'GET', '', { issuer, subject, limit })
  if (!Array.isArray(sessions)) throw new Error(`${options.admin} is no admin listener of sallyport`)
  if (format === 'json') return { output: json({ sessions, cut }), note: '' }
  const lines = (sessions as Listed[]).map(one => {
    const fields = [one.handle, one.issuer, one.subject, one.email ?? '-', one.host]
    return [...fields, `since=${one.createdAt}`, `until=${one.endsAt}`].map(printable).join('\t')
  })
  return {
    output: lines.map(line => `${line}\n`).join(''),
    note:
      cut === true
        ? 'there may be more: ask with --issuer and --subject, or with a --limit of up to 1000\n'
        : ''
  }
}

/**
 * `sallyport sessions end`: one by its handle, or all of a person.
 * @returns what goes to standard output
 */
export async function endSessions(
  handle: string | undefined,
  { issuer, subject, ...options }: SessionsOptions
): Promise<string> {
  const isOne = handle !== undefined
  const rest = isOne ? `/${encodeURIComponent(handle)}` : ''
  const answer = await ask(options, 'DELETE', rest, { issuer, subject })
  const ended = isOne ? 1 : answer.ended
  if (typeof ended !== 'number') throw new Error(`${options.admin} is no admin listener of sallyport`)
  return options.format === 'json' ? json({ ended }) : `${ended} session${ended === 1 ? '' : 's'} ended\n`
}

/** What `fetch` rejects with. */
type Failure = Error & { cause?: { code?: string; message?: string } }

async function ask(
  { admin }: Pick<SessionsOptions, 'admin'>,
  method: string,
  rest: string,
  query: Readonly<Record<string, string | undefined>>
): Promise<Record<string, unknown>> {
  const url = new URL(`/sessions${rest}`, admin)
  for (const [name, value] of Object.entries(query))
    if (value !== undefined) url.searchParams.set(name, value)
  const { status, body } = await send(url, method).catch((error: Failure) => {
    const why = error.cause?.code ?? error.cause?.message ?? error.name
    throw new Error(`${url.origin} does not answer (${why})`, { cause: error })
  })
  if (status < 300) return body ?? {}
  const said = body?.error
  // What the listener says to everybody whom these paths are not for.
  if (status === 404 && said === 'not found')
    throw new Error(
      `${url.origin} has no sessions for us. It shows them to callers in its own pod alone: kubectl exec, or kubectl port-forward and --admin`
    )
  throw new Error(`${url.origin}: ${typeof said === 'string' ? printable(said) : `status ${status}`}`)
}

interface Answer {
  readonly status: number
  /** Null: none, or not ours. */
  readonly body: Record<string, unknown> | null
}

async function send(url: URL, method: string): Promise<Answer> {
  const answer = await fetch(url, { method, redirect: 'error', signal: AbortSignal.timeout(patience) })
  const text = await answer.text()
  return { status: answer.status, body: text === '' ? null : parse(text) }
}

/** Whatever answers on that port may be another program. */
function parse(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' ? (value as Record<string, unknown> | null) : null
  } catch {
    return null
  }
}

/** Names come from an issuer, and what a terminal would act on is written out. */
function printable(text: string): string {
  return text.replaceAll(
    /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu,
    sign => `\\u{${(sign.codePointAt(0) as number).toString(16)}}`
  )
}

function json(value: object): string {
  return `${JSON.stringify(value, null, 2)}\n`
}
