import type { X509Certificate } from 'node:crypto'

/** What the certificate says of its holder besides the subject. Empty where it says nothing of the kind. */
export interface AltNames {
  readonly dns: readonly string[]
  readonly uri: readonly string[]
  readonly email: readonly string[]
}

const none: AltNames = Object.freeze({ dns: [], uri: [], email: [] })

/**
 * One `kind:value` of Node's text. Node puts a value in JSON quotes whenever it holds a comma, a quote, a backslash or a
 * control character, so that no value can pass for a second name (CVE-2021-44532).
 */
const entry = /([A-Za-z0-9 ]+):("(?:[^"\\]|\\.)*"|[^",]*)(?:, |$)/y

/**
 * The subject alternative names, from the only form in which Node gives them.
 * @throws where the text is not what Node is known to write: names that are half understood decide nothing
 */
export function altNamesOf(certificate: X509Certificate): AltNames {
  const text = certificate.subjectAltName
  return text === undefined || text === '' ? none : parseAltNames(text)
}

export function parseAltNames(text: string): AltNames {
  const names = { dns: [] as string[], uri: [] as string[], email: [] as string[] }
  entry.lastIndex = 0
  while (entry.lastIndex < text.length) {
    const found = entry.exec(text)
    if (found === null) throw new Error('the subject alternative names of the certificate cannot be read')
    const [, kind, written = ''] = found
    const value = written.startsWith('"') ? String(JSON.parse(written)) : written
    if (kind === 'DNS') names.dns.push(value)
    else if (kind === 'URI') names.uri.push(value)
    else if (kind === 'email') names.email.push(value)
  }
  return names
}

const label = /^[a-z0-9_]([-a-z0-9_]*[a-z0-9_])?$/

/** The DNS names of a certificate that a client can ask for, in lower case: plain ones, and `*.` before plain ones. */
export function serverNamesOf(certificate: X509Certificate): string[] {
  const names = altNamesOf(certificate).dns.map(name => name.toLowerCase())
  return [...new Set(names.filter(isServerName))]
}

function isServerName(name: string): boolean {
  const plain = name.startsWith('*.') ? name.slice(2) : name
  return plain.split('.').every(part => label.test(part))
}

/** `*.b.c` for `a.b.c`: the only wildcard that covers it (RFC 9525, 6.3). Null for a name of one label. */
export function wildcardOf(name: string): string | null {
  const dot = name.indexOf('.')
  return dot > 0 ? `*${name.slice(dot)}` : null
}
