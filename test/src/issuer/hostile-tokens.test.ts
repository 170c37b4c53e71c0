import { createHmac } from 'node:crypto'
import t from 'tap'
import {
  base64url,
  type Claims,
  goodClaims,
  localIssuer,
  makeKey,
  reasonOf,
  signTexts,
  trust
} from '../../fixtures/issuer.ts'

// Every row of the token rules (RFC 8725, RFC 9068), against one issuer that publishes an EC and an RSA key.
const issuer = await localIssuer(t)
const ec = makeKey('ES256', 'ec')
const rsa = makeKey('RS256', 'rsa')
issuer.keys = [ec, rsa]
const { verifier, metrics } = trust(t, issuer.settings({ algorithms: ['RS256', 'ES256'] }))
await metrics.fetched(1)

const good = await issuer.sign()
const [head, body, signature] = good.split('.') as [string, string, string]
const header = JSON.stringify({ alg: 'ES256', kid: 'ec' })
const payload = JSON.stringify(goodClaims(issuer))
const now = Math.floor(Date.now() / 1000)

const reasonFor = (token: string) => reasonOf(verifier, token)

function unsigned(alg: string): string {
  return `${base64url(JSON.stringify({ alg, kid: 'ec' }))}.${body}.`
}

function hmacWithPublicKey(secret: string | Buffer): string {
  const input = `${base64url(JSON.stringify({ alg: 'HS256', kid: 'rsa' }))}.${body}`
  return `${input}.${createHmac('sha256', secret).update(input).digest('base64url')}`
}

function withText(name: string, value: string): string {
  return payload.replace(/\}$/, `,"${name}":${value}}`)
}

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

t.test('tokens that are forged or malformed', async t => {
  const der = rsa.publicKey.export({ type: 'spki', format: 'der' })
  const pem = rsa.publicKey.export({ type: 'spki', format: 'pem' })
  const stranger = makeKey('ES256', 'ec')
  const lastIndex = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'.indexOf(
    signature.at(-1)!
  )
  const trailing = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'[lastIndex + 1]!

  const rows: Record<string, string> = {
    'no token': '',
    'one segment': 'abc',
    'two segments': `${head}.${body}`,
    'an empty signature': `${head}.${body}.`,
    'an empty header': `.${body}.${signature}`,
    'an empty payload': `${head}..${signature}`,
    'five segments (JWE)': `${head}.${body}.${signature}.${signature}.${signature}`,
    'alg none': unsigned('none'),
    'alg NONE': unsigned('NONE'),
    'alg nOnE': unsigned('nOnE'),
    'alg none with the signature of another': `${unsigned('none')}${signature}`,
    'alg empty': unsigned(''),
    'alg absent': signTexts(JSON.stringify({ kid: 'ec' }), payload, ec),
    'alg a list': signTexts(JSON.stringify({ alg: ['ES256'], kid: 'ec' }), payload, ec),
    'alg in lower case': signTexts(JSON.stringify({ alg: 'es256', kid: 'ec' }), payload, ec),
    'alg that is not pinned (PS256)': await issuer.sign(
      {},
      { alg: 'PS256', kid: 'rsa' },
      { ...rsa, algorithm: 'PS256' }
    ),
    'alg that does not fit the key': signTexts(JSON.stringify({ alg: 'RS256', kid: 'ec' }), payload, ec),
    'HMAC with the public key as PEM': hmacWithPublicKey(pem),
    'HMAC with the public key as DER': hmacWithPublicKey(der),
    'HMAC with the modulus': hmacWithPublicKey(String(rsa.jwk.n)),
    'the kid of another key': await issuer.sign({}, { kid: 'rsa' }),
    'a key of the same kid that the issuer does not have': await issuer.sign({}, {}, stranger),
    'a kid that is a number': signTexts(JSON.stringify({ alg: 'ES256', kid: 1 }), payload, ec),
    'a kid of 300 characters': await issuer.sign({}, { kid: 'k'.repeat(300) }),
    'a changed payload': `${head}.${base64url(payload.replace('alice', 'admin'))}.${signature}`,
    'padding in the header': `${head}=.${body}.${signature}`,
    'padding in the payload': `${head}.${body}==.${signature}`,
    'padding in the signature': `${good}==`,
    'trailing bits in the signature': `${good.slice(0, -1)}${trailing}`,
    'a space in front': ` ${good}`,
    'a line break in the payload': `${head}.${body.slice(0, 8)}\n${body.slice(8)}.${signature}`,
    'base64 instead of base64url': signTexts(header, withText('x', '"???>>>~~~"'), ec)
      .replaceAll('_', '/')
      .replaceAll('-', '+'),
    'a non-ASCII character': `${head}.${body}é.${signature}`,
    'bytes that are not UTF-8': signTexts(
      header,
      Buffer.from(payload.replace('alice', 'al\u00ffce'), 'latin1'),
      ec
    ),
    'a header that is no object': signTexts('["ES256"]', payload, ec),
    'a payload that is no object': signTexts(header, '"alice"', ec),
    'a payload with a byte order mark': signTexts(header, `\ufeff${payload}`, ec),
    'a payload that is nested 100 deep': signTexts(
      header,
      withText('x', '['.repeat(100) + ']'.repeat(100)),
      ec
    ),
    'crit with an unknown extension': signTexts('{"alg":"ES256","kid":"ec","crit":["x"],"x":1}', payload, ec),
    'crit null': signTexts('{"alg":"ES256","kid":"ec","crit":null}', payload, ec),
    'crit empty': signTexts('{"alg":"ES256","kid":"ec","crit":[]}', payload, ec),
    'crit b64': signTexts('{"alg":"ES256","kid":"ec","b64":false,"crit":["b64"]}', payload, ec),
    'alg twice in the header': signTexts('{"alg":"none","alg":"ES256","kid":"ec"}', payload, ec),
    'kid twice in the header': signTexts('{"alg":"ES256","kid":"rsa","kid":"ec"}', payload, ec),
    'sub twice': signTexts(header, withText('sub', '"admin"'), ec),
    'exp twice': signTexts(header, withText('exp', '9999999999'), ec),
    'sub twice, once with an escape': signTexts(header, withText('\\u0073ub', '"admin"'), ec),
    'a name twice in an inner object': signTexts(
      header,
      withText('realm_access', '{"roles":["a"],"roles":["b"]}'),
      ec
    )
  }
  for (const [name, token] of Object.entries(rows)) t.equal(await reasonFor(token), 'token.invalid', name)
})

