import t from 'tap'
import { Browser, type Visit } from '../fixtures/browser.ts'
import { skipWithoutBrowser } from '../fixtures/chromium.ts'
import { openTab, type Tab } from '../fixtures/chromium-tab.ts'
import { type Keycloak, startKeycloak } from '../fixtures/keycloak.ts'
import { client, clientOf, person, realmOf, tokenLife } from '../fixtures/keycloak-realm.ts'
import { ahead } from '../fixtures/sign-in.ts'
import { skipWithout } from '../fixtures/tool.ts'
import { buildGateway, type Closing, echo, type RunningGateway } from '../helper.ts'

// One Keycloak for all of the tests, which follow one another: it takes seconds to start.
const keycloak = await startKeycloak(t)
if (keycloak === null) skipWithout(t, 'keycloak')
else await signInAt(keycloak)

/** A gateway that trusts two realms, and is registered there as what the guide says. */
async function gatewayAt(t: Closing, { url, admin }: Keycloak): Promise<RunningGateway> {
  const { url: service } = await echo(t)
  for (const realm of ['corp', 'partners']) await admin('POST', '', realmOf(realm))
  const issuer = (realm: string, id: string, more: string) => `
    issuer: ${url}/realms/${realm}
    audience: [orders-api]
    algorithms: [RS256]
    # The clock of the tests goes ahead, and that of Keycloak does not.
    clockTolerance: 150s
    claims: { roles: realm_access.roles }
    client: { id: ${id}, secret: { env: CLIENT_SECRET }${more} }`
  const hosts = '127.0.0.1, localhost'
  const yaml = `externalUrl: http://127.0.0.1
session: { secret: { env: SESSION_SECRET } }
issuers:
  corp: ${issuer('corp', client.id, '')}
  lasting: ${issuer('corp', 'lasting', ', scopes: [openid, email, offline_access]')}
  partners: ${issuer('partners', client.id, '')}
upstreams: { backend: { url: "${service}" } }
routes:
  console: { match: { hosts: [${hosts}], path: /* }, upstream: backend, plugins: [access-log, oidc: { issuer: corp }] }
  lasting: { match: { hosts: [${hosts}], path: /lasting/* }, upstream: backend, plugins: [oidc: { issuer: lasting }] }
  partners: { match: { hosts: [${hosts}], path: /partners/* }, upstream: backend, plugins: [oidc: { issuer: partners }] }
  orders:
    match: { hosts: [${hosts}], path: /orders/* }
    upstream: backend
    plugins: [jwt: { issuer: corp }, authorize: { groups: [admins], allow: "'auditor' in identity.roles" }]
  asked: { match: { hosts: [${hosts}], path: /asked/* }, upstream: backend, plugins: [introspection: { issuer: corp, cache: 1ms }] }
`
  const env = { CLIENT_SECRET: client.secret, SESSION_SECRET: 'a secret of sessions that is long enough' }
  const gateway = await buildGateway(t, yaml, { env })
  const origins = [gateway.url, gateway.url.replace('127.0.0.1', 'localhost')]
  await admin('POST', '/corp/clients', clientOf(origins))
  await admin('POST', '/corp/clients', { ...clientOf(origins), clientId: 'lasting' })
  await admin('POST', '/partners/clients', clientOf(origins, { 'exclude.issuer.from.auth.response': 'true' }))
  return gateway
}

interface Tokens {
  readonly access_token: string
  readonly id_token: string
  readonly refresh_token: string
}

