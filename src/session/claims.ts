import type { SessionRecord } from './contract.ts'

/** All that the issuer has said of a person. The signed ID token has the last word. */
export function claimsOf({ userInfo, claims }: SessionRecord): Record<string, unknown> {
  return { ...userInfo, ...claims }
}
