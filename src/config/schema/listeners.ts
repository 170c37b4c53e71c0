import { Type } from 'typebox'
import { object, port, secret, text } from '../shapes.ts'

const host = text('Address to listen on.', { default: '0.0.0.0' })

const tlsListener = object(
  {
    cert: secret(
      "Certificate chain in PEM, the gateway's own first. Served to clients that ask for no name, or for one that no other certificate has. Reloaded when the file changes."
    ),
    key: secret('Private key in PEM, not encrypted. Reloaded when the file changes.'),
    clientCa: Type.Optional(
      secret(
        'CA bundle in PEM that client certificates are verified against. Clients are asked for one; one that does not verify ends the connection. Reloaded when the file changes.'
      )
    ),
    certificates: Type.Array(
      object({
        cert: secret('Certificate chain in PEM. Chosen by its DNS names, wildcards included.'),
        key: secret('Private key in PEM, not encrypted.')
      }),
      { default: [], description: 'Further certificates, chosen by the name that the client asks for (SNI).' }
    )
  },
  { description: 'Certificate of the listener.' }
)

export const listeners = object(
  {
    http: Type.Optional(
      object(
        { host, port: port('Port; 0 takes any free one.', { minimum: 0, default: 8080 }) },
        {
          description: 'HTTP/1.1 and WebSocket. On 0.0.0.0:8080 when no listener but `admin` is configured.'
        }
      )
    ),
    h2c: Type.Optional(
      object(
        { host, port: port('Port; 0 takes any free one.', { minimum: 0, default: 8081 }) },
        { description: 'Cleartext HTTP/2, for gRPC inside a cluster.' }
      )
    ),
    https: Type.Optional(
      object(
        { host, port: port('Port; 0 takes any free one.', { minimum: 0, default: 8443 }), tls: tlsListener },
        { description: 'TLS with ALPN h2 and http/1.1.' }
      )
    ),
    admin: object(
      {
        host: text('Address to listen on.', { default: '127.0.0.1' }),
        port: port('Port; 0 takes any free one.', { minimum: 0, default: 9090 })
      },
      {
        default: {},
        description: 'Health, metrics, routes and the redacted configuration. Read-only, never proxied.'
      }
    )
  },
  { default: {}, description: 'The sockets that the gateway opens.' }
)
