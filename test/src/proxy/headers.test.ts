import fc from 'fast-check'
import t from 'tap'
import { encodeClaim, isForwarded } from '../../../src/proxy/headers.ts'

/** Everything that only the gateway may say (design, section 8), and what belongs to one connection. */
const reserved = [
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-proto',
  'x-forwarded-port',
  'x-forwarded-user',
  'x-forwarded-email',
  'x-forwarded-groups',
  'x-forwarded-anything',
  'x-sallyport-identity',
  'forwarded',
  'x-real-ip',
  'x-original-url',
  'x-rewrite-url',
  'x-http-method-override',
  'x-http-method',
  'x-method-override',
  'x-request-id',
  'traceparent',
  'host',
  'expect',
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'http2-settings'
]

/** A name with each `-` as one of the characters that some backend reads as it. Node has lower-cased names by then. */
const spelled = fc
  .constantFrom(...reserved)
  .chain(name =>
    fc
      .array(fc.constantFrom('-', '_', '.'), { minLength: name.length, maxLength: name.length })
      .map(marks => name.replaceAll(/-/g, (_dash, at: number) => marks[at] as string))
  )

t.test('no spelling of a reserved header is forwarded', async t => {
  fc.assert(fc.property(spelled, name => !isForwarded(name)))
  for (const name of reserved) t.notOk(isForwarded(name), name)
})

t.test('headers of the application are forwarded', async t => {
  for (const name of [
    'authorization',
    'cookie',
    'x-api-key',
    'content-type',
    'x-forward',
    'te-st',
    'tracestate'
  ]) {
    t.ok(isForwarded(name), name)
  }
})

t.test('a claim is always one value that can stand in a list, and short', async _t => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 3000 }), claim => {
      const encoded = encodeClaim(claim)
      if (!/^[\x21-\x7e]*$/.test(encoded) || encoded.includes(',')) return false
      return encoded.length <= 9 * 1024 && decodeURIComponent(encoded) === claim.slice(0, 1024).toWellFormed()
    })
  )
})
