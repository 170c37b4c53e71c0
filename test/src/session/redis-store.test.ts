import { pino } from 'pino'
import t from 'tap'
import type { SessionRecord } from '../../../src/session/contract.ts'
import { handleOf } from '../../../src/session/handle.ts'
import { RedisSessionStore } from '../../../src/session/redis-store.ts'
import { RedisClient } from '../../../src/store/redis-client.ts'
import { aSignIn, sessionStoreContract } from '../../contract/session-store.ts'
import { startRedis } from '../../fixtures/redis.ts'
import { skipWithout } from '../../fixtures/tool.ts'

const silent = pino({ level: 'silent' })
const day = 86_400_000

const record: SessionRecord = {
  issuerName: 'corp',
  issuer: 'https://idp.example.com',
  clientId: 'gateway',
  subject: 'ada "O\'Neil" \u0000\u{1f600}\n',
  sid: null,
  host: 'a',
  claims: { name: 'a b {}', nested: { list: [1, 2.5, null, {}], empty: [] } },
  idToken: '',
  refreshToken: null,
  refreshAt: Number.MAX_SAFE_INTEGER,
  staleAt: 0,
  createdAt: 0,
  endsAt: Date.now() + day,
  idle: 3_600_000
}

/** A few at a time: the client gives up on a Redis that is slow to answer. */
async function setAll(store: RedisSessionStore, ids: readonly string[]): Promise<void> {
  for (let i = 0; i < ids.length; i += 100)
    await Promise.all(ids.slice(i, i + 100).map(id => store.set(id, { ...record, sid: id })))
}

