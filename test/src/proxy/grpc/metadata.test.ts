import { test } from 'tap'
import type { Exchange } from '../../../../src/exchange.ts'
import { addReturned } from '../../../../src/proxy/grpc/metadata.ts'

test('a service sets no cookie of a session, in a head or in trailers', async t => {
  const exchange = { removeResponseHeaders: null, observer: { sessionCookie: '__Host-sallyport' } }
  const list: string[] = []
  const raw = [
    'set-cookie',
    '__Host-sallyport=x',
    'x-a',
    '1',
    'set-cookie',
    '=__host-Sallyport=x',
    'set-cookie',
    'theirs=1'
  ]
  addReturned(list, raw, {}, exchange as unknown as Exchange)
  t.same(list, ['x-a', '1', 'set-cookie', 'theirs=1'])
})
