import { SignJWT } from 'jose'
import t, { type Test } from 'tap'
import { Browser } from '../fixtures/browser.ts'
import { echoUpstream } from '../fixtures/echo.ts'
import { makeKey, type SigningKey } from '../fixtures/issuer.ts'
import { ahead, type SignInGateway, signInGateway } from '../fixtures/sign-in.ts'

interface SignedIn extends SignInGateway {
  readonly browser: Browser
  /** The status of a call of the person's script. */
  status(): Promise<number>
  refreshes(result: string): Promise<number | undefined>
}

/** Somebody has signed in; tokens live for 100 seconds. */
async function signedIn(t: Test, session?: string): Promise<SignedIn> {
  const upstream = await echoUpstream(t)
  const gateway = await signInGateway(t, upstream.url, session === undefined ? {} : { session })
  gateway.issuer.tokenLife = 100
  const browser = new Browser()
  await browser.open(`${gateway.url}/a`)
  return {
    ...gateway,
    browser,
    status: async () => (await browser.call(`${gateway.url}/a`)).status,
    refreshes: result => gateway.metric(`sallyport_session_refreshes_total{issuer="corp",result="${result}"}`)
  }
}

t.test('tokens that have expired are refreshed once, however many requests wait for it', async t => {
  const { issuer, status, refreshes } = await signedIn(t)
  ahead(t, 101)
  const found = await Promise.all(Array.from({ length: 50 }, status))
  t.same(new Set(found), new Set([200]))
  t.equal(issuer.asked.refresh_token, 1, 'at the issuer')
  t.equal(await refreshes('success'), 1)
  ahead(t, 101)
  t.equal(await status(), 200, 'with the refresh token that the issuer has given instead')
  t.equal(issuer.asked.refresh_token, 2)
})

t.test('shortly before tokens expire nobody waits for new ones', async t => {
  const { issuer, status } = await signedIn(t)
  const asked = new Promise<void>(resolve => {
    issuer.before = request => {
      if (request.url !== '/token') return false
      resolve()
      // It takes its time.
      return true
    }
  })
  ahead(t, 85)
  t.equal(await status(), 200, 'while the issuer thinks')
  await asked
  t.equal(await status(), 200)
  t.equal(issuer.asked.token, 2, 'sign-in and one refresh')
})

t.test('what the issuer says of a person changes with a refresh', async t => {
  const upstream = await echoUpstream(t)
  const { url, issuer } = await signInGateway(t, upstream.url)
  issuer.tokenLife = 100
  const browser = new Browser()
  await browser.open(`${url}/a`)
  issuer.groups.ada = ['auditors']
  ahead(t, 101)
  await browser.call(`${url}/a`)
  const groups = upstream.requests.map(({ headers }) => Object.fromEntries(headers)['x-forwarded-groups'])
  t.same(groups, ['admins', 'auditors'])
})

t.test('what the issuer no longer says of a person no longer holds', async t => {
  const upstream = await echoUpstream(t)
  const { url, issuer } = await signInGateway(t, upstream.url)
  issuer.tokenLife = 100
  const browser = new Browser()
  await browser.open(`${url}/a`)
  // As Keycloak answers for somebody who has left the last group.
  issuer.userInfo = { sub: 'ada', email: 'ada@example.com' }
  ahead(t, 101)
  await browser.call(`${url}/a`)
  const seen = upstream.requests.map(({ headers }) => Object.fromEntries(headers))
  t.same(
    seen.map(headers => headers['x-forwarded-groups']),
    ['admins', undefined]
  )
  t.equal(seen.at(-1)?.['x-forwarded-email'], 'ada@example.com')
})

t.test('new tokens are kept when the issuer does not say more of the person just then', async t => {
  const { issuer, status, refreshes } = await signedIn(t)
  issuer.before = (request, response) => {
    if (request.url !== '/me') return false
    response.writeHead(503).end()
    return true
  }
  for (const round of [1, 2]) {
    ahead(t, 101)
    t.equal(await status(), 200)
    t.equal(await refreshes('success'), round, 'the refresh token of the last round is spent')
  }
})

t.test('a grant that the issuer has ended ends the session', async t => {
  const { url, issuer, status, browser, refreshes } = await signedIn(t)
  issuer.before = (request, response) => {
    if (request.url !== '/token') return false
    response.writeHead(400, { 'content-type': 'application/json' }).end('{"error":"invalid_grant"}')
    return true
  }
  ahead(t, 101)
  t.equal(await status(), 401)
  t.equal(await refreshes('refused'), 1)
  issuer.before = null
  t.equal(await status(), 401, 'for good')
  t.equal((await browser.open(`${url}/a`)).status, 200, 'a new sign-in')
})

t.test('while the issuer is down people go on, for as long as staleIfError allows', async t => {
  const { url, issuer, status, browser, refreshes } = await signedIn(t)
  issuer.up = false
  ahead(t, 101)
  t.same(new Set(await Promise.all(Array.from({ length: 20 }, status))), new Set([200]))
  t.equal(await refreshes('error'), 1, 'it is not asked for each request')
  ahead(t, 50)
  t.equal(await status(), 200)
  ahead(t, 15)
  t.equal(await status(), 503)
  t.match(await (await browser.call(`${url}/a`)).json(), { reason: 'session.unavailable' })
})

