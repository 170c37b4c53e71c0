import t from 'tap'
import { bytes } from '../../fixtures/hostile-tokens/forge.ts'
import { forgeFor, goodTokens, hostileTokens } from '../../fixtures/hostile-tokens.ts'
import { type Claims, localIssuer, makeKey, reasonOf, trust } from '../../fixtures/issuer.ts'

// Every row of the token rules (RFC 8725, RFC 9068) against the verifier alone; test/behaviour/hostile-tokens.test.ts is the gateway.
const issuer = await localIssuer(t)
const forge = forgeFor(issuer, 'http://127.0.0.1:1')
const { verifier, metrics } = trust(t, issuer.settings({ algorithms: ['RS256', 'ES256'] }))
await metrics.fetched(1)

const good = await issuer.sign()
const now = Math.floor(Date.now() / 1000)

const reasonFor = (token: string) => reasonOf(verifier, token)

t.test('a good token gives the identity that its claims describe', async t => {
  const extra = { email: 'alice@example.com', groups: ['staff'], realm_access: { roles: ['admin'] } }
  const token = await issuer.sign({ ...extra, exp: now + 60 })
  t.match(await verifier.verify(token), {
    kind: 'jwt',
    subject: 'alice',
    issuer: issuer.url,
    email: 'alice@example.com',
    scopes: ['orders:read', 'orders:write'],
    groups: ['staff'],
    roles: ['admin'],
    claims: { aud: 'orders-api' },
    expiresAt: (now + 60) * 1000
  })
})

t.test('an identity cannot be written to, at any depth', async t => {
  const identity = await verifier.verify(await issuer.sign({ realm_access: { roles: ['user'] } }))
  t.ok(Object.isFrozen(identity))
  t.ok(Object.isFrozen(identity.scopes))
  t.ok(Object.isFrozen(identity.claims))
  t.throws(() => (identity.claims.realm_access as { roles: string[] }).roles.push('admin'), TypeError)
})

t.test('hostile tokens are refused for a reason that is right', async t => {
  for (const { name, make, expect } of hostileTokens) {
    const made = await make(forge)
    // Forms of the header, and scopes, are for the plugin.
    if (typeof made !== 'string' || expect.includes('scope.missing')) continue
    const reason = await reasonFor(made)
    t.ok((expect as readonly string[]).includes(reason), `${name}: ${reason}`)
  }
})

t.test('good tokens are accepted, some of them barely', async t => {
  for (const { name, make } of goodTokens) {
    const made = make(forge)
    if (typeof made === 'string') t.equal(await reasonFor(made), 'accepted', name)
  }
  t.same(issuer.asked.other, [], 'whatever the tokens say of keys')
})

t.test('access tokens of issuers that do not name scopes as RFC 9068 does', async t => {
  const rows: [string, Claims, string | undefined][] = [
    ['Auth0', { permissions: ['read'], scope: undefined }, 'JWT'],
    ['Entra', { scp: 'read', scope: undefined, aio: 'a', uti: 'u', ver: '2.0', nbf: now }, 'JWT'],
    ['Entra for a daemon', { roles: ['Reader'], scope: undefined, azp: 'c', idtyp: 'app' }, 'JWT'],
    ['Okta', { scp: ['read'], scope: undefined, cid: 'c', auth_time: now }, undefined]
  ]
  for (const [name, claims, typ] of rows)
    t.equal(await reasonFor(forge.sign(claims, { typ })), 'accepted', name)
})

t.test('clocks may differ by the tolerance and no more', async t => {
  t.equal(await reasonFor(await issuer.sign({ exp: now - 10 })), 'accepted')
  t.equal(await reasonFor(await issuer.sign({ nbf: now + 10, iat: now + 10 })), 'accepted')
})

t.test('a token without kid is accepted only when exactly one key fits', async t => {
  const single = await localIssuer(t)
  single.keys = [makeKey('ES256', 'ec'), makeKey('RS256', 'rsa')]
  const one = trust(t, single.settings())
  await one.metrics.fetched(1)
  for (const key of single.keys)
    t.equal(await reasonOf(one.verifier, await single.sign({}, { kid: undefined }, key)), 'accepted')

  const twin = await localIssuer(t)
  twin.keys = [makeKey('ES256', 'a'), makeKey('ES256', 'b')]
  const other = trust(t, twin.settings())
  await other.metrics.fetched(1)
  const token = await twin.sign({}, { kid: undefined })
  t.equal(await reasonOf(other.verifier, token), 'token.invalid')
  t.equal(twin.asked.keys, 1, 'and asks for no keys')
})

t.test('a token over 16 KiB is refused by its length, before any byte of it is read', async t => {
  const overlong = {
    length: 16 * 1024 + 1,
    get indexOf(): never {
      throw new Error('was read')
    }
  }
  t.equal(await reasonFor(overlong as unknown as string), 'token.invalid')
  const nearly = await issuer.sign({ filler: 'x'.repeat(11_000) })
  t.ok(nearly.length > 14_000 && nearly.length < 16_384)
  t.equal(await reasonFor(nearly), 'accepted')
  t.equal(await reasonFor(await issuer.sign({ filler: 'x'.repeat(13_000) })), 'token.invalid')
})

t.test('a refused token comes with a challenge that tells nothing but the reason', async t => {
  const refusal = await Promise.resolve()
    .then(() => verifier.verify(forge.sign({}, { alg: 'none' }, bytes(''))))
    .catch(error => error)
  t.equal(
    refusal.headers['www-authenticate'],
    'Bearer realm="sallyport", error="invalid_token", error_description="The token is not valid"'
  )
})

t.test('a refused token is refused again, and good ones stay in the cache', async t => {
  const bad = forge.sign({}, {}, bytes(Buffer.alloc(64, 1)))
  const identity = await verifier.verify(good)
  for (let n = 0; n < 3; n++) t.equal(await reasonFor(bad), 'token.invalid')
  t.equal(verifier.cached(bad), undefined)
  t.equal(verifier.cached(good), identity)
})
