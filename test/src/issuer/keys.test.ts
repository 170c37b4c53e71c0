import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import type { Refusal } from '../../../src/errors.ts'
import type { Identity } from '../../../src/identity.ts'
import { localIssuer, makeKey, reasonOf, trust } from '../../fixtures/issuer.ts'

const minute = 60_000
const hour = 60 * minute

t.test('the first tokens wait for one fetch of the keys, later ones wait for nothing', async t => {
  const issuer = await localIssuer(t)
  const { verifier } = trust(t, issuer.settings())
  const tokens = await Promise.all(Array.from({ length: 50 }, (_, n) => issuer.sign({ jti: String(n) })))
  const verdicts = tokens.map(token => verifier.verify(token))
  t.ok(verdicts.every(verdict => verdict instanceof Promise))
  await Promise.all(verdicts)
  t.same(issuer.asked, { metadata: 1, keys: 1, other: [] })
  t.notOk(verifier.verify(await issuer.sign({ jti: 'later' })) instanceof Promise)
})

t.test('a token that was seen before gives the very same identity', async t => {
  const issuer = await localIssuer(t)
  const { verifier, metrics } = trust(t, issuer.settings())
  await metrics.fetched(1)
  const token = await issuer.sign()
  t.equal(verifier.cached(token), undefined)
  const identity = verifier.verify(token)
  t.equal(verifier.verify(token), identity)
  t.equal(verifier.cached(token), identity)
})

t.test('a remembered token ends with its exp and the tolerance', async t => {
  const issuer = await localIssuer(t)
  const { verifier, metrics, time } = trust(t, issuer.settings())
  await metrics.fetched(1)
  const token = await issuer.sign({ exp: Math.floor(time.clock() / 1000) + 60 })
  const { expiresAt } = (await verifier.verify(token)) as Identity
  time.advance(expiresAt! + 30_000 - 1 - time.clock())
  t.ok(verifier.cached(token), 'one millisecond before')
  time.advance(1)
  t.equal(verifier.cached(token), undefined)
  t.equal(await reasonOf(verifier, token), 'token.expired')
})

t.test('a remembered token is verified again after ten minutes', async t => {
  const issuer = await localIssuer(t)
  const { verifier, metrics, time } = trust(
    t,
    issuer.settings({ jwks: { refresh: hour, cooldown: minute, staleIfError: hour } })
  )
  await metrics.fetched(1)
  const token = await issuer.sign({ exp: Math.floor(time.clock() / 1000) + 3600 })
  const first = verifier.verify(token)
  time.advance(10 * minute - 1)
  t.equal(verifier.cached(token), first)
  time.advance(1)
  t.equal(verifier.cached(token), undefined)
  t.not(verifier.verify(token), first)
})

t.test('a new key is fetched when its first token comes', async t => {
  const issuer = await localIssuer(t)
  const { verifier, metrics } = trust(t, issuer.settings())
  await metrics.fetched(1)
  issuer.keys = [makeKey('ES256', 'second'), ...issuer.keys]
  const tokens = await Promise.all([
    issuer.sign({ jti: '1' }),
    issuer.sign({ jti: '2' }),
    issuer.sign({ jti: '3' })
  ])
  await Promise.all(tokens.map(token => verifier.verify(token)))
  t.equal(issuer.asked.keys, 2)
})

t.test('a withdrawn key takes everything with it that it has verified', async t => {
  const issuer = await localIssuer(t)
  const jwks = { refresh: minute, cooldown: 30_000, staleIfError: hour }
  const { verifier, metrics, time } = trust(t, issuer.settings({ jwks }))
  await metrics.fetched(1)
  const token = await issuer.sign()
  await verifier.verify(token)
  issuer.keys = [makeKey('ES256', 'second')]
  t.ok(verifier.cached(token), 'remembered until the next fetch')
  time.advance(minute)
  await metrics.fetched(2)
  t.equal(verifier.cached(token), undefined)
  t.equal(await reasonOf(verifier, token), 'token.invalid')
})

t.test('another key under the same kid withdraws the first one', async t => {
  const issuer = await localIssuer(t)
  const { verifier, metrics, time } = trust(
    t,
    issuer.settings({ jwks: { refresh: minute, cooldown: 30_000, staleIfError: hour } })
  )
  await metrics.fetched(1)
  const token = await issuer.sign()
  await verifier.verify(token)
  issuer.keys = [makeKey('ES256', 'first')]
  time.advance(minute)
  await metrics.fetched(2)
  t.equal(verifier.cached(token), undefined)
  t.equal(await reasonOf(verifier, token), 'token.invalid')
})

