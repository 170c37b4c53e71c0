import t from 'tap'
import { createLog } from '../../../src/log.ts'
import type { SessionRecord } from '../../../src/session/contract.ts'
import { IssuerUnavailable, SignInRefused } from '../../../src/session/issuer-failure.ts'
import { MemorySessionStore } from '../../../src/session/memory-store.ts'
import type { OidcClient, SignedIn } from '../../../src/session/oidc-client.ts'
import { Refresher } from '../../../src/session/refresher.ts'

function expired(): SessionRecord {
  const now = Date.now()
  return {
    issuerName: 'corp',
    issuer: 'https://idp.example.com',
    clientId: 'gateway',
    subject: 'ada',
    sid: null,
    host: 'a',
    claims: { sub: 'ada', groups: ['old'], scope: 'openid' },
    userInfo: { sub: 'ada', email: 'ada@old.example' },
    idToken: 'first',
    refreshToken: 'one',
    refreshAt: now - 1,
    staleAt: now,
    createdAt: now,
    endsAt: now + 60_000,
    idle: 60_000
  }
}

const answer: SignedIn = {
  subject: 'ada',
  sid: null,
  claims: { sub: 'ada', groups: ['new'] },
  userInfo: null,
  scope: null,
  idToken: null,
  refreshToken: 'two',
  expiresAt: Date.now() + 3_600_000
}

/** Replicas with one store, and an issuer that answers when it is told to. */
function replicas(count: number) {
  const store = new MemorySessionStore()
  const { promise, resolve, reject } = Promise.withResolvers<SignedIn>()
  const asked: string[] = []
  const client = {
    refresh(refreshToken: string) {
      asked.push(refreshToken)
      return promise
    }
  } as unknown as OidcClient
  const results: string[] = []
  const all = Array.from(
    { length: count },
    () =>
      new Refresher({ store, log: createLog('silent'), refreshed: (_issuer, result) => results.push(result) })
  )
  return { store, client, asked, results, resolve, reject, all }
}

t.test('replicas refresh a session once', async t => {
  const { store, client, asked, results, resolve, all } = replicas(3)
  store.set('a', expired())
  const waiting = all.flatMap(one => Array.from({ length: 10 }, () => one.refresh('a', client)))
  resolve(answer)
  const found = await Promise.all(waiting)
  t.same(asked, ['one'])
  t.same(results, ['success'])
  t.equal(new Set(found).size, 1)
  t.match(found[0], { refreshToken: 'two', idToken: 'first', claims: { sub: 'ada', groups: ['new'] } })
  t.same(store.get('a'), found[0])
})

t.test(
  'what new tokens say takes the place of what the old ones said, and what they are silent of stays',
  async t => {
    const old = expired()
    const userInfo = { sub: 'ada', groups: ['new'] }
    const rows: [string, Partial<SignedIn>, Partial<SessionRecord>][] = [
      ['nothing', { claims: null }, { claims: old.claims, userInfo: old.userInfo! }],
      [
        'no groups any more, and no scope',
        { claims: { sub: 'ada' } },
        { claims: { scope: 'openid', sub: 'ada' }, userInfo: old.userInfo! }
      ],
      [
        'a smaller scope',
        { claims: null, scope: 'email' },
        { claims: { ...old.claims, scope: 'email' }, userInfo: old.userInfo! }
      ],
      ['more beside the ID token', { claims: null, userInfo }, { claims: old.claims, userInfo }]
    ]
    for (const [what, said, expected] of rows) {
      const { store, client, resolve, all } = replicas(1)
      store.set('a', old)
      resolve({ ...answer, ...said })
      const { claims, userInfo } = (await all[0]!.refresh('a', client)) as SessionRecord
      t.strictSame({ claims, userInfo }, expected, what)
    }
  }
)

t.test('replicas agree that a session has ended', async t => {
  const { store, client, results, reject, all } = replicas(2)
  store.set('a', expired())
  const waiting = all.map(one => one.refresh('a', client))
  reject(new SignInRefused('invalid_grant'))
  t.same(await Promise.all(waiting), [null, null])
  t.same(results, ['refused'])
})

t.test('an issuer that did not answer is left alone for a while', async t => {
  const { store, client, reject, all } = replicas(1)
  store.set('a', expired())
  const [one] = all as [Refresher]
  const waiting = one.refresh('a', client)
  reject(new IssuerUnavailable('down'))
  await t.rejects(waiting, IssuerUnavailable)
  t.equal(one.rests('a'), true)
  t.equal(one.rests('b'), false)
  t.ok(store.lock('refresh:a', 1), 'the lock is free again')
})
