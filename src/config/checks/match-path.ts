/** The form of a match's path, which is the form of every target that the gateway lets in (RFC 3986, canonical). */

/** Characters of a segment that are never encoded: unreserved, sub-delims and the rest of pchar, without `:`, `;`, `(`, `)` and `*`. */
const plainCharacter = /[A-Za-z0-9\-._~!$&'+,=@]/

export interface MatchPath {
  /** One entry per segment; a parameter is `{ parameter }`. */
  segments: readonly (string | { parameter: string })[]
  /** Whether it ends in `/*`. */
  rest: boolean
}

/** Reads a path of a match or a rewrite; the fault is text for the user. */
export function readMatchPath(text: string): MatchPath | { fault: string; remedy: string } {
  if (!text.startsWith('/')) return { fault: 'does not begin with /', remedy: `write /${text}` }
  if (/[?#]/.test(text))
    return { fault: 'holds ? or #', remedy: 'write only the path: a query never takes part in routing' }
  if (text.includes('//'))
    return { fault: 'holds //', remedy: 'write single slashes: such targets are refused' }

  const parts = text.slice(1).split('/')
  const rest = parts.at(-1) === '*'
  const segments: (string | { parameter: string })[] = []
  const parameters = new Set<string>()
  for (const part of rest ? parts.slice(0, -1) : parts) {
    if (part.startsWith(':')) {
      const parameter = part.slice(1)
      if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(parameter)) {
        return {
          fault: `":${parameter}" is not a parameter`,
          remedy: 'write letters, digits and _ after the colon: /:id'
        }
      }
      if (parameters.has(parameter))
        return { fault: `has two parameters :${parameter}`, remedy: 'name each one differently' }
      parameters.add(parameter)
      segments.push({ parameter })
      continue
    }
    const fault = segmentFault(part)
    if (fault) return fault
    segments.push(part)
  }
  return { segments, rest }
}

function segmentFault(segment: string): { fault: string; remedy: string } | undefined {
  if (segment === '.' || segment === '..') {
    return { fault: `holds the segment ${segment}`, remedy: 'write the path that is meant' }
  }
  if (segment.includes('*')) {
    return {
      fault: 'has * elsewhere than as the last whole segment',
      remedy: 'write /* at the end, or :name for one segment'
    }
  }
  if (segment.includes(':')) {
    return { fault: 'has a colon inside a segment', remedy: 'write :name for a whole segment' }
  }
  for (const [encoded] of segment.matchAll(/%.{0,2}/g)) {
    if (!/^%[0-9A-Fa-f]{2}$/.test(encoded))
      return {
        fault: `holds ${encoded}, which encodes nothing`,
        remedy: 'write % and two hexadecimal digits'
      }
    if (/^%(2f|5c|25)$/i.test(encoded)) {
      return {
        fault: `holds ${encoded}`,
        remedy: 'match a shorter path with /*, and set encodedSlashes: true'
      }
    }
    const character = String.fromCharCode(Number.parseInt(encoded.slice(1), 16))
    if (/[A-Za-z0-9\-._~]/.test(character)) {
      return {
        fault: `encodes ${character}, which is never encoded`,
        remedy: `write ${character} instead of ${encoded}`
      }
    }
    if (character < ' ' || character === '\x7f')
      return { fault: `holds the control character ${encoded}`, remedy: 'remove it' }
  }
  const odd = [...segment.replaceAll(/%../g, '')].find(character => !plainCharacter.test(character))
  if (odd === undefined) return undefined
  return {
    fault: `holds the character ${JSON.stringify(odd)}`,
    remedy: 'write letters, digits, - . _ ~ and percent-encoded bytes'
  }
}
