import type { KeyObject, X509Certificate } from 'node:crypto'
import { createSecureContext, type SecureContextOptions } from 'node:tls'
import type { HttpsListenerConfig, SecretRef } from '../config/schema.ts'
import { describeSecret } from '../config/secret.ts'
import { serverNamesOf } from './alt-names.ts'
import { contextOptions } from './context-options.ts'
import { checkFit, PemFault, readCertificates, readChain, readPrivateKey } from './pem.ts'

export type TlsConfig = HttpsListenerConfig['tls']

/** What is wrong, and where below `listeners.https.tls`. The message names the file or variable and quotes nothing of it. */
export interface TlsFault {
  readonly path: readonly (string | number)[]
  readonly message: string
  readonly remedy: string
}

/** A certificate that can be served. */
export interface Pair {
  readonly place: string
  readonly chain: readonly X509Certificate[]
  /** DNS names that it is for, in lower case. */
  readonly names: readonly string[]
  readonly options: SecureContextOptions
}

export interface Examined {
  /** Every certificate that is sound; the first of the configuration is the default. */
  readonly pairs: readonly Pair[]
  readonly clientCa: readonly X509Certificate[]
  readonly faults: readonly TlsFault[]
}

/**
 * Judges everything that the listener's TLS refers to, so that what is taken into use cannot fail at a handshake.
 * Certificates out of their time are sound: their clients refuse them, and a new one may be minutes away.
 * @param textOf the text behind a reference; null where there is none, which somebody else reports
 */
export function examine(tls: TlsConfig, textOf: (ref: SecretRef) => string | null): Examined {
  const faults: TlsFault[] = []
  const clientCa =
    tls.clientCa === undefined ? [] : (read(tls.clientCa, ['clientCa'], readCertificates) ?? [])
  const ca = tls.clientCa === undefined || clientCa.length === 0 ? undefined : textOf(tls.clientCa)
  const pairs: Pair[] = []
  const holders = new Map<string, string>()
  pair(tls.cert, tls.key, [])
  tls.certificates.forEach(({ cert, key }, index) => {
    pair(cert, key, ['certificates', index])
  })
  return { pairs, clientCa, faults }

  function pair(certRef: SecretRef, keyRef: SecretRef, path: readonly (string | number)[]): void {
    const place = [...path, 'cert']
    const chain = read(certRef, place, readChain)
    const key = read(keyRef, [...path, 'key'], readPrivateKey)
    const names = chain === null ? [] : judgeNames(certRef, place, chain)
    if (chain === null || key === null) return
    const options = judgeUse(certRef, keyRef, path, chain, key)
    if (options !== null) pairs.push({ place: describeSecret(certRef), chain, names, options })
  }

  function judgeUse(
    certRef: SecretRef,
    keyRef: SecretRef,
    path: readonly (string | number)[],
    chain: readonly X509Certificate[],
    key: KeyObject
  ): SecureContextOptions | null {
    try {
      checkFit(chain, key)
    } catch (error) {
      report(keyRef, [...path, 'key'], error)
      return null
    }
    const options = contextOptions(textOf(certRef) ?? '', textOf(keyRef) ?? '', ca ?? undefined)
    try {
      createSecureContext(options)
      return options
    } catch (error) {
      const { code = 'unknown error' } = error as NodeJS.ErrnoException
      const remedy = 'use a certificate with a key on P-256 or an RSA key of 2048 bits or more'
      report(certRef, [...path, 'cert'], new PemFault(`is refused by OpenSSL (${code})`, remedy))
      return null
    }
  }

  function judgeNames(
    ref: SecretRef,
    path: readonly (string | number)[],
    chain: readonly X509Certificate[]
  ): string[] {
    const names = read(ref, path, () => serverNamesOf(chain[0] as X509Certificate)) ?? []
    if (names.length === 0 && path.length > 1) {
      const remedy = 'request it with subjectAltName DNS, or remove it'
      report(ref, path, new PemFault('has no DNS name, so that no client could ask for it', remedy))
    }
    for (const name of names) {
      const other = holders.get(name)
      if (other === undefined) holders.set(name, describeSecret(ref))
      else report(ref, path, new PemFault(`is for ${name}, as is ${other}`, 'keep one of the two'))
    }
    return names
  }

  function read<T>(ref: SecretRef, path: readonly (string | number)[], parse: (text: string) => T): T | null {
    const text = textOf(ref)
    if (text === null) return null
    try {
      return parse(text)
    } catch (error) {
      report(ref, path, error)
      return null
    }
  }

  function report(ref: SecretRef, path: readonly (string | number)[], error: unknown): void {
    const { message } = error as Error
    const remedy = error instanceof PemFault ? error.remedy : 'request a new certificate'
    faults.push({ path, message: `${describeSecret(ref)} ${message}`, remedy })
  }
}