t.test('a refresh that changes nothing forgets nothing', async t => {
  const issuer = await localIssuer(t)
  const { verifier, metrics, time } = trust(
    t,
    issuer.settings({ jwks: { refresh: minute, cooldown: 30_000, staleIfError: hour } })
  )
  await metrics.fetched(1)
  const token = await issuer.sign()
  const identity = await verifier.verify(token)
  time.advance(minute)
  await metrics.fetched(2)
  t.equal(verifier.cached(token), identity)
})

t.test('an issuer that withdraws all keys is believed', async t => {
  const issuer = await localIssuer(t)
  const { verifier, metrics, time } = trust(t, issuer.settings())
  await metrics.fetched(1)
  const token = await issuer.sign()
  await verifier.verify(token)
  issuer.keys = []
  time.advance(10 * minute)
  await metrics.fetched(2)
  t.equal(await reasonOf(verifier, token), 'token.invalid')
})

t.test('a flood of 10000 unknown kids costs one fetch per cooldown', async t => {
  const issuer = await localIssuer(t)
  const { verifier, metrics, time } = trust(t, issuer.settings())
  await metrics.fetched(1)
  const [, payload, signature] = (await issuer.sign()).split('.')
  const withKid = (kid: string) => {
    const header = Buffer.from(JSON.stringify({ alg: 'ES256', kid })).toString('base64url')
    return `${header}.${payload}.${signature}`
  }
  const flood = async (from: number) => {
    const verdicts: Promise<string>[] = []
    for (let n = from; n < from + 5000; n++) verdicts.push(reasonOf(verifier, withKid(`kid-${n}`)))
    t.same(new Set(await Promise.all(verdicts)), new Set(['token.invalid']))
  }
  await flood(0)
  await flood(5000)
  t.equal(issuer.asked.keys, 2)
  time.advance(30_000 - 1)
  t.equal(await reasonOf(verifier, withKid('late')), 'token.invalid')
  t.equal(issuer.asked.keys, 2, 'none within the cooldown')
  time.advance(1)
  t.equal(await reasonOf(verifier, withKid('later')), 'token.invalid')
  t.equal(issuer.asked.keys, 3, 'one after it')
  t.equal(await reasonOf(verifier, await issuer.sign()), 'accepted', 'good tokens are served throughout')
})

t.test('a kid that was looked for in vain is not what the next fetch is spent on', async t => {
  const issuer = await localIssuer(t)
  const { verifier, metrics, time } = trust(t, issuer.settings())
  await metrics.fetched(1)
  const token = await issuer.sign({}, { kid: 'nobody' })
  t.equal(await reasonOf(verifier, token), 'token.invalid')
  t.equal(issuer.asked.keys, 2)
  time.advance(31_000)
  t.equal(await reasonOf(verifier, token), 'token.invalid')
  t.equal(issuer.asked.keys, 2)
})

t.test('tokens that could not be verified anyway cause no fetch', async t => {
  const issuer = await localIssuer(t)
  const { verifier, metrics } = trust(t, issuer.settings())
  await metrics.fetched(1)
  const stranger = { kid: 'nobody' }
  t.equal(
    await reasonOf(verifier, await issuer.sign({ iss: 'https://evil.example' }, stranger)),
    'token.issuer'
  )
  t.equal(await reasonOf(verifier, await issuer.sign({}, stranger, makeKey('ES384', 'x'))), 'token.invalid')
  t.equal(await reasonOf(verifier, await issuer.sign({}, { kid: 'k'.repeat(257) })), 'token.invalid')
  t.equal(issuer.asked.keys, 1)
})

t.test('a start while the issuer is down: 503, one fetch per backoff, and then it heals', async t => {
  const issuer = await localIssuer(t)
  issuer.behaviour = 'fail'
  const { verifier, metrics, time } = trust(t, issuer.settings())
  await metrics.fetched(1)
  const token = await issuer.sign()
  for (let n = 0; n < 100; n++) t.equal(await reasonOf(verifier, token), 'key.unavailable')
  t.same([issuer.asked.metadata, issuer.asked.keys], [1, 0], 'a request causes no fetch')
  const refusal = (await Promise.resolve()
    .then(() => verifier.verify(token))
    .catch(error => error)) as Refusal
  t.equal(refusal.status, 503)
  t.equal(refusal.headers?.['retry-after'], '1')

  time.advance(1000)
  await metrics.fetched(2)
  time.advance(1000)
  await turn()
  t.equal(issuer.asked.metadata, 2, 'the second wait is longer')
  issuer.behaviour = 'answer'
  time.advance(1000)
  await metrics.fetched(3)
  t.same(metrics.results, ['error', 'error', 'success'])
  t.equal(await reasonOf(verifier, token), 'accepted')
})