async function signInAt(keycloak: Keycloak): Promise<void> {
  const { admin } = keycloak
  const gateway = await gatewayAt(t, keycloak)
  const { url, metric } = gateway
  const [{ id: ada }] = await admin<[{ id: string }]>('GET', '/corp/users')

  /** What a program of the command line gets for the password of a person. */
  async function tokensOf(realm: string): Promise<Tokens> {
    const form = { grant_type: 'password', client_id: 'command-line', scope: 'openid' }
    const answer = await fetch(`${keycloak.url}/realms/${realm}/protocol/openid-connect/token`, {
      method: 'POST',
      body: new URLSearchParams({ ...form, username: person.name, password: person.password })
    })
    return (await answer.json()) as Tokens
  }

  function call(path: string, token: string): Promise<Response> {
    return fetch(`${url}${path}`, { headers: { authorization: `Bearer ${token}` } })
  }

  /** How often Keycloak has given new tokens for a refresh token, or refused to. */
  async function refreshes(): Promise<number> {
    const path = '/corp/events?type=REFRESH_TOKEN&type=REFRESH_TOKEN_ERROR'
    return (await admin<object[]>('GET', path)).length
  }

  /** The sessions of the person at Keycloak. */
  function sessions(): Promise<{ id: string }[]> {
    return admin('GET', `/corp/users/${ada}/sessions`)
  }

  // Java takes its time for what it does first, and the gateway does not wait for longer than five seconds.
  const { access_token } = await tokensOf('corp')
  await fetch(`${keycloak.url}/realms/corp/protocol/openid-connect/userinfo`, {
    headers: { authorization: `Bearer ${access_token}` }
  })

  await t.test('an access token opens a route with `jwt`, and no other token does', async t => {
    const tokens = await tokensOf('corp')
    const answer = await call('/orders/7', tokens.access_token)
    t.equal(answer.status, 200)
    const { headers } = (await answer.json()) as { headers: Record<string, string> }
    t.match(headers, {
      'x-forwarded-user': ada,
      'x-forwarded-email': person.email,
      'x-forwarded-groups': 'admins'
    })
    const partner = await tokensOf('partners')
    const rows: [string, string, string][] = [
      ['an ID token', tokens.id_token, 'token.audience'],
      ['a refresh token', tokens.refresh_token, 'token.invalid'],
      ['a token of another realm', partner.access_token, 'token.issuer']
    ]
    for (const [what, token, reason] of rows) {
      const refused = await call('/orders/7', token)
      t.equal(refused.status, 401, what)
      t.match(await refused.json(), { reason }, what)
    }
  })

  await t.test('a token is good for a route with `introspection` until its session has ended', async t => {
    const tokens = await tokensOf('corp')
    const answer = await call('/asked/7', tokens.access_token)
    t.equal(answer.status, 200)
    const { headers } = (await answer.json()) as { headers: Record<string, string> }
    t.match(headers, { 'x-forwarded-user': ada, 'x-forwarded-groups': 'admins' })
    t.equal((await call('/asked/7', tokens.refresh_token)).status, 401, 'a refresh token')
    t.equal((await call('/asked/7', tokens.id_token)).status, 401, 'an ID token')
    t.equal((await call('/asked/7', (await tokensOf('partners')).access_token)).status, 401, 'another realm')
    await admin('POST', `/corp/users/${ada}/logout`)
    t.equal((await call('/asked/7', tokens.access_token)).status, 401, 'after the session')
  })

  await t.test('in a real browser', { skip: skipWithoutBrowser }, async t => {
    const tab = await openTab(t)
    const user = async () => (await seen(tab))['x-forwarded-user']
    const statuses = (count: number) =>
      tab.evaluate<number[]>(
        `Promise.all(Array.from({ length: ${count} }, () => fetch('/api').then(answer => answer.status)))`
      )

    await t.test('a person signs in with the password, and gets back to the page', async t => {
      await tab.goto(`${url}/reports?month=11&year=2026`)
      t.match(await tab.evaluate('location.href'), `${keycloak.url}/realms/corp/`)
      await enterPassword(tab)
      await tab.at(url)
      t.equal(await tab.evaluate('location.href'), `${url}/reports?month=11&year=2026`)
      t.match(await seen(tab), {
        'x-forwarded-user': ada,
        'x-forwarded-email': person.email,
        'x-forwarded-groups': 'admins'
      })
      t.same(await statuses(1), [200])
    })

    await t.test('under another name of the gateway Keycloak asks for no password', async t => {
      const other = url.replace('127.0.0.1', 'localhost')
      await tab.goto(`${other}/reports?month=12`)
      t.equal(await tab.evaluate('location.href'), `${other}/reports?month=12`)
      t.equal(await user(), ada)
    })

    await t.test('tokens that have expired are refreshed once, and again', async t => {
      await tab.goto(`${url}/a`)
      const before = await refreshes()
      const [group] = await admin<[{ id: string }]>('GET', `/corp/users/${ada}/groups`)
      const membership = `/corp/users/${ada}/groups/${group.id}`
      await admin('DELETE', membership)
      for (const round of [1, 2]) {
        ahead(t, tokenLife + 1)
        t.same(await statuses(20), Array(20).fill(200))
        t.equal(await refreshes(), before + round, 'refreshes at Keycloak')
      }
      t.equal(await metric('sallyport_session_refreshes_total{issuer="corp",result="success"}'), 2)
      await tab.goto(`${url}/a`)
      t.equal((await seen(tab))['x-forwarded-groups'], undefined, 'the last group was lost')
      await admin('PUT', membership)
    })

    await t.test('a sign-out ends the session at Keycloak', async t => {
      await tab.goto(`${url}/oauth2/sign-out`)
      await tab.evaluate("document.querySelector('button').click()")
      // Not the page that leads to Keycloak, but the one that it leads to.
      await tab.shows('Sign in again')
      t.equal(await tab.evaluate('location.href'), `${url}/oauth2/sign-out`)
      t.same(await sessions(), [])
      await tab.goto(`${url}/again`)
      t.match(await tab.evaluate('location.href'), `${keycloak.url}/realms/corp/`, 'the password is wanted')
      await enterPassword(tab)
      await tab.at(`${url}/again`)
      t.equal(await user(), ada)
    })

    await t.test('Keycloak ends a session, and no other', async t => {
      const [here] = await sessions()
      const browser = new Browser()
      await signIn(browser, `${url}/a`)
      t.equal((await browser.call(`${url}/a`)).status, 200)
      await admin('DELETE', `/corp/sessions/${here?.id}`)
      t.same(await statuses(1), [401], 'the cookie is worth nothing')
      t.equal((await browser.call(`${url}/a`)).status, 200, 'in another browser')
      await admin('POST', `/corp/users/${ada}/logout`)
      t.equal((await browser.call(`${url}/a`)).status, 401, 'when the person is signed out everywhere')
      await tab.goto(`${url}/again`)
      t.match(await tab.evaluate('location.href'), `${keycloak.url}/realms/corp/`)
    })
  })

  await t.test('only an answer that says whose it is counts', async t => {
    const isCallback = (one: string) => one.startsWith(`${url}/oauth2/callback`)
    const browser = new Browser()
    const stopped = await signIn(browser, `${url}/a`, isCallback)
    const answer = new URL(String(stopped.headers.location))
    t.equal(answer.searchParams.get('iss'), `${keycloak.url}/realms/corp`, 'as Keycloak does')
    answer.searchParams.set('iss', `${keycloak.url}/realms/partners`)
    t.match(await browser.open(answer.href), { status: 400, body: 'The sign-in could not be completed' })
    t.equal((await browser.call(`${url}/a`)).status, 401)
    const partner = await signIn(new Browser(), `${url}/partners/a`)
    t.match(partner, { status: 400, body: 'The sign-in could not be completed' }, 'a realm that does not say')
    t.ok(gateway.lines.some(({ detail }) => detail === 'iss is missing'))
  })

  await t.test(
    'with `offline_access` a session is one of its own at Keycloak, which can end it too',
    async t => {
      const browser = new Browser()
      const page = await signIn(browser, `${url}/lasting/a`)
      t.equal(page.url, `${url}/lasting/a`)
      const [lasting] = await admin<[{ id: string }]>('GET', '/corp/clients?clientId=lasting')
      await admin('POST', `/corp/users/${ada}/logout`)
      t.equal((await browser.call(`${url}/lasting/a`)).status, 200, 'a sign-out at Keycloak is not about it')
      const path = `/corp/users/${ada}/offline-sessions/${lasting.id}`
      const [session] = await admin<[{ id: string }]>('GET', path)
      await admin('DELETE', `/corp/sessions/${session.id}?isOffline=true`)
      t.equal((await browser.call(`${url}/lasting/a`)).status, 401)
    }
  )

  await t.test('while Keycloak is down people and known tokens go on, and after it too', async t => {
    const browser = new Browser()
    await signIn(browser, `${url}/a`)
    const status = async () => (await browser.call(`${url}/a`)).status
    const { access_token } = await tokensOf('corp')
    t.equal((await call('/asked/7', access_token)).status, 200)
    await keycloak.stop()
    ahead(t, tokenLife + 1)
    t.same(new Set(await Promise.all(Array.from({ length: 20 }, status))), new Set([200]))
    t.equal((await call('/orders/7', access_token)).status, 200)
    t.equal((await call('/asked/7', access_token)).status, 503)
    await keycloak.start()
    await tokensOf('corp')
    ahead(t, 11)
    t.equal(await status(), 200)
    t.equal(await metric('sallyport_session_refreshes_total{issuer="corp",result="success"}'), 3)
  })
}

/** Headers that the service behind the gateway got with the page. */
function seen(tab: Tab): Promise<Record<string, string>> {
  return tab.evaluate('JSON.parse(document.body.innerText).headers')
}

async function enterPassword(tab: Tab): Promise<void> {
  const { name, password } = person
  await tab.evaluate(`document.querySelector('#username').value = ${JSON.stringify(name)}`)
  await tab.evaluate(`document.querySelector('#password').value = ${JSON.stringify(password)}`)
  await tab.evaluate("document.querySelector('#kc-login').click()")
}

/** The same without a real browser: up to the page, or up to the first address that `until` is true of. */
async function signIn(browser: Browser, url: string, until?: (url: string) => boolean): Promise<Visit> {
  const { body } = await browser.open(url)
  const action = /<form id="kc-form-login"[^>]* action="([^"]+)"/.exec(body)?.[1] ?? ''
  return browser.open(action.replaceAll('&amp;', '&'), {
    method: 'POST',
    form: { username: person.name, password: person.password },
    ...(until && { until })
  })
}
