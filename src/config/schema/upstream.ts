import { Type } from 'typebox'
import { choice, count, duration, object, percentage, port, secret, text, textMap, texts } from '../shapes.ts'

export const upstream = object(
  {
    url: Type.Optional(text('Origin of the service, `http://host:port` or `https://host:port`.')),
    endpoints: texts('Several origins to balance over, instead of `url`.', {
      default: [],
      uniqueItems: true
    }),
    protocol: choice(
      ['http1', 'h2c', 'h2'],
      'Protocol that is spoken to the upstream. `h2c`: HTTP/2 without TLS, for `http://`. `h2`: HTTP/2 over TLS, for `https://`.',
      { default: 'http1' }
    ),
    resolve: choice(
      ['service', 'all'],
      '`service`: one name, one address. `all`: balance over every A and AAAA record of the name.',
      { default: 'service' }
    ),
    balance: choice(['round-robin', 'least-requests'], 'Which endpoint gets the next request.', {
      default: 'round-robin'
    }),
    tls: Type.Optional(
      object(
        {
          ca: Type.Optional(secret('CA bundle in PEM, instead of the system roots.')),
          serverName: Type.Optional(text('Name in the certificate, when it is not the host of the url.'))
        },
        { description: 'For https urls. Verification cannot be turned off.' }
      )
    ),
    timeouts: object(
      {
        connect: duration('Longest time to connect.', { default: '2s' }),
        response: duration('Longest time until the head of the answer.', { default: '15s' }),
        idle: duration('Longest pause between two pieces of the answer.', { default: '60s' })
      },
      { default: {}, description: 'How long the upstream may take.' }
    ),
    maxInFlight: count('Most requests under way at the upstream. Beyond it: 503 at once.', { default: 1000 }),
    retries: Type.Optional(
      object(
        {
          attempts: count('How often a request is tried again.', { minimum: 0, maximum: 1, default: 1 }),
          on: Type.Array(choice(['connect-failure', 'reset', 502, 503, 504], 'A failure.'), {
            minItems: 1,
            uniqueItems: true,
            default: ['connect-failure'],
            description:
              'Failures after which a request is tried again. After all but `connect-failure` only an idempotent one without a body is.'
          }),
          budget: percentage(
            'Retries as a share of all requests of the upstream, over ten seconds; three are always allowed.',
            { default: '10%' }
          )
        },
        { description: 'Second tries. Only for requests that may be repeated safely.' }
      )
    ),
    circuitBreaker: Type.Optional(
      object(
        {
          failures: count(
            'Failures in a row that open the breaker: no connection, a timeout, a broken answer, 502, 503, 504.',
            { default: 5 }
          ),
          open: duration('How long the upstream then rests, before one request tries it.', { default: '10s' })
        },
        { description: 'Stops asking an upstream that keeps failing.' }
      )
    ),
    healthCheck: Type.Optional(
      object(
        {
          path: text(
            'Path that answers 2xx when the endpoint is well. `/grpc.health.v1.Health/Check` over HTTP/2 is asked as gRPC.'
          ),
          interval: duration('Time between two checks.', { default: '5s' }),
          timeout: duration('Longest time for an answer.', { default: '1s' }),
          healthy: count('Good answers in a row that bring an endpoint back.', { default: 2 }),
          unhealthy: count('Bad answers in a row that take an endpoint out.', { default: 3 })
        },
        { description: 'Active checks of every endpoint. When all are out, all get requests.' }
      )
    ),
    kubernetes: Type.Optional(
      object(
        {
          namespace: text('Namespace of the pods.'),
          podSelector: textMap('Labels of the pods.', { minProperties: 1 }),
          port: port("The pods' port, not the Service's.")
        },
        { description: 'Which pods those are: what the perimeter is made from.' }
      )
    )
  },
  { description: 'A backend service.' }
)
