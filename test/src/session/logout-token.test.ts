import { randomUUID } from 'node:crypto'
import { SignJWT } from 'jose'
import t from 'tap'
import { LogoutRefused, readLogoutToken } from '../../../src/session/logout-token.ts'
import { MemorySessionStore } from '../../../src/session/memory-store.ts'
import type { SessionIssuer } from '../../../src/session/options.ts'
import { makeKey } from '../../fixtures/issuer.ts'

const url = 'https://idp.example.com'
const key = makeKey('ES256', 'one')
const stranger = makeKey('ES256', 'one')
const rsa = makeKey('RS256', 'two')
const event = 'http://schemas.openid.net/event/backchannel-logout'

function issuer(name: string, issuer: string, clientId = 'gateway'): SessionIssuer {
  const settings = { issuer, clientId, algorithms: ['ES256'], clockTolerance: 30_000 }
  const verifier = { publicKey: async (kid?: string) => (kid === 'one' ? key.publicKey : null) }
  return { name, client: { settings }, verifier } as unknown as SessionIssuer
}

const issuers = [
  issuer('other', 'https://other.example.com'),
  issuer('corp', url),
  issuer('corp-console', url, 'console')
]
const now = () => Math.floor(Date.now() / 1000)

function claims(changes: Record<string, unknown> = {}): Record<string, unknown> {
  const all = {
    iss: url,
    aud: 'gateway',
    iat: now(),
    exp: now() + 120,
    jti: randomUUID(),
    sid: 'one',
    sub: 'ada',
    events: { [event]: {} }
  }
  return JSON.parse(JSON.stringify({ ...all, ...changes }))
}

function sign(
  changes: Record<string, unknown> = {},
  header: Record<string, unknown> = {},
  signer = key
): Promise<string> {
  return new SignJWT(claims(changes))
    .setProtectedHeader({ alg: signer.algorithm, kid: 'one', typ: 'logout+jwt', ...header } as never)
    .sign(signer.privateKey)
}

t.test('a logout token of an issuer says whose sessions end', async t => {
  const store = new MemorySessionStore()
  const rows: [
    Record<string, unknown>,
    Record<string, unknown>,
    { sid: string | null; subject: string | null }
  ][] = [
    [{}, {}, { sid: 'one', subject: 'ada' }],
    [{ sub: undefined }, {}, { sid: 'one', subject: null }],
    [{ sid: undefined }, {}, { sid: null, subject: 'ada' }],
    [{ aud: ['other', 'gateway'] }, {}, { sid: 'one', subject: 'ada' }],
    [{ exp: undefined }, { typ: 'JWT' }, { sid: 'one', subject: 'ada' }],
    [{}, { typ: undefined }, { sid: 'one', subject: 'ada' }],
    [{}, { typ: 'application/logout+jwt' }, { sid: 'one', subject: 'ada' }]
  ]
  for (const [changes, header, expected] of rows) {
    const found = await readLogoutToken(await sign(changes, header), issuers, store)
    t.match(found, { ...expected, issuer: { name: 'corp' } })
  }
})

t.test('one issuer may know the gateway as two clients', async t => {
  const store = new MemorySessionStore()
  t.match(await readLogoutToken(await sign({ aud: 'console' }), issuers, store), {
    issuer: { name: 'corp-console' }
  })
})

t.test('everything else is refused', async t => {
  const store = new MemorySessionStore()
  const rows: [string, Record<string, unknown>, Record<string, unknown>?, typeof key?][] = [
    ['an ID token', { nonce: 'n', events: undefined }],
    ['with a nonce', { nonce: 'n' }],
    ['with an empty nonce', { nonce: '' }],
    ['without events', { events: undefined }],
    ['with other events', { events: { 'http://schemas.openid.net/event/other': {} } }],
    ['with an event that is no object', { events: { [event]: true } }],
    ['with a list of events', { events: [event] }],
    ['about nobody', { sid: undefined, sub: undefined }],
    ['with a sid that is no text', { sid: 7 }],
    ['with an empty sub', { sub: '' }],
    ['without jti', { jti: undefined }],
    ['without iat', { iat: undefined }],
    ['too old', { iat: now() - 1000, exp: undefined }],
    ['expired', { exp: now() - 60 }],
    ['of the future', { iat: now() + 1000 }],
    ['for another client', { aud: 'other' }],
    ['for nobody', { aud: undefined }],
    ['of an unknown issuer', { iss: 'https://evil.example' }],
    ['of the issuer with a slash', { iss: `${url}/` }],
    ['of no issuer', { iss: undefined }],
    ['an access token', {}, { typ: 'at+jwt' }],
    ['a DPoP proof', {}, { typ: 'dpop+jwt' }],
    ['of an unknown key', {}, { kid: 'two' }],
    ['signed by a stranger', {}, {}, stranger],
    ['of another algorithm', {}, {}, rsa]
  ]
  for (const [what, changes, header, signer] of rows)
    await t.rejects(readLogoutToken(await sign(changes, header, signer), issuers, store), LogoutRefused, what)
  const good = await sign()
  const [head, body] = good.split('.')
  for (const token of [
    '',
    '..',
    'a.b.c',
    `${head}.${body}.`,
    `${head}.${body}`,
    good.slice(0, -4),
    `${good}x`,
    'a'.repeat(20_000)
  ])
    await t.rejects(readLogoutToken(token, issuers, store), LogoutRefused)
})

t.test('a logout token is taken once', async t => {
  const store = new MemorySessionStore()
  const token = await sign()
  await readLogoutToken(token, issuers, store)
  await t.rejects(readLogoutToken(token, issuers, store), LogoutRefused)
})
