import { Type } from 'typebox'
import { object, port, secret, text } from '../shapes.ts'

const host = text('Address to listen on.', { default: '0.0.0.0' })

const tlsListener = object(
  {
    cert: secret('Certificate chain in PEM. Reloaded when the file changes.'),
    key: secret('Private key in PEM.'),
    clientCa: Type.Optional(secret('CA bundle in PEM that client certificates are verified against.'))
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