t.test('a sign-out while tokens are being refreshed is final', async t => {
  const { url, issuer, status, browser } = await signedIn(t)
  let go = () => {}
  const asked = new Promise<void>(resolve => {
    issuer.before = (request, response) => {
      if (request.url !== '/token') return false
      go = () => {
        const answer = { access_token: 'a', token_type: 'Bearer', expires_in: 100, refresh_token: 'b' }
        response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer))
      }
      resolve()
      return true
    }
  })
  const cookie = browser.cookie(url, 'sallyport')
  ahead(t, 101)
  const waiting = status()
  await asked
  const page = await browser.open(`${url}/oauth2/sign-out`)
  const token = /name="token" value="([^"]+)"/.exec(page.body)?.[1] ?? ''
  await browser.open(`${url}/oauth2/sign-out`, {
    method: 'POST',
    form: { token },
    headers: { 'sec-fetch-site': 'same-origin' }
  })
  issuer.userInfo = { sub: 'ada' }
  go()
  t.equal(await waiting, 401)
  const headers = { cookie: `sallyport=${cookie}` }
  t.equal((await fetch(`${url}/a`, { headers })).status, 401, 'late tokens do not bring it back')
})

t.test('tokens of another person end the session', async t => {
  const { issuer, status } = await signedIn(t)
  issuer.before = (request, response) => {
    if (request.url !== '/token') return false
    const answer = { access_token: 'a', token_type: 'Bearer', expires_in: 100, refresh_token: 'b' }
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer))
    return true
  }
  issuer.userInfo = { sub: 'eve' }
  ahead(t, 101)
  t.equal(await status(), 401)
})

t.test('a refresh that brings an ID token which does not fit ends the session', async t => {
  const upstream = await echoUpstream(t)
  const { url, issuer } = await signInGateway(t, upstream.url)
  issuer.tokenLife = 100
  const key = makeKey('ES256', 'new')
  const stranger = makeKey('ES256', 'new')
  const rsa = makeKey('RS256', 'rsa')
  const { keys } = (await (await fetch(`${issuer.url}/jwks`)).json()) as { keys: object[] }
  const rows: [string, Record<string, unknown> | null, number, SigningKey?][] = [
    ['none', null, 200],
    ['one of a key that is new', {}, 200],
    ['for several, for us in the first place', { aud: ['gateway', 'other'], azp: 'gateway' }, 200],
    ['of another person', { sub: 'eve' }, 401],
    ['of nobody', { sub: undefined }, 401],
    ['of another issuer', { iss: 'https://evil.example' }, 401],
    ['of the issuer with a slash', { iss: `${issuer.url}/` }, 401],
    ['for another client', { aud: 'other' }, 401],
    ['for several, for another in the first place', { aud: ['gateway', 'other'], azp: 'other' }, 401],
    ['for several, for nobody in the first place', { aud: ['gateway', 'other'] }, 401],
    ['expired', { exp: -300 }, 401],
    ['without an end', { exp: undefined }, 401],
    ['without a beginning', { iat: undefined }, 401],
    ['of the future', { nbf: 3000 }, 401],
    ['signed by a stranger', {}, 401, stranger],
    ['of another algorithm', {}, 401, rsa]
  ]
  for (const [what, changes, expected, signer = key] of rows) {
    issuer.before = null
    issuer.userInfo = null
    const browser = new Browser()
    t.equal((await browser.open(`${url}/a`)).status, 200)
    ahead(t, 101)
    const now = Math.floor(Date.now() / 1000)
    const claims: Record<string, unknown> = {
      iss: issuer.url,
      aud: 'gateway',
      sub: 'ada',
      iat: now,
      exp: now + 100,
      ...changes
    }
    for (const name of ['exp', 'nbf'])
      if (typeof changes?.[name] === 'number') claims[name] = now + changes[name]
    const idToken = await new SignJWT(JSON.parse(JSON.stringify(claims)))
      .setProtectedHeader({ alg: signer.algorithm, kid: String(signer.jwk.kid) })
      .sign(signer.privateKey)
    issuer.userInfo = { sub: 'ada' }
    issuer.before = (request, response) => {
      const answers: Record<string, object> = {
        '/jwks': { keys: [...keys, key.jwk, rsa.jwk] },
        '/token': {
          access_token: 'a',
          token_type: 'Bearer',
          expires_in: 100,
          refresh_token: 'b',
          ...(changes && { id_token: idToken })
        }
      }
      const answer = answers[request.url ?? '']
      if (answer === undefined) return false
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer))
      return true
    }
    t.equal((await browser.call(`${url}/a`)).status, expected, what)
    issuer.before = null
    t.equal((await browser.call(`${url}/a`)).status, expected, `${what}, afterwards`)
  }
})
