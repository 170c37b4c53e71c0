import type { Logger } from '../log.ts'

/** The issuer has said no, or what came from it or through the browser is not what was asked for. */
export class SignInRefused extends Error {
  override readonly name = 'SignInRefused'

  /** The person, or the issuer in the person's face, has said no (RFC 6749, 4.1.2.1). */
  get isDenied(): boolean {
    return (this.cause as { error?: unknown } | undefined)?.error === 'access_denied'
  }
}

/** The issuer does not answer, or not as one. */
export class IssuerUnavailable extends Error {
  override readonly name = 'IssuerUnavailable'
}

/** Logs a failure that has a cause: without one it is of strangers, or known already, and the line of the request says it. */
export function logFailure(
  log: Logger,
  failure: Error,
  about: Record<string, string>,
  message: string
): void {
  if (failure.cause !== undefined) log.warn({ ...about, failure: describeFailure(failure) }, message)
}

/**
 * What a log may hold of a failure: names, codes and what OAuth calls the error, from the outside in. Not whole errors: those of the
 * library carry answers of the issuer, tokens and all.
 */
export function describeFailure(error: unknown): string {
  const parts: string[] = []
  for (let at = error; at instanceof Error && parts.length < 6; at = at.cause) {
    const { code, error: said } = at as { code?: unknown; error?: unknown }
    const isOurs = at instanceof SignInRefused || at instanceof IssuerUnavailable
    const more = [code, said, isOurs ? at.message : undefined].filter(one => typeof one === 'string')
    parts.push([at.name, ...more].join(' '))
  }
  return parts.join(' < ').slice(0, 500)
}