t.test('tokens with claims that are missing or wrong', async t => {
  const rows: [string, Claims, string][] = [
    ['exp missing', { exp: undefined }, 'token.invalid'],
    ['exp a string', { exp: String(now + 300) }, 'token.invalid'],
    ['exp null', { exp: null }, 'token.invalid'],
    ['exp a list', { exp: [now + 300] }, 'token.invalid'],
    ['exp true', { exp: true }, 'token.invalid'],
    ['exp in the past', { exp: now - 60 }, 'token.expired'],
    ['exp far in the past', { exp: -8e15 }, 'token.invalid'],
    ['exp 0', { exp: 0 }, 'token.expired'],
    ['nbf in the future', { nbf: now + 120 }, 'token.invalid'],
    ['nbf a string', { nbf: String(now) }, 'token.invalid'],
    ['iat in the future', { iat: now + 120 }, 'token.invalid'],
    ['iat a string', { iat: String(now) }, 'token.invalid'],
    ['aud missing', { aud: undefined }, 'token.audience'],
    ['aud of another', { aud: 'billing-api' }, 'token.audience'],
    ['aud of others', { aud: ['billing-api', 'mail-api'] }, 'token.audience'],
    ['aud in another case', { aud: 'Orders-API' }, 'token.audience'],
    ['aud that contains ours', { aud: 'orders-api.evil.example' }, 'token.audience'],
    ['aud empty', { aud: [] }, 'token.audience'],
    ['aud with a number beside ours', { aud: ['orders-api', 1] }, 'token.audience'],
    ['aud an object', { aud: { 'orders-api': true } }, 'token.audience'],
    ['iss missing', { iss: undefined }, 'token.issuer'],
    ['iss of another', { iss: 'https://evil.example' }, 'token.issuer'],
    ['iss with a slash at the end', { iss: `${issuer.url}/` }, 'token.issuer'],
    ['iss in upper case', { iss: issuer.url.toUpperCase() }, 'token.issuer'],
    ['iss in a list', { iss: [issuer.url] }, 'token.issuer'],
    ['sub missing', { sub: undefined }, 'token.invalid'],
    ['sub empty', { sub: '' }, 'token.invalid'],
    ['sub a number', { sub: 7 }, 'token.invalid'],
    ['exp past and aud of another', { exp: now - 60, aud: 'billing-api' }, 'token.audience']
  ]
  for (const [name, claims, reason] of rows) t.equal(await reasonFor(await issuer.sign(claims)), reason, name)
  const forEver = signTexts(
    header,
    JSON.stringify(goodClaims(issuer, { exp: 1 })).replace('"exp":1', '"exp":1e999'),
    ec
  )
  t.equal(await reasonFor(forEver), 'token.invalid', 'exp infinite')
})

t.test('clocks may differ by the tolerance and no more', async t => {
  t.equal(await reasonFor(await issuer.sign({ exp: now - 10 })), 'accepted')
  t.equal(await reasonFor(await issuer.sign({ nbf: now + 10, iat: now + 10 })), 'accepted')
})

t.test('a forged token learns nothing about its claims', async t => {
  const forged = await issuer.sign({ exp: now - 60, aud: 'billing-api' }, {}, makeKey('ES256', 'ec'))
  t.equal(await reasonFor(forged), 'token.invalid')
})

