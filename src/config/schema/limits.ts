import { count, duration, durationOrZero, object, size } from '../shapes.ts'

export const limits = object(
  {
    headerTimeout: duration('Longest time for the head of a request to arrive.', { default: '10s' }),
    requestTimeout: duration('Longest time for a whole request, body included, to arrive.', {
      default: '30s'
    }),
    keepAliveTimeout: duration('How long an idle client connection is kept.', { default: '60s' }),
    maxHeaderBytes: size('Largest head of a request. Beyond it: 431.', { default: '16Ki' }),
    maxHeaderCount: count('Most header fields of a request. Beyond it: 431.', { default: 100 }),
    maxBody: size('Largest request body. Beyond it: 413. A route may override it.', { default: '10Mi' }),
    maxConnections: count('Most client connections at once.', { default: 10_000 }),
    maxStreamsPerConnection: count('Most concurrent HTTP/2 streams of one connection.', { default: 100 }),
    drainDelay: durationOrZero('On shutdown: how long readiness is off while traffic is still served.', {
      default: '5s'
    }),
    drainTimeout: duration('On shutdown: how long requests under way may take to end.', { default: '25s' }),
    overload: object(
      {
        eventLoopLag: duration('Beyond this lag new requests get 503 and Retry-After; health never does.', {
          default: '100ms'
        })
      },
      { default: {}, description: 'When the gateway sheds load.' }
    )
  },
  { default: {}, description: 'What a client may cost.' }
)
