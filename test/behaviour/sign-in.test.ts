import t from 'tap'
import { Browser } from '../fixtures/browser.ts'
import { echoUpstream } from '../fixtures/echo.ts'
import { signInGateway } from '../fixtures/sign-in.ts'

t.test('a person who opens a page signs in and gets to that page', async t => {
  const upstream = await echoUpstream(t)
  const { url, issuer, lines, metric } = await signInGateway(t, upstream.url)
  const browser = new Browser()
  const page = await browser.open(`${url}/reports/2026?month=11&sort=a%20b`)
  t.equal(page.status, 200)
  t.equal(page.url, `${url}/reports/2026?month=11&sort=a%20b`, 'the deep link')
  t.equal(upstream.requests.length, 1, 'the upstream hears of nobody who is not signed in')
  const headers = Object.fromEntries(upstream.requests[0]?.headers ?? [])
  t.match(headers, {
    'x-forwarded-user': 'ada',
    'x-forwarded-email': 'ada@example.com',
    'x-forwarded-groups': 'admins'
  })
  const cookie = browser.cookie(url, 'sallyport') ?? ''
  t.ok(cookie.length > 40)
  t.notOk(String(headers.cookie).includes('sallyport'), 'the cookie does not go to the upstream')
  t.equal((await browser.open(`${url}/next`)).way.length, 1, 'signed in')
  t.equal((await browser.call(`${url}/api`)).status, 200, 'a call of a script too')
  t.equal(await metric('sallyport_sign_ins_total{issuer="corp",result="success"}'), 1)
  const logged = JSON.stringify(lines)
  for (const secret of [decodeURIComponent(cookie), cookie, 'code=', 'state='])
    t.notOk(logged.includes(secret), 'in no log')
  t.equal(issuer.asked.authorization_code, 1)
})
