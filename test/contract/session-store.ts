import type { Test } from 'tap'
import type { PendingSignIn, SessionRecord, SessionStore } from '../../src/session/contract.ts'
import { handleOf } from '../../src/session/handle.ts'

export interface StoreUnderTest {
  readonly store: SessionStore
  /** Lets so many milliseconds pass for the store. */
  pass(milliseconds: number): void | Promise<void>
  /** What `Date.now()` is for the store. */
  now(): number
}

/** A sign-in that is under way, as good as any. */
export const aSignIn: PendingSignIn = {
  issuerName: 'corp',
  state: 'state',
  nonce: 'nonce',
  verifier: 'verifier',
  origin: 'https://a.example.com',
  callback: '/oauth2/callback',
  returnTo: '/deep?link'
}

/** What every store of sessions must do; `make` gives an empty one. */
export function sessionStoreContract(t: Test, make: (t: Test) => Promise<StoreUnderTest>): void {
  async function withStore(t: Test) {
    const { store, pass, now } = await make(t)
    const record = (changes: Partial<SessionRecord> = {}): SessionRecord => ({
      issuerName: 'corp',
      issuer: 'https://idp.example.com',
      clientId: 'gateway',
      subject: 'ada',
      sid: 'one',
      host: 'a.example.com',
      claims: { sub: 'ada', groups: ['admins'] },
      idToken: 'id-token',
      refreshToken: 'refresh-token',
      refreshAt: now() + 1000,
      staleAt: now() + 2000,
      createdAt: now(),
      endsAt: now() + 10_000,
      idle: 3000,
      ...changes
    })
    return { store, pass, record }
  }

  t.test('a session is what was set, until it is destroyed', async t => {
    const { store, record } = await withStore(t)
    const set = record()
    t.equal(await store.get('a'), null)
    await store.set('a', set)
    t.same(await store.get('a'), set)
    t.equal(await store.get('b'), null)
    await store.destroy('a')
    t.equal(await store.get('a'), null)
    await store.destroy('a')
  })

  t.test('a session that nobody uses ends after its idle time, one that is used at its end', async t => {
    const { store, record, pass } = await withStore(t)
    await store.set('unused', record())
    await store.set('used', record({ sid: 'two' }))
    for (let i = 0; i < 4; i++) {
      await pass(2400)
      await store.touch('used')
      t.ok(await store.get('used'), `after ${(i + 1) * 2400} ms`)
    }
    t.equal(await store.get('unused'), null)
    await pass(401)
    t.equal(await store.get('used'), null, 'its lifetime is over')
    await store.touch('used')
    t.equal(await store.get('used'), null, 'nothing brings it back')
  })

  t.test('what is updated stays, and what has ended is not brought back by an update', async t => {
    const { store, record } = await withStore(t)
    await store.set('a', record())
    const next = record({ refreshToken: 'next' })
    t.equal(await store.update('a', next), true)
    t.same(await store.get('a'), next)
    await store.destroy('a')
    t.equal(await store.update('a', next), false)
    t.equal(await store.get('a'), null)
    t.equal(await store.destroyOf({ issuer: next.issuer, subject: 'ada' }), 0, 'not in the index either')
  })

  t.test(
    'an issuer ends one session by its sid, or all of a subject, and none of another issuer',
    async t => {
      const { store, record } = await withStore(t)
      const issuer = 'https://idp.example.com'
      await store.set('a', record({ sid: 'one' }))
      await store.set('b', record({ sid: 'two' }))
      await store.set('c', record({ sid: null }))
      await store.set('bob', record({ sid: 'three', subject: 'bob' }))
      await store.set('other', record({ issuer: 'https://other.example.com', sid: 'one' }))
      t.equal(await store.destroyOf({ issuer, sid: 'one', subject: 'bob' }), 0, 'both have to fit')
      t.equal(await store.destroyOf({ issuer, sid: 'one' }), 1)
      t.equal(await store.get('a'), null)
      t.equal(await store.destroyOf({ issuer, subject: 'ada' }), 2)
      t.equal(await store.get('b'), null)
      t.equal(await store.get('c'), null)
      t.ok(await store.get('bob'))
      t.ok(await store.get('other'))
      t.equal(await store.destroyOf({ issuer, subject: 'nobody' }), 0)
    }
  )

  t.test('those that are alive are listed by their handles, as many as are asked for', async t => {
    const { store, record, pass } = await withStore(t)
    await store.set('old', record())
    await pass(3001)
    const a = record()
    await store.set('a', a)
    await store.set('b', record({ subject: 'bob' }))
    const handles = async (limit: number) => {
      const { sessions, isCut } = await store.list({ limit })
      return [sessions.map(({ handle }) => handle).sort(), isCut]
    }
    t.same(await handles(10), [[handleOf('a'), handleOf('b')].sort(), false])
    t.same(await handles(2), [[handleOf('a'), handleOf('b')].sort(), false])
    const one = await store.list({ limit: 1 })
    t.match([one.sessions.length, one.isCut], [1, true])
    t.same(await store.list({ limit: 10, subject: 'ada' }), {
      sessions: [{ handle: handleOf('a'), record: a }],
      isCut: false
    })
  })

  t.test('those of an issuer, of a subject and of both are listed', async t => {
    const { store, record } = await withStore(t)
    const issuer = 'https://idp.example.com'
    const other = 'https://other.example.com'
    await store.set('a1', record({ sid: 'one' }))
    await store.set('a2', record({ sid: null }))
    await store.set('bob', record({ subject: 'bob', sid: 'two' }))
    await store.set('else', record({ issuer: other, sid: 'one' }))
    const count = async (query: { issuer?: string; subject?: string }, limit = 10) => {
      const { sessions, isCut } = await store.list({ ...query, limit })
      return [sessions.length, isCut]
    }
    t.same(await count({}), [4, false])
    t.same(await count({ issuer }), [3, false])
    t.same(await count({ subject: 'ada' }), [3, false])
    t.same(await count({ issuer, subject: 'ada' }), [2, false])
    t.same(await count({ issuer, subject: 'ada' }, 1), [1, true])
    t.same(await count({ issuer, subject: 'nobody' }), [0, false])
    t.same(await count({ issuer: other, subject: 'bob' }), [0, false])
  })

  t.test('a session is ended by its handle, once; its id is no handle', async t => {
    const { store, record } = await withStore(t)
    const set = record()
    await store.set('a', set)
    await store.set('b', record({ sid: 'two' }))
    t.equal(await store.end('a'), null)
    t.same(await store.end(handleOf('a')), set)
    t.equal(await store.get('a'), null)
    t.equal(await store.end(handleOf('a')), null)
    t.equal(await store.update('a', set), false, 'nothing brings it back')
    t.ok(await store.get('b'))
    t.equal((await store.list({ limit: 10 })).sessions.length, 1)
  })

  t.test('what has ended by itself cannot be ended', async t => {
    const { store, record, pass } = await withStore(t)
    await store.set('a', record())
    await pass(3001)
    t.equal(await store.end(handleOf('a')), null)
  })

  t.test('a sign-in is given away once, and not when it is too old', async t => {
    const { store, pass } = await withStore(t)
    await store.keep('a', aSignIn, 1000, '192.0.2.1')
    t.same(await store.take('a'), aSignIn)
    t.equal(await store.take('a'), null)
    await store.keep('b', aSignIn, 1000, '192.0.2.1')
    await pass(1001)
    t.equal(await store.take('b'), null)
  })

  t.test('a lock is held by one, until it is let go of or too old', async t => {
    const { store, pass } = await withStore(t)
    const release = await store.lock('a', 1000)
    t.ok(release)
    t.equal(await store.lock('a', 1000), null)
    t.ok(await store.lock('b', 1000), 'another one')
    await release?.()
    const second = await store.lock('a', 1000)
    t.ok(second)
    await pass(1001)
    const third = await store.lock('a', 1000)
    t.ok(third)
    await second?.()
    t.equal(await store.lock('a', 1000), null, 'who comes late lets go of nothing')
  })
}
