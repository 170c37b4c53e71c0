import type { FastifyReply, FastifyRequest, HookHandlerDoneFunction } from 'fastify'
import type { RefusalOptions } from '../src/errors.ts'
import type { ClientCertificate } from '../src/gate/client-certificate.ts'
import type { Identity } from '../src/identity.ts'
import type { GatewayPlugin, OptionProblem } from '../src/plugin/define.ts'
import { type FindName, findAltName, findCommonName } from './mtls/names.ts'

export interface MtlsOptions {
  san?: string[]
  cn?: string[]
}

/** RFC 9110, 15.5.2 wants a challenge with every 401. There is no registered scheme for certificates. */
const challenge = 'ClientCertificate realm="sallyport"'
const headers = { 'www-authenticate': challenge }
const noCertificate: RefusalOptions = { headers }
const otherName: RefusalOptions = { headers, detail: 'no name of the certificate is taken' }
const expired: RefusalOptions = {
  headers,
  detail: 'the certificate has expired since the handshake'
}

const patterns = { type: 'array', items: { type: 'string', minLength: 1 }, minItems: 1, uniqueItems: true }

/** Accepts a request on a connection whose client has shown a certificate with one of these names. */
export default {
  name: 'mtls',
  phase: 'authenticate',
  challenge,
  schema: {
    type: 'object',
    description:
      'Accepts requests on connections of TLS whose client has a certificate of `listeners.https.tls.clientCa` with one of these names. The first pattern that fits decides the subject: the name that it fits.',
    properties: {
      san: {
        ...patterns,
        description:
          'Patterns for subject alternative names. With `:` for URIs, compared byte for byte: `*` is a whole segment of the path and stands for one, or as the last one for all that follow (`spiffe://corp/*`, `spiffe://corp/ns/*/sa/web`). With `@` for email addresses (`*@corp.example`: any mailbox). Else for DNS names (`*.corp.example`: one label).'
      },
      cn: {
        ...patterns,
        description:
          'Patterns for the common name of the subject, for certificates without other names: as it is, or with `*` at the end for one or more characters. A subject with several common names fits none.'
      }
    },
    minProperties: 1,
    additionalProperties: false
  },

  check({ san = [], cn = [] }, config) {
    const problems = [...problemsOf('san', san, findAltName), ...problemsOf('cn', cn, findCommonName)]
    if (config.listeners?.https?.tls.clientCa === undefined) {
      const message = 'no listener asks clients for certificates'
      problems.push({ path: [], message, remedy: 'set listeners.https.tls.clientCa' })
    }
    return problems
  },

  carries: () => request => request.gateway.clientCertificate !== null,

  register(route, { san = [], cn = [] }) {
    const { gateway } = route
    const rules = [...san.map(findAltName), ...cn.map(findCommonName)]
    /** A certificate is judged once for a connection. */
    const judged = new WeakMap<ClientCertificate, Identity | null>()

    function identityOf(certificate: ClientCertificate): Identity | null {
      const known = judged.get(certificate)
      if (known !== undefined) return known
      const subject = firstName(rules, certificate)
      const identity = subject === undefined ? null : makeIdentity(certificate, subject)
      judged.set(certificate, identity)
      return identity
    }

    route.addHook(
      'onRequest',
      function authenticateByCertificate(
        request: FastifyRequest,
        _reply: FastifyReply,
        done: HookHandlerDoneFunction
      ) {
        const certificate = request.gateway.clientCertificate
        if (certificate === null) return gateway.deny('token.missing', noCertificate)
        // Connections live longer than handshakes.
        if (Date.now() >= certificate.notAfter.getTime()) return gateway.deny('token.expired', expired)
        const identity = identityOf(certificate)
        if (identity === null) return gateway.deny('token.invalid', otherName)
        request.gateway.identity = identity
        done()
      }
    )
  }
} satisfies GatewayPlugin<MtlsOptions>

function firstName(rules: readonly FindName[], certificate: ClientCertificate): string | undefined {
  for (const find of rules) {
    const name = find(certificate)
    if (name !== undefined) return name
  }
  return undefined
}

function makeIdentity(certificate: ClientCertificate, subject: string): Identity {
  const { issuer, fingerprint256, serial, notAfter } = certificate
  return Object.freeze({
    kind: 'mtls',
    subject,
    issuer: issuer === '' ? 'mtls' : issuer.split('\n').join(', '),
    email: null,
    scopes: Object.freeze([]),
    groups: Object.freeze([]),
    roles: Object.freeze([]),
    claims: Object.freeze({ fingerprint: fingerprint256, serial, subject: certificate.subject }),
    expiresAt: notAfter.getTime()
  })
}

function problemsOf(
  option: 'san' | 'cn',
  written: readonly string[],
  compile: (pattern: string) => FindName
): OptionProblem[] {
  return written.flatMap((pattern, at) => {
    try {
      compile(pattern)
      return []
    } catch (error) {
      const message = `${JSON.stringify(pattern)} ${(error as Error).message}`
      return [{ path: [option, at], message, remedy: 'write the name out, or * where it may stand' }]
    }
  })
}
