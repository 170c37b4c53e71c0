import { type IncomingMessage, METHODS } from 'node:http'
import { Refusal } from '../errors.ts'
import { isForwardable } from '../gate/gate.ts'
import { isHost } from '../gate/host.ts'
import { judgeTarget } from '../gate/target.ts'
import { ownSignInPaths } from './return-url.ts'

const questionPath = `${ownSignInPaths}auth`
const maxPathBytes = 8192
const methods: ReadonlySet<string> = new Set(METHODS)

/** Whether a request asks what another proxy may let through (`auth_request` of nginx, ForwardAuth of Traefik). */
export function isQuestion({ url = '' }: IncomingMessage): boolean {
  return url === questionPath || url.startsWith(`${questionPath}?`)
}

/**
 * Makes a question the request that it is about: `X-Forwarded-Method`, `-Host` and `-Uri` take the places of its own, by the same rules
 * as those of any request. To be called only for a proxy that is trusted. A HEAD counts as the GET that it stands for.
 * @returns why it cannot be answered; null when it can
 */
export function becomeAsked(request: IncomingMessage): Refusal | null {
  const { headers } = request
  const method = text(headers['x-forwarded-method'])
  const host = text(headers['x-forwarded-host'])
  const target = text(headers['x-forwarded-uri'])
  if (!methods.has(method) || !isForwardable(method)) return malformed('X-Forwarded-Method')
  if (!isHost(host)) return malformed('X-Forwarded-Host')
  // Zero: well formed, and without escapes that only some routes take.
  if (judgeTarget(target, maxPathBytes) !== 0 || target.startsWith(ownSignInPaths))
    return malformed('X-Forwarded-Uri')
  request.method = method === 'HEAD' ? 'GET' : method
  request.url = target
  headers.host = host
  return null
}

function text(value: string | string[] | undefined): string {
  return typeof value === 'string' ? value : ''
}

function malformed(header: string): Refusal {
  return new Refusal('request.malformed', { detail: `${header} of a question` })
}
