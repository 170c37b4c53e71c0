const noValues: readonly string[] = []

/** A target without a parameter of its query, and what that held, decoded. Every other byte stays as it was. */
export function takeParameter(target: string, name: string): { rest: string; values: readonly string[] } {
  const at = target.indexOf('?')
  if (at === -1) return { rest: target, values: noValues }
  const values: string[] = []
  const kept: string[] = []
  for (const pair of target.slice(at + 1).split('&')) {
    const equals = pair.indexOf('=')
    if (decoded(equals === -1 ? pair : pair.slice(0, equals)) !== name) kept.push(pair)
    else values.push(equals === -1 ? '' : decoded(pair.slice(equals + 1)))
  }
  if (values.length === 0) return { rest: target, values: noValues }
  const path = target.slice(0, at)
  return { rest: kept.length === 0 ? path : `${path}?${kept.join('&')}`, values }
}

/** What does not decode is what it is. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
