import type { Exchange } from '../exchange.ts'

/**
 * Whether a person opens a page with a request: not what scripts, images and programs ask for, nor what a browser fetches before
 * anybody has asked, nor what another proxy asks about.
 */
export function opensPage({ isQuestion, protocol, request: { headers } }: Exchange): boolean {
  if (isQuestion || protocol !== 'http') return false
  const mode = headers['sec-fetch-mode']
  if (mode !== undefined && mode !== 'navigate') return false
  if (headers['sec-purpose'] !== undefined || headers.upgrade !== undefined) return false
  return headers.accept?.includes('text/html') === true
}
