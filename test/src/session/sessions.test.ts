import { signerFactory } from '@fastify/cookie'
import t from 'tap'
import { createLog } from '../../../src/log.ts'
import type { SessionRecord, SessionStore } from '../../../src/session/contract.ts'
import { MemorySessionStore } from '../../../src/session/memory-store.ts'
import type { SessionIssuer } from '../../../src/session/options.ts'
import { Sessions } from '../../../src/session/sessions.ts'
import { identity } from '../../fixtures/route.ts'

const secret = 'a secret of sessions that is long enough'
const id = 'i'.repeat(43)
const headers = { host: 'a', cookie: `sp=${encodeURIComponent(signerFactory(secret).sign(id))}` }
const settings = { issuer: 'https://idp.example.com', clientId: 'gateway' }
const issuer = {
  name: 'corp',
  client: { settings },
  staleIfError: 0,
  readIdentity: (claims: Record<string, unknown>) => identity({ subject: String(claims.sub) })
} as unknown as SessionIssuer

function record(): SessionRecord {
  const now = Date.now()
  return {
    issuerName: 'corp',
    issuer: settings.issuer,
    clientId: settings.clientId,
    subject: 'ada',
    sid: null,
    host: 'a',
    claims: { sub: 'ada' },
    idToken: '',
    refreshToken: null,
    refreshAt: now + 60_000,
    staleAt: now + 60_000,
    createdAt: now,
    endsAt: now + 60_000,
    idle: 60_000
  }
}

function sessions(store: SessionStore): Sessions {
  return new Sessions({
    store,
    refresher: { rests: () => false, refresh: async () => null },
    log: createLog('silent'),
    secret,
    cookie: { name: 'sp', secure: true },
    externalUrl: 'https://a',
    hosts: [],
    idle: 60_000,
    lifetime: 60_000,
    issuers: new Map([['corp', issuer]]),
    signedIn: () => undefined
  })
}

t.test('nobody waits until a store has noted that a session is used', async t => {
  const memory = new MemorySessionStore()
  memory.set(id, record())
  const touched: string[] = []
  const slow = Object.create(memory, {
    get: { value: async (one: string) => memory.get(one) },
    touch: {
      value: (one: string) => {
        touched.push(one)
        return touched.length === 1 ? new Promise(() => {}) : Promise.reject(new Error('down'))
      }
    }
  }) as SessionStore
  for (let request = 1; request <= 2; request++) {
    t.match(await sessions(slow).identify(headers, issuer), { subject: 'ada' })
    t.equal(touched.length, request)
  }
})