t.test('tokens of the issuer that are no access tokens', async t => {
  const untyped = { typ: undefined }
  const rows: [string, Claims, Claims][] = [
    ['logout token by typ', {}, { typ: 'logout+jwt' }],
    ['security event by typ', {}, { typ: 'secevent+jwt' }],
    ['DPoP proof', {}, { typ: 'dpop+jwt' }],
    ['typ that is no string', {}, { typ: 1 }],
    ['typ empty', {}, { typ: '' }],
    [
      'logout token by its event',
      { events: { 'http://schemas.openid.net/event/backchannel-logout': {} } },
      untyped
    ],
    ['logout token that says JWT', { events: {}, sid: 's' }, { typ: 'JWT' }],
    ['logout token that says at+jwt', { events: {} }, {}],
    ['ID token with nonce', { nonce: 'n', scope: undefined }, { typ: 'JWT' }],
    ['ID token with nonce and scope', { nonce: 'n' }, untyped],
    ['ID token with at_hash', { at_hash: 'h' }, { typ: 'JWT' }],
    ['ID token with c_hash', { c_hash: 'h' }, untyped],
    ['ID token with at_hash that says Bearer', { at_hash: 'h', typ: 'Bearer' }, untyped],
    ['ID token with auth_time alone', { auth_time: now, scope: undefined }, { typ: 'JWT' }],
    ['ID token of Keycloak', { typ: 'ID', azp: 'web', scope: undefined }, { typ: 'JWT' }],
    ['refresh token of Keycloak', { typ: 'Refresh' }, { typ: 'JWT' }],
    ['offline token of Keycloak', { typ: 'Offline' }, { typ: 'JWT' }],
    ['ID token of Cognito', { token_use: 'id' }, untyped]
  ]
  for (const [name, claims, head] of rows) {
    t.equal(await reasonFor(await issuer.sign(claims, head)), 'token.invalid', name)
  }
})

t.test('access tokens as issuers make them', async t => {
  const rows: [string, Claims, Claims][] = [
    ['RFC 9068', { client_id: 'web', jti: 'j', auth_time: now }, { typ: 'at+jwt' }],
    ['RFC 9068 in full', { client_id: 'web' }, { typ: 'application/at+jwt' }],
    ['RFC 9068 in capitals', {}, { typ: 'AT+JWT' }],
    ['Keycloak', { typ: 'Bearer', azp: 'web', auth_time: now, acr: '1', sid: 's' }, { typ: 'JWT' }],
    ['Keycloak before 24', { typ: 'Bearer', nonce: 'n', session_state: 's', auth_time: now }, { typ: 'JWT' }],
    ['Auth0', { azp: 'web', gty: 'client-credentials', aud: ['orders-api', 'userinfo'] }, { typ: 'JWT' }],
    ['Auth0 with permissions', { permissions: ['read'], scope: undefined }, { typ: 'JWT' }],
    ['Entra', { scp: 'read', scope: undefined, aio: 'a', uti: 'u', ver: '2.0', nbf: now }, { typ: 'JWT' }],
    ['Entra for a daemon', { roles: ['Reader'], scope: undefined, azp: 'c', idtyp: 'app' }, { typ: 'JWT' }],
    ['Okta', { scp: ['read'], scope: undefined, cid: 'c', auth_time: now }, { typ: undefined }]
  ]
  for (const [name, claims, head] of rows)
    t.equal(await reasonFor(await issuer.sign(claims, head)), 'accepted', name)
})

t.test('a token that brings its own key is judged as if it did not, and nobody is called', async t => {
  const stranger = makeKey('ES256', 'ec')
  const fetches = { ...issuer.asked }
  const bait = { jku: `${issuer.url}/bait`, x5u: `${issuer.url}/bait`, jwk: stranger.jwk, x5c: ['AAAA'] }
  t.equal(await reasonFor(await issuer.sign({}, bait, stranger)), 'token.invalid')
  t.equal(await reasonFor(await issuer.sign({}, bait)), 'accepted')
  t.same(issuer.asked, fetches)
  t.same(issuer.asked.other, [])
})

t.test('a token without kid is accepted only when exactly one key fits', async t => {
  t.equal(await reasonFor(await issuer.sign({}, { kid: undefined })), 'accepted', 'one EC key')
  t.equal(await reasonFor(await issuer.sign({}, { kid: undefined }, rsa)), 'accepted', 'one RSA key')

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
    .then(() => verifier.verify(unsigned('none')))
    .catch(error => error)
  t.equal(
    refusal.headers['www-authenticate'],
    'Bearer realm="sallyport", error="invalid_token", error_description="The token is not valid"'
  )
})

t.test('a refused token is refused again, and good ones stay in the cache', async t => {
  const bad = `${head}.${body}.${base64url(Buffer.alloc(64, 1))}`
  const identity = await verifier.verify(good)
  for (let n = 0; n < 3; n++) t.equal(await reasonFor(bad), 'token.invalid')
  t.equal(verifier.cached(bad), undefined)
  t.equal(verifier.cached(good), identity)
})
