import type { FastifyRequest } from 'fastify'
import t from 'tap'
import { principalKey } from '../../../src/store/key.ts'
import { identity } from '../../fixtures/route.ts'

function request(known: object, headers: Record<string, string | string[]> = {}) {
  return {
    headers,
    gateway: { clientIp: '192.0.2.1', identity: null, ...known }
  } as unknown as FastifyRequest
}

t.test('different principals never share a key', async t => {
  const subject = principalKey('identity.subject', false)
  const a = subject(request({ identity: identity({ issuer: 'https://a', subject: 'b:c' }) }))
  const b = subject(request({ identity: identity({ issuer: 'https://ab', subject: ':c' }) }))
  const c = subject(
    request({ identity: identity({ issuer: 'https://a', subject: `b:c${'x'.repeat(300)}` }) })
  )
  t.equal(new Set([a, b, c]).size, 3)
})

t.test('keys stay short however long a name is', async t => {
  const long = 'x'.repeat(10_000)
  const known = { identity: identity({ subject: long, issuer: long }) }
  for (const by of ['identity.subject', 'identity.issuer', 'header:x-long', 'client.ip', 'route']) {
    const key = principalKey(by, false)(request(known, { 'x-long': long }))
    t.ok(key.length <= 210, `${by}: ${key.length}`)
  }
})

t.test('a header that comes twice is one value', async t => {
  const key = principalKey('header:x-a', true)
  t.equal(key(request({}, { 'x-a': ['1', '2'] })), key(request({}, { 'x-a': '1,2' })))
})

t.test('what it cannot count for is an error, not a shared count', async t => {
  t.throws(() => principalKey('user', false), { message: /not known/ })
  t.throws(() => principalKey('header:', false), { message: /not known/ })
  t.throws(() => principalKey('identity.subject', true), { message: /the route is public/ })
  t.throws(() => principalKey('identity.subject', false)(request({})), { message: /no identity/ })
})