t.test('the waits between attempts end at half a minute', async t => {
  const issuer = await localIssuer(t)
  issuer.behaviour = 'fail'
  const { metrics, time } = trust(t, issuer.settings())
  for (let n = 1; n <= 12; n++) {
    await metrics.fetched(n)
    time.advance(30_000)
  }
  await metrics.fetched(13)
})

t.test('an issuer that hangs is given up after five seconds', async t => {
  const issuer = await localIssuer(t)
  issuer.behaviour = 'hang'
  const { verifier, metrics, time } = trust(t, issuer.settings())
  const verdict = reasonOf(verifier, await issuer.sign())
  time.advance(5000)
  t.equal(await verdict, 'key.unavailable')
  await metrics.fetched(1)
  t.same(metrics.results, ['error'])
})

for (const behaviour of ['fail', 'redirect', 'garbage', 'huge'] as const) {
  t.test(`known keys outlive an issuer that answers with ${behaviour}, for staleIfError`, async t => {
    const issuer = await localIssuer(t)
    const jwks = { refresh: 10 * minute, cooldown: 30_000, staleIfError: hour }
    const { verifier, metrics, time } = trust(t, issuer.settings({ jwks }))
    await metrics.fetched(1)
    const exp = Math.floor(time.clock() / 1000) + 48 * 3600
    const remembered = await issuer.sign({ exp, jti: 'remembered' })
    issuer.behaviour = behaviour
    time.advance(10 * minute)
    await metrics.fetched(2)
    t.equal(metrics.results.at(-1), 'error')
    t.equal(await reasonOf(verifier, remembered), 'accepted')
    time.advance(50 * minute - 1)
    t.equal(await reasonOf(verifier, await issuer.sign({ exp })), 'accepted', 'until the last millisecond')
    time.advance(1)
    t.equal(verifier.cached(remembered), undefined)
    t.equal(await reasonOf(verifier, remembered), 'key.unavailable')
    t.equal(issuer.asked.other.length, 0, 'no redirect was followed')
  })
}

t.test('keys that are too old come back with the issuer', async t => {
  const issuer = await localIssuer(t)
  const { verifier, metrics, time } = trust(
    t,
    issuer.settings({ jwks: { refresh: minute, cooldown: 1000, staleIfError: 0 } })
  )
  await metrics.fetched(1)
  const token = await issuer.sign({ exp: Math.floor(time.clock() / 1000) + 3600 })
  await verifier.verify(token)
  issuer.behaviour = 'fail'
  time.advance(minute)
  await metrics.fetched(2)
  // Past the retry and its timeout.
  time.advance(15_000)
  await metrics.fetched(3)
  t.equal(verifier.cached(token), undefined, 'what they have verified is too old as well')
  t.equal(await reasonOf(verifier, token), 'key.unavailable')
  issuer.behaviour = 'answer'
  time.advance(2000)
  await metrics.fetched(4)
  t.same(metrics.results, ['success', 'error', 'error', 'success'])
  t.equal(await reasonOf(verifier, token), 'accepted')
})

t.test('unknown kids while the issuer is down cause no fetch beyond the retries', async t => {
  const issuer = await localIssuer(t)
  const { verifier, metrics, time } = trust(t, issuer.settings())
  await metrics.fetched(1)
  issuer.behaviour = 'fail'
  time.advance(10 * minute)
  await metrics.fetched(2)
  const before = issuer.asked.keys
  for (let n = 0; n < 100; n++) {
    t.equal(await reasonOf(verifier, await issuer.sign({}, { kid: `kid-${n}` })), 'token.invalid')
  }
  t.equal(issuer.asked.keys, before)
})

t.test('a reload with the same settings keeps the keys, whatever their order in the file', async t => {
  const issuer = await localIssuer(t)
  const { verifier, registry, metrics } = trust(t, issuer.settings())
  await metrics.fetched(1)
  const { claims, ...rest } = issuer.settings()
  const again = { claims, ...rest, client: { id: 'gateway' } }
  t.equal(registry.get('corp', again), verifier)
  registry.retain({ corp: again })
  t.equal(await reasonOf(verifier, await issuer.sign()), 'accepted')
  t.equal(issuer.asked.keys, 1)
  t.equal(registry.get('corp', again), verifier)
})

