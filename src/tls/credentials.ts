import type { X509Certificate } from 'node:crypto'
import { createSecureContext, type SecureContext, type SecureContextOptions } from 'node:tls'
import type { SecretRef } from '../config/schema.ts'
import { readSecret } from '../config/secret.ts'
import { wildcardOf } from './alt-names.ts'
import { type Examined, examine, type Pair, type TlsConfig } from './examine.ts'

/** What a log may say of a certificate in use. */
export interface ServedCertificate {
  readonly source: string
  readonly names: readonly string[]
  readonly notAfter: string
  readonly fingerprint256: string
}

/** The certificates of a listener at one moment. Immutable: a reload makes others. */
export class Credentials {
  /** Of the default certificate, for `tls.Server.setSecureContext`. */
  readonly options: SecureContextOptions
  /** Whether clients are asked for a certificate. */
  readonly asksClients: boolean
  readonly served: readonly ServedCertificate[]
  /** One sentence for each certificate that is out of its time. */
  readonly warnings: readonly string[]
  /** Null is the default. */
  readonly #contexts = new Map<string, SecureContext | null>()

  constructor({ pairs, clientCa }: Examined, now: number) {
    const [first, ...others] = pairs
    if (first === undefined) throw new Error('no certificate to serve')
    this.options = first.options
    this.asksClients = clientCa.length > 0
    this.served = pairs.map(describe)
    this.warnings = [
      ...pairs.map(({ place, chain }) => untimely(place, chain, now)),
      untimely('clientCa', clientCa, now)
    ].filter(warning => warning !== null)
    for (const name of first.names) this.#contexts.set(name, null)
    for (const { names, options } of others) {
      const context = createSecureContext(options)
      for (const name of names) this.#contexts.set(name, context)
    }
  }

  /** The context for the name that a client asks for, exact before wildcard; null: the default one. */
  find(servername: string): SecureContext | null {
    const name = servername.toLowerCase()
    const exact = this.#contexts.get(name)
    if (exact !== undefined) return exact
    const wildcard = wildcardOf(name)
    return wildcard === null ? null : (this.#contexts.get(wildcard) ?? null)
  }
}

/**
 * Reads and judges everything that the listener's TLS refers to.
 * Rejects with every fault, one a line: cause, then remedy. No message quotes what was read.
 */
export async function loadCredentials(
  tls: TlsConfig,
  env: Readonly<Record<string, string | undefined>> = process.env,
  now = Date.now()
): Promise<Credentials> {
  const texts = new Map<SecretRef, string>()
  for (const ref of secretsOf(tls)) texts.set(ref, await readSecret(ref, env))
  const examined = examine(tls, ref => texts.get(ref) ?? null)
  if (examined.faults.length > 0) {
    throw new Error(examined.faults.map(({ message, remedy }) => `${message}: ${remedy}`).join('\n'))
  }
  return new Credentials(examined, now)
}

/** Every reference of the listener's TLS. */
export function secretsOf({ cert, key, clientCa, certificates }: TlsConfig): SecretRef[] {
  const all = [cert, key, ...certificates.flatMap(each => [each.cert, each.key])]
  return clientCa === undefined ? all : [...all, clientCa]
}

function describe({ place, chain, names }: Pair): ServedCertificate {
  const { validTo, fingerprint256 } = chain[0] as X509Certificate
  return { source: place, names, notAfter: new Date(validTo).toISOString(), fingerprint256 }
}

function untimely(place: string, chain: readonly X509Certificate[], now: number): string | null {
  for (const { validFrom, validTo } of chain) {
    if (Date.parse(validTo) < now) return `${place}: a certificate has expired on ${validTo}: renew it`
    if (Date.parse(validFrom) > now) {
      return `${place}: a certificate is not valid before ${validFrom}: look at the clock, or wait`
    }
  }
  return null
}
