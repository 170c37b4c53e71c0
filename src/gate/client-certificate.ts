import type { X509Certificate } from 'node:crypto'
import type { Duplex } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import { altNamesOf } from '../tls/alt-names.ts'

/** What a verified client certificate says. Nothing of it comes from a certificate that did not verify. */
export interface ClientCertificate {
  /** Distinguished name, one `TYPE=value` a line, as Node writes it. */
  readonly subject: string
  /** Of the authority that has issued it; written likewise. */
  readonly issuer: string
  readonly dns: readonly string[]
  readonly uri: readonly string[]
  readonly email: readonly string[]
  /** SHA-256 of the certificate: hex in upper case, with colons. */
  readonly fingerprint256: string
  /** Hex in upper case. */
  readonly serial: string
  readonly notAfter: Date
}

const kClient = Symbol('sallyport.client-certificate')
// A symbol and no WeakMap: a session of HTTP/2 gives away a proxy of its socket, which is another key but passes this on.
type Verified = Duplex & { [kClient]?: ClientCertificate }

/**
 * Judges the certificate of a client once its handshake is done, and keeps what it says for `clientCertificate`.
 * @returns null when it is good or there is none, else why it is not: a code of OpenSSL or a sentence, for the log
 */
export function verifyClient(socket: TLSSocket, now = Date.now()): string | null {
  const certificate = socket.getPeerX509Certificate()
  // Without one `authorized` says nothing: a resumed session of TLS 1.3 counts as authorized in some versions of Node.
  if (certificate === undefined) return null
  if (!socket.authorized) return String(socket.authorizationError)
  // A resumed session was verified when it began, and lives longer than the certificate may.
  if (Date.parse(certificate.validTo) < now) return 'CERT_HAS_EXPIRED'
  try {
    ;(socket as Verified)[kClient] = factsOf(certificate)
    return null
  } catch {
    return 'names that cannot be read'
  }
}

/** The verified certificate of the client behind a connection; null when it sent none, or the connection is not TLS. */
export function clientCertificate(socket: Duplex): ClientCertificate | null {
  return (socket as Verified)[kClient] ?? null
}

function factsOf(certificate: X509Certificate): ClientCertificate {
  const { subject, issuer, fingerprint256, serialNumber, validTo } = certificate
  return Object.freeze({
    subject,
    issuer,
    ...altNamesOf(certificate),
    fingerprint256,
    serial: serialNumber,
    notAfter: new Date(validTo)
  })
}
