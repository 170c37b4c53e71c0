import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { Browser } from '../fixtures/browser.ts'
import { echoUpstream } from '../fixtures/echo.ts'
import { client, personalIssuer } from '../fixtures/sign-in.ts'
import { buildGateway } from '../helper.ts'

const example = join(import.meta.dirname, '../../examples/from-oauth2-proxy.yaml')

t.test('routes that have moved sign people in, the others stay with oauth2-proxy', async t => {
  const app = await echoUpstream(t)
  const old = await echoUpstream(t)
  const issuer = await personalIssuer(t)
  const yaml = (await readFile(example, 'utf8'))
    .replaceAll('https://app.example.com', 'http://127.0.0.1')
    .replaceAll('app.example.com', '127.0.0.1')
    .replace('https://idp.example.com', `${issuer.url}\n    algorithms: [ES256]`)
    .replace('[openid, profile, email, groups]', '[openid, email, groups]')
    .replace('id: oauth2-proxy', `id: ${client.id}`)
    .replace('http://app.shop.svc.cluster.local:80', app.url)
    .replace('http://oauth2-proxy.shop.svc.cluster.local:4180', old.url)
  const env = { SESSION_SECRET: 'x'.repeat(40), OIDC_CLIENT_SECRET: client.secret }
  const { url } = await buildGateway(t, yaml, { env })
  await issuer.serve([url])
  issuer.groups.ada = ['staff']
  const ada = { sub: 'ada', email: 'ada@example.com', email_verified: true, groups: ['staff'] }

  const rows: [string, object, number][] = [
    ['of the group and the domain', ada, 200],
    ['of another group', { ...ada, groups: ['guests'] }, 403],
    ['of another domain', { ...ada, email: 'ada@example.com.evil.example' }, 403],
    ['with an address that nobody has verified', { ...ada, email_verified: false }, 403],
    ['without an address', { ...ada, email: undefined }, 403],
    ['of whom nothing is known', { sub: 'ada' }, 403]
  ]
  for (const [who, said, status] of rows) {
    issuer.userInfo = said
    t.equal((await new Browser().open(`${url}/reports/7`)).status, status, who)
  }
  t.equal(app.requests.length, 1)

  const stranger = await new Browser().open(`${url}/orders/7`, {
    headers: { 'x-forwarded-uri': '/healthz', 'x-forwarded-user': 'ada', cookie: '_oauth2_proxy=a' }
  })
  t.equal(stranger.status, 200, 'oauth2-proxy decides')
  const seen = Object.fromEntries(old.requests[0]?.headers ?? [])
  t.match(seen, { host: new URL(url).host, cookie: '_oauth2_proxy=a' })
  t.notOk('x-forwarded-uri' in seen, 'nobody talks it out of a sign-in')
  t.notOk('x-forwarded-user' in seen)
  await new Browser().open(`${url}/oauth2-old/callback?code=a&state=b`)
  t.equal(old.requests[1]?.target, '/oauth2-old/callback?code=a&state=b', 'its own paths too')
  t.equal((await new Browser().call(`${url}/healthz`)).status, 200)
  t.equal(app.requests.length, 2, 'what needs no sign-in goes straight to the service')
})
