import t from 'tap'
import type { SessionRecord } from '../../../src/session/contract.ts'
import { handleOf } from '../../../src/session/handle.ts'
import { MemorySessionStore } from '../../../src/session/memory-store.ts'
import { aSignIn, sessionStoreContract } from '../../contract/session-store.ts'

sessionStoreContract(t, async t => {
  let now = 1_000_000
  const store = new MemorySessionStore({ now: () => now })
  t.teardown(() => store.close())
  return {
    store,
    now: () => now,
    pass: milliseconds => {
      now += milliseconds
    }
  }
})

const record: SessionRecord = {
  issuerName: 'corp',
  issuer: 'https://idp.example.com',
  clientId: 'gateway',
  subject: 'ada',
  sid: null,
  host: 'a',
  claims: {},
  idToken: '',
  refreshToken: null,
  refreshAt: 0,
  staleAt: 0,
  createdAt: 0,
  endsAt: Number.MAX_SAFE_INTEGER,
  idle: 1000
}

t.test('it never holds more than it may: the session that was not used for longest goes', async t => {
  const store = new MemorySessionStore({ maxSessions: 3 })
  for (const id of ['a', 'b', 'c']) store.set(id, { ...record, subject: id })
  store.touch('a')
  store.set('d', record)
  t.equal(store.get('b'), null)
  t.same(
    store.list({ limit: 10 }).sessions.map(({ handle }) => handle),
    ['c', 'a', 'd'].map(handleOf)
  )
  t.equal(store.destroyOf({ issuer: record.issuer, subject: 'b' }), 0)
})

t.test('whoever begins sign-ins without end drops those of their own', async t => {
  const store = new MemorySessionStore({ maxSignIns: 100, maxSignInsOfOne: 3 })
  store.keep('of somebody else', aSignIn, 600_000, '192.0.2.1')
  for (let i = 0; i < 1000; i++) store.keep(`key-${i}`, aSignIn, 600_000, '192.0.2.2')
  t.ok(store.take('of somebody else'))
  t.equal(store.take('key-996'), null)
  t.ok(store.take('key-997'))
  for (let i = 0; i < 2; i++) store.keep(`more-${i}`, aSignIn, 600_000, '192.0.2.2')
  t.equal(store.take('key-998'), null, 'one that is over has made room for one')
  t.ok(store.take('key-999'))
  store.keep('again', aSignIn, 600_000, '192.0.2.3')
  store.keep('again', aSignIn, 600_000, '192.0.2.3')
  t.ok(store.take('again'))
})

t.test('a flood of sign-ins takes no more memory than the cap', async t => {
  const store = new MemorySessionStore({ maxSignIns: 100 })
  for (let i = 0; i < 10_000; i++) store.keep(`key-${i}`, aSignIn, 600_000, String(i))
  t.equal(store.take('key-9899'), null)
  t.ok(store.take('key-9900'))
  t.ok(store.take('key-9999'))
})
