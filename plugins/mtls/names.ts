import type { ClientCertificate } from '../../src/gate/client-certificate.ts'

/** Finds a name of a certificate that a pattern takes; undefined where there is none. */
export type FindName = (certificate: ClientCertificate) => string | undefined

/** Thrown for a pattern that could not be understood in one way only. */
export class PatternError extends Error {}

/** What `*` stands for: a segment that every reader takes for one, so that nothing in it leads out of the path again. */
const plainSegment = /^(?!\.{1,2}$)[A-Za-z0-9._~-]+$/
const plainLabel = /^[a-z0-9_]([-a-z0-9_]*[a-z0-9_])?$/
const plainLocalPart = /^[A-Za-z0-9.!#$%&'+/=?^_`{|}~-]+$/

/**
 * A pattern for subject alternative names. Its form says which kind it is about, and no other kind is looked at: with `:` URI,
 * with `@` email, else DNS.
 */
export function findAltName(pattern: string): FindName {
  if (pattern.includes(':')) return uriFinder(pattern)
  return pattern.includes('@') ? emailFinder(pattern) : dnsFinder(pattern)
}

/** `*` is a whole segment of the path: one segment, or as the last one all that follows. URIs are compared byte for byte. */
function uriFinder(pattern: string): FindName {
  if (!pattern.includes('*')) return ({ uri }) => uri.find(name => name === pattern)
  const parts = /^([a-z][a-z0-9+.-]*:\/\/[^/*?#]+\/)([^?#]+)$/.exec(pattern)
  if (parts === null) throw new PatternError('may have * in the path only')
  const [, base = '', path = ''] = parts
  const segments = path.split('/')
  if (segments.some(segment => segment === '' || (segment.includes('*') && segment !== '*')))
    throw new PatternError('may have * only as a whole segment of the path')
  const takesRest = segments.at(-1) === '*'

  function matches(name: string): boolean {
    if (!name.startsWith(base)) return false
    const found = name.slice(base.length).split('/')
    if (takesRest ? found.length < segments.length : found.length !== segments.length) return false
    return found.every((segment, at) => {
      const expected = segments[at] ?? '*'
      return expected === '*' ? plainSegment.test(segment) : segment === expected
    })
  }
  return ({ uri }) => uri.find(matches)
}

/** As in server certificates (RFC 9525, 6.3): `*.` in front stands for exactly one label. Letters of either case are the same. */
function dnsFinder(pattern: string): FindName {
  const wanted = pattern.toLowerCase()
  const isWild = wanted.startsWith('*.')
  const rest = isWild ? wanted.slice(1) : wanted
  if (!(isWild ? rest.slice(1) : rest).split('.').every(label => plainLabel.test(label)))
    throw new PatternError('is no DNS name, or has * elsewhere than as its first label')

  function matches(name: string): boolean {
    if (!isWild) return name === wanted
    return name.endsWith(rest) && plainLabel.test(name.slice(0, -rest.length))
  }
  return ({ dns }) => dns.map(name => name.toLowerCase()).find(matches)
}

/** `*@` in front stands for any mailbox of the domain. Only the domain has no case. */
function emailFinder(pattern: string): FindName {
  const [mailbox = '', domain = '', ...others] = pattern.split('@')
  const isWild = mailbox === '*'
  if (others.length > 0 || !(isWild || plainLocalPart.test(mailbox)) || !isDomain(domain))
    throw new PatternError('is no email address, or has * elsewhere than in place of the mailbox')

  function matches(name: string): boolean {
    const at = name.lastIndexOf('@')
    if (name.slice(at + 1).toLowerCase() !== domain.toLowerCase()) return false
    const found = name.slice(0, at)
    return isWild ? plainLocalPart.test(found) : found === mailbox
  }
  return ({ email }) => email.find(matches)
}

function isDomain(text: string): boolean {
  return text
    .toLowerCase()
    .split('.')
    .every(label => plainLabel.test(label))
}

/** A pattern for the common name: as it is, or with `*` at its end for one or more characters. */
export function findCommonName(pattern: string): FindName {
  const isPrefix = pattern.endsWith('*')
  const prefix = isPrefix ? pattern.slice(0, -1) : pattern
  if (prefix.includes('*')) throw new PatternError('may have * only at its end')

  function matches(name: string): boolean {
    return isPrefix ? name.length > prefix.length && name.startsWith(prefix) : name === pattern
  }
  return certificate => {
    const name = commonNameOf(certificate.subject)
    return name !== undefined && matches(name) ? name : undefined
  }
}

/**
 * The one common name of a subject, one `TYPE=value` a line. Undefined where there are several, or one with characters that Node
 * escapes: which name is meant is then for nobody to guess. Relative names of several parts are joined by ` + `.
 */
function commonNameOf(subject: string): string | undefined {
  const lines = subject.split('\n')
  if (lines.some(line => line.includes(' + '))) return undefined
  const names = lines.filter(line => line.startsWith('CN='))
  const name = names[0]?.slice(3)
  return names.length === 1 && name !== undefined && name !== '' && !name.includes('\\') ? name : undefined
}