t.test(
  'a reload that changes an issuer makes a new one, and the old one still serves what is under way',
  async t => {
    const issuer = await localIssuer(t)
    const { verifier, registry, metrics, time } = trust(t, issuer.settings())
    await metrics.fetched(1)
    const changed = issuer.settings({ audience: ['billing-api'] })
    const next = registry.get('corp', changed)
    t.not(next, verifier)
    await metrics.fetched(2)
    registry.retain({ corp: changed })
    t.equal(await reasonOf(next, await issuer.sign()), 'token.audience')
    t.equal(await reasonOf(verifier, await issuer.sign()), 'accepted')
    t.same([...metrics.ages.keys()], ['corp'])
    const asked = issuer.asked.keys
    time.advance(10 * minute)
    await metrics.fetched(3)
    t.equal(issuer.asked.keys, asked + 1, 'only the new one asks for keys')
  }
)

t.test('a reload that fails leaves the old issuer as it was', async t => {
  const issuer = await localIssuer(t)
  const { verifier, registry, metrics, time } = trust(t, issuer.settings())
  await metrics.fetched(1)
  registry.get('corp', issuer.settings({ audience: ['billing-api'] }))
  await metrics.fetched(2)
  registry.retain({ corp: issuer.settings() })
  t.equal(registry.get('corp', issuer.settings()), verifier)
  time.advance(minute)
  t.equal(metrics.ages.get('corp')?.(), 60)
})

t.test('the age of the keys is known once they are', async t => {
  const issuer = await localIssuer(t)
  const { registry, metrics, time } = trust(t, issuer.settings())
  t.equal(metrics.ages.get('corp')?.(), undefined)
  await metrics.fetched(1)
  t.equal(metrics.ages.get('corp')?.(), 0)
  time.advance(90_000)
  t.equal(metrics.ages.get('corp')?.(), 90)
  registry.close()
  t.equal(metrics.ages.size, 0)
})

t.test('closing ends the fetch under way', async t => {
  const issuer = await localIssuer(t)
  issuer.behaviour = 'hang'
  const { verifier, registry, metrics } = trust(t, issuer.settings())
  const verdict = reasonOf(verifier, await issuer.sign())
  registry.close()
  t.equal(await verdict, 'key.unavailable')
  t.same(metrics.results, [])
})

t.test('10000 tokens are remembered, the one that was not used for longest goes first', async t => {
  const issuer = await localIssuer(t)
  issuer.keys = [makeKey('EdDSA', 'ed')]
  const { verifier, metrics } = trust(t, issuer.settings())
  await metrics.fetched(1)
  const tokens: string[] = []
  for (let n = 0; n <= 10_000; n++) tokens.push(await issuer.sign({ jti: String(n) }))
  for (const token of tokens.slice(0, -1)) await verifier.verify(token)
  t.ok(verifier.cached(tokens[0]!))
  await verifier.verify(tokens.at(-1)!)
  t.ok(verifier.cached(tokens[0]!))
  t.equal(verifier.cached(tokens[1]!), undefined)
})

t.test('answers that are no JWKS, or one too large to be meant, leave the keys as they are', async t => {
  const issuer = await localIssuer(t)
  const { verifier, metrics, time } = trust(t, issuer.settings())
  await metrics.fetched(1)
  const [first] = issuer.keys
  const token = await issuer.sign({ exp: Math.floor(time.clock() / 1000) + 3600 }, {}, first)
  issuer.keys = Array.from({ length: 65 }, () => makeKey('EdDSA', 'many'))
  time.advance(10 * minute)
  await metrics.fetched(2)
  issuer.metadata = document => ({ ...document, jwks_uri: `${issuer.url}/.well-known/openid-configuration` })
  time.advance(minute / 2)
  await metrics.fetched(3)
  t.same(metrics.results, ['success', 'error', 'error'])
  t.equal(await reasonOf(verifier, token), 'accepted')
})

t.test('two keys under one kid: neither is used, because the token must not choose', async t => {
  const issuer = await localIssuer(t)
  issuer.keys = [makeKey('ES256', 'same'), makeKey('ES256', 'same'), makeKey('EdDSA', 'same')]
  const { verifier, metrics } = trust(t, issuer.settings())
  await metrics.fetched(1)
  t.equal(await reasonOf(verifier, await issuer.sign()), 'token.invalid')
  t.equal(
    await reasonOf(verifier, await issuer.sign({}, {}, issuer.keys[2])),
    'accepted',
    'the algorithm tells'
  )
  t.equal(issuer.asked.keys, 1, 'a kid that is known causes no fetch')
})
