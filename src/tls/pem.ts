import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'

/** What is wrong with a text that should be PEM. The message goes on after the name of the place; it never quotes the text. */
export class PemFault extends Error {
  readonly remedy: string

  constructor(message: string, remedy: string) {
    super(message)
    this.remedy = remedy
  }
}

const blocks = /-----BEGIN ([A-Z0-9 ]+)-----[^-]*(?:-[^-]+)*-----END \1-----/g
const certificateLabels = new Set(['CERTIFICATE', 'X509 CERTIFICATE', 'TRUSTED CERTIFICATE'])

/** Every certificate in the text, in its order. @throws PemFault when there is none or one does not parse */
export function readCertificates(pem: string): X509Certificate[] {
  const found = [...pem.matchAll(blocks)]
  const certificates = found.filter(([, label]) => certificateLabels.has(label as string))
  if (certificates.length === 0) {
    const isKey = found.some(([, label]) => label?.endsWith('PRIVATE KEY'))
    if (isKey)
      throw new PemFault('holds a private key and no certificate', 'look whether cert and key are exchanged')
    throw new PemFault(
      'holds no certificate in PEM',
      'write PEM, which begins with -----BEGIN CERTIFICATE-----'
    )
  }
  return certificates.map(([block], index) => {
    try {
      return new X509Certificate(block)
    } catch {
      throw new PemFault(
        `holds a certificate that does not parse, number ${index + 1}`,
        'look whether the file is whole, and copy it again'
      )
    }
  })
}

/** A certificate and those that lead to its root. @throws PemFault also when they are in another order */
export function readChain(pem: string): X509Certificate[] {
  const chain = readCertificates(pem)
  for (let i = 1; i < chain.length; i++) {
    // RFC 5246 wants this order; clients differ in what they make of another one (RFC 8446, 4.4.2).
    if ((chain[i - 1] as X509Certificate).checkIssued(chain[i] as X509Certificate)) continue
    throw new PemFault(
      `is not a chain: certificate ${i + 1} did not issue certificate ${i}`,
      "write the gateway's own certificate first, then the issuer of each"
    )
  }
  return chain
}

/** @throws PemFault also when the key is encrypted */
export function readPrivateKey(pem: string): KeyObject {
  const found = [...pem.matchAll(blocks)]
  const key = found.find(([, label]) => label?.endsWith('PRIVATE KEY'))
  if (key === undefined) {
    const isCertificate = found.some(([, label]) => certificateLabels.has(label as string))
    if (isCertificate)
      throw new PemFault('holds a certificate and no private key', 'look whether cert and key are exchanged')
    throw new PemFault(
      'holds no private key in PEM',
      'write PEM, which begins with -----BEGIN PRIVATE KEY-----'
    )
  }
  if (key[1] === 'ENCRYPTED PRIVATE KEY' || key[0].includes('Proc-Type: 4,ENCRYPTED')) {
    throw new PemFault('holds an encrypted key', 'decrypt it: openssl pkey -in KEY -out DECRYPTED')
  }
  try {
    return createPrivateKey(key[0])
  } catch {
    // Without a cause: what OpenSSL says of a key stays out of every log.
    throw new PemFault(
      'holds a private key that does not parse',
      'look whether the file is whole, and copy it again'
    )
  }
}

/** @throws PemFault when the key is not that of the first certificate; the fault is of the key */
export function checkFit(chain: readonly X509Certificate[], key: KeyObject): void {
  if (chain[0]?.checkPrivateKey(key)) return
  if (chain.some(certificate => certificate.checkPrivateKey(key))) {
    throw new PemFault(
      'belongs to another certificate of the chain than the first',
      "write the gateway's own certificate first, then the issuer of each"
    )
  }
  throw new PemFault(
    'does not belong to the certificate',
    'write the key that the certificate was requested with'
  )
}
