/** No control characters, and nothing that turns the direction of what follows it. */
const readable = /^[\p{L}\p{M}\p{N}\p{P}\p{S} ]{1,100}$/u

/** What a person is called on a page of the gateway: the first of these that can be read; null without one. */
export function displayName(...candidates: unknown[]): string | null {
  const found = candidates.find(one => typeof one === 'string' && readable.test(one) && one.trim() !== '')
  return found === undefined ? null : (found as string)
}
