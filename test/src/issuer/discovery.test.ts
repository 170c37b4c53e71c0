import t from 'tap'
import { isTrustworthyUrl } from '../../../src/issuer/discovery.ts'
import { localIssuer, reasonOf, trust } from '../../fixtures/issuer.ts'

t.test('an issuer with a path is discovered below it', async t => {
  const issuer = await localIssuer(t, '/realms/corp')
  const { verifier } = trust(t, issuer.settings())
  t.equal(await reasonOf(verifier, await issuer.sign()), 'accepted')
  t.same(issuer.asked, { metadata: 1, keys: 1, other: [] })
})

t.test('an issuer without OpenID Connect is discovered by RFC 8414', async t => {
  const issuer = await localIssuer(t, '/tenant')
  issuer.hasOpenidConfiguration = false
  const { verifier } = trust(t, issuer.settings())
  t.equal(await reasonOf(verifier, await issuer.sign()), 'accepted')
  t.equal(issuer.asked.metadata, 2)
})

t.test('keys at a configured address need no discovery', async t => {
  const issuer = await localIssuer(t)
  const jwks = { url: `${issuer.url}/keys`, refresh: 600_000, cooldown: 30_000, staleIfError: 0 }
  const { verifier } = trust(t, issuer.settings({ jwks }))
  t.equal(await reasonOf(verifier, await issuer.sign()), 'accepted')
  t.equal(issuer.asked.metadata, 0)
})

t.test('metadata that is not to be believed', async t => {
  const rows: [string, (document: Record<string, unknown>) => Record<string, unknown>][] = [
    ['of another issuer', document => ({ ...document, issuer: 'https://evil.example' })],
    ['of an issuer with a slash at the end', document => ({ ...document, issuer: `${document.issuer}/` })],
    ['without issuer', ({ issuer: _, ...document }) => document],
    ['without jwks_uri', ({ jwks_uri: _, ...document }) => document],
    ['with a jwks_uri that is no text', document => ({ ...document, jwks_uri: [document.jwks_uri] })],
    ['with a jwks_uri over plain http', document => ({ ...document, jwks_uri: 'http://192.0.2.1/keys' })],
    ['with a jwks_uri in a file', document => ({ ...document, jwks_uri: 'file:///etc/passwd' })]
  ]
  for (const [name, metadata] of rows) {
    const issuer = await localIssuer(t)
    issuer.metadata = metadata
    const { verifier } = trust(t, issuer.settings())
    t.equal(await reasonOf(verifier, await issuer.sign()), 'key.unavailable', name)
    t.equal(issuer.asked.keys, 0, name)
  }
})

t.test('a fetch that fails looks for the address again', async t => {
  const issuer = await localIssuer(t)
  const { metrics, time } = trust(t, issuer.settings())
  await metrics.fetched(1)
  time.advance(600_000)
  await metrics.fetched(2)
  t.equal(issuer.asked.metadata, 1, 'not while all is well')
  issuer.behaviour = 'fail'
  time.advance(600_000)
  await metrics.fetched(3)
  issuer.behaviour = 'answer'
  time.advance(30_000)
  await metrics.fetched(4)
  t.equal(issuer.asked.metadata, 2)
})

t.test('an issuer that is not there at all stops nothing', async t => {
  const issuer = await localIssuer(t)
  const { verifier } = trust(t, { ...issuer.settings(), issuer: 'http://idp.example.com' })
  const token = await issuer.sign({ iss: 'http://idp.example.com' })
  t.equal(await reasonOf(verifier, token), 'key.unavailable', 'plain http is not even tried')
})

t.test('addresses that keys may come from', async t => {
  const trusted = [
    'https://idp.example.com/keys',
    'http://localhost:8080',
    'http://127.0.0.1/',
    'http://127.9.9.9',
    'http://[::1]:1/'
  ]
  for (const url of trusted) t.ok(isTrustworthyUrl(url), url)
  const refused = [
    'http://idp.example.com',
    'http://10.0.0.1',
    'http://127.0.0.1.evil.example',
    'http://localhost.evil.example',
    'http://localhost@evil.example',
    'https://user:secret@idp.example.com',
    'ftp://localhost',
    'file:///etc/passwd',
    'data:application/json,{}',
    'idp.example.com',
    ''
  ]
  for (const url of refused) t.notOk(isTrustworthyUrl(url), url)
})
