/** How values are shown in error messages. */

/** A value on one line, cut to a length that can be read. */
export function show(value: unknown): string {
  if (value === null || value === undefined) return 'nothing'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'object') return 'a map'
  const text = JSON.stringify(value) ?? String(value)
  return text.length <= 60 ? text : `${text.slice(0, 57)}…${typeof value === 'string' ? '"' : ''}`
}

/** Comma-separated, at most a screen line. */
export function list(words: Iterable<string | number>, most = 12): string {
  const all = [...words].map(String)
  const rest = all.length - most
  return rest > 0 ? `${all.slice(0, most).join(', ')} and ${rest} more` : all.join(', ')
}

/** What to do about a word that is not one of the known ones. */
export function suggest(found: string | undefined, known: Iterable<string | number>): string {
  if (found !== undefined) return `did you mean ${JSON.stringify(found)}?`
  const words = list(known)
  return words === '' ? 'remove it' : `write one of: ${words}`
}

/** Whether a key by its name holds something that must not be shown. */
export function looksSecret(key: string): boolean {
  return /secret|passw|token$|authorization|api-?_?key|credential|cookie$|private/i.test(key)
}
