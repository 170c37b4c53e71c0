import { judgeTarget } from '../gate/target.ts'

/** What the gateway answers itself on its public listeners for sign-in. */
export const ownSignInPaths = '/oauth2/'

const maxReturnUrl = 4096

/**
 * Where a sign-in may lead back to: a path of this host with its query, spelled as the gate takes a request target, so that
 * browser, gateway and upstream read one and the same thing. Everything else leads to `/`.
 */
export function safeReturnUrl(text: string | null | undefined): string {
  if (text === null || text === undefined || text.length > maxReturnUrl || !/^\/(?![/\\])/.test(text))
    return '/'
  // Zero: well formed, and without encoded separators.
  if (judgeTarget(text, maxReturnUrl) !== 0 || !/^[\x21-\x5b\x5d-\x7e]*$/.test(text)) return '/'
  if (text.startsWith(ownSignInPaths)) return '/'
  const base = 'http://gateway.invalid'
  const url = URL.parse(text, base)
  return url !== null && url.origin === base && `${url.pathname}${url.search}` === text ? text : '/'
}
