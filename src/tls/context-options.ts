import { constants } from 'node:crypto'
import type { SecureContextOptions } from 'node:tls'

/** Mozilla's intermediate profile without finite-field Diffie-Hellman: forward secrecy and authenticated encryption only. */
const ciphers = [
  'TLS_AES_128_GCM_SHA256',
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305'
].join(':')

/** How every connection of the listener is secured. Stated whole: no default of Node's and no NODE_OPTIONS decides it. */
const common = {
  minVersion: 'TLSv1.2',
  maxVersion: 'TLSv1.3',
  ciphers,
  // All of them are good: the client knows best which one its machine is fast at.
  honorCipherOrder: false,
  // A client of TLS 1.2 could have the handshake done again and again on one connection.
  secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
  // One for all certificates: a session made under one of them would otherwise never be resumed.
  sessionIdContext: 'sallyport'
} satisfies SecureContextOptions

/** The options of one certificate. Each call of `createSecureContext` makes ticket keys of its own. */
export function contextOptions(cert: string, key: string, ca: string | undefined): SecureContextOptions {
  return ca === undefined ? { ...common, cert, key } : { ...common, cert, key, ca }
}