const server = await startRedis(t)
if (server === null) skipWithout(t, 'redis-server')
else {
  const { client: inspect, url } = server

  const connect = async (t: { teardown(close: () => unknown): void }) => {
    await inspect.flushall()
    const client = new RedisClient(url, silent)
    t.teardown(() => client.close())
    await client.settled()
    return client
  }

  t.test('the Redis store keeps the contract of every store of sessions', async t => {
    sessionStoreContract(t, async t => {
      const client = await connect(t)
      let passed = 0
      const now = () => Date.now() + passed
      return {
        store: new RedisSessionStore(client, { now }),
        now,
        async pass(milliseconds: number) {
          passed += milliseconds
          // Redis has a clock of its own: what would have ended by then ends now.
          for (const key of await inspect.keys('*')) {
            const left = await inspect.pttl(key)
            if (left <= milliseconds) await inspect.del(key)
            else await inspect.pexpire(key, left - milliseconds)
          }
        }
      }
    })
  })

  t.test('whatever a session holds comes back as it was', async t => {
    const store = new RedisSessionStore(await connect(t))
    await store.set('a', record)
    t.same(await store.get('a'), record)
    t.same(await store.list({ limit: 5 }), { sessions: [{ handle: handleOf('a'), record }], isCut: false })
    t.equal(await store.destroyOf({ issuer: record.issuer, subject: record.subject }), 1)
  })

  t.test('what is no session any more is none, and is in the way of no other', async t => {
    const store = new RedisSessionStore(await connect(t))
    const text = (changes: object) => `${record.endsAt} 60000 ${JSON.stringify({ ...record, ...changes })}`
    const rows = [
      '',
      ' ',
      'garbage',
      text({}).slice(0, -1),
      `${record.endsAt} 60000 null`,
      `${record.endsAt} 60000 []`,
      `${record.endsAt} 60000 7`,
      `${record.endsAt} 60000 {}`,
      `${record.endsAt} 60000 ${'['.repeat(2000)}${']'.repeat(2000)}`,
      text({ issuer: null }),
      text({ subject: undefined }),
      text({ subject: { toString: 'ada' } }),
      text({ host: ['a'] }),
      text({ sid: 7 }),
      text({ claims: null }),
      text({ claims: [] }),
      text({ userInfo: 'ada' }),
      text({ refreshToken: {} }),
      text({ refreshAt: '0' }),
      text({ staleAt: null }),
      text({ createdAt: 'now' }),
      text({ endsAt: undefined })
    ]
    for (const row of rows) {
      await store.set('a', { ...record, sid: 'one' })
      await store.set('b', { ...record, sid: 'two' })
      await store.get('a')
      await inspect.set(`sallyport:{session}:s:${handleOf('a')}`, row, 'PX', 60_000)
      t.equal(await store.get('a'), null, row.slice(0, 300))
      await store.touch('a')
      t.equal((await store.list({ limit: 5 })).sessions.length, 1)
      t.equal((await store.list({ limit: 5, subject: record.subject })).sessions.length, 1)
      t.ok(await store.destroyOf({ issuer: record.issuer, subject: record.subject }))
      t.equal(await store.get('b'), null, 'the issuer ends the others')
      await inspect.set(`sallyport:{session}:s:${handleOf('a')}`, row, 'PX', 60_000)
      t.equal(await store.end(handleOf('a')), null)
      t.equal(await inspect.exists(`sallyport:{session}:s:${handleOf('a')}`), 0)
    }
    for (const row of ['', '{', 'null', '7', JSON.stringify({ ...aSignIn, verifier: 7 })]) {
      await store.keep('k', aSignIn, 60_000, '192.0.2.1')
      const [key] = await inspect.keys('sallyport:{session}:p:*')
      await inspect.set(String(key), row)
      t.equal(await store.take('k'), null, row)
    }
  })

  t.test('a session that has not changed is read once', async t => {
    const store = new RedisSessionStore(await connect(t))
    await store.set('a', record)
    const first = await store.get('a')
    t.equal(await store.get('a'), first, 'with whatever is remembered of it')
    await store.update('a', { ...record, claims: { name: 'b' } })
    t.match(await store.get('a'), { claims: { name: 'b' } })
    await store.destroy('a')
    t.equal(await store.get('a'), null)
  })

  t.test('every key ends by itself', async t => {
    const store = new RedisSessionStore(await connect(t))
    await store.set('a', { ...record, sid: 'one' })
    await store.touch('a')
    await store.update('a', record)
    await store.keep('x'.repeat(5000), aSignIn, 600_000, '192.0.2.1')
    await store.lock('refresh:a', 15_000)
    const keys = await inspect.keys('*')
    t.equal(keys.length, 8)
    t.ok(keys.includes(`sallyport:{session}:s:${handleOf('a')}`), 'whoever reads it learns no id')
    for (const key of keys) {
      t.match(key, /^sallyport:\{session\}:[siopl]:[\w-]{1,64}$|^sallyport:\{session\}:(all|p)$/)
      const left = await inspect.pttl(key)
      t.ok(left > 0 && left <= day, `${key}: ${left} ms`)
    }
  })

  t.test('a person with thousands of sessions is listed and ended in pieces', async t => {
    const store = new RedisSessionStore(await connect(t), { maxSessions: 20_000 })
    const many = Array.from({ length: 2500 }, (_, index) => `id-${index}`)
    await setAll(store, many)
    const { issuer, subject } = record
    const all = await store.list({ limit: 5000, issuer, subject })
    t.match([all.sessions.length, all.isCut], [2500, false])
    t.equal(new Set(all.sessions.map(({ handle }) => handle)).size, 2500, 'each of them once')
    await Promise.all(many.slice(0, 1200).map(id => inspect.del(`sallyport:{session}:s:${handleOf(id)}`)))
    const rest = await store.list({ limit: 5000 })
    t.match([rest.sessions.length, rest.isCut], [1300, false], 'what has ended does not hide the others')
    t.equal(await inspect.zcard('sallyport:{session}:all'), 1300, 'and is looked at once')
    t.equal((await store.list({ limit: 5, issuer, subject: 'nobody' })).sessions.length, 0)
    t.equal(await store.destroyOf({ issuer, subject }), 1300)
    t.same((await store.list({ limit: 5 })).sessions, [])
  })

  t.test('a list is looked through for ten thousand sessions, and says that there may be more', async t => {
    const store = new RedisSessionStore(await connect(t))
    const many = Array.from({ length: 10_001 }, (_, index) => `id-${index}`)
    await setAll(store, many)
    t.same(await store.list({ limit: 5, subject: 'nobody' }), { sessions: [], isCut: true })
  })

  t.test('it never holds more than it may', async t => {
    const store = new RedisSessionStore(await connect(t), { maxSessions: 3, maxSignIns: 2 })
    for (const [index, id] of ['a', 'b', 'c', 'd'].entries())
      await store.set(id, { ...record, endsAt: record.endsAt + index })
    t.equal(await store.get('a'), null)
    t.ok(await store.get('d'))
    for (const [index, key] of ['a', 'b', 'c'].entries())
      await store.keep(key, aSignIn, 600_000 + index * 1000, '192.0.2.1')
    t.equal(await store.take('a'), null)
    t.same(await store.take('c'), aSignIn)
  })

  t.test('whoever begins sign-ins without end drops those of their own', async t => {
    let now = Date.now()
    const store = new RedisSessionStore(await connect(t), {
      maxSignIns: 100,
      maxSignInsOfOne: 3,
      now: () => now++
    })
    await store.keep('of somebody else', aSignIn, 600_000, '192.0.2.1')
    for (let i = 0; i < 50; i++) await store.keep(`key-${i}`, aSignIn, 600_000, '192.0.2.2')
    t.equal(await inspect.zcard('sallyport:{session}:p'), 4)
    t.ok(await store.take('of somebody else'))
    t.equal(await store.take('key-46'), null)
    t.ok(await store.take('key-47'))
    t.ok(await store.take('key-49'))
  })

  t.test('one of many holds a lock, and one of many gets a sign-in', async t => {
    const stores = [new RedisSessionStore(await connect(t)), new RedisSessionStore(await connect(t))]
    await stores[0]!.keep('once', aSignIn, 60_000, '192.0.2.1')
    const many = Array.from({ length: 50 }, (_, index) => stores[index % 2]!)
    const locks = await Promise.all(many.map(store => store.lock('refresh:a', 60_000)))
    t.equal(locks.filter(release => release !== null).length, 1)
    const taken = await Promise.all(many.map(store => store.take('once')))
    t.equal(taken.filter(found => found !== null).length, 1)
  })

  t.test('while Redis is down no session is known, and nobody waits', async t => {
    const client = await connect(t)
    const store = new RedisSessionStore(client)
    await store.set('a', record)
    const release = await store.lock('a', 60_000)
    await client.close()
    const start = performance.now()
    const refusals: Promise<unknown>[] = [
      store.get('a'),
      store.set('a', record),
      store.take('a'),
      store.lock('b', 1)
    ]
    for (const refused of refusals)
      await t.rejects(refused, { name: 'Refusal', reason: 'session.unavailable', status: 503 })
    await store.touch('a')
    await release?.()
    t.ok(performance.now() - start < 1000)
  })
}
