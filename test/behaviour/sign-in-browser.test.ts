import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { skipWithoutBrowser } from '../fixtures/chromium.ts'
import { openTab, type Tab } from '../fixtures/chromium-tab.ts'
import { hostileReturnUrls } from '../fixtures/return-urls.ts'
import { ahead, signInGateway } from '../fixtures/sign-in.ts'
import { echo } from '../helper.ts'

/** SCREENSHOTS=FOLDER keeps what the pages look like, for people. */
async function keepScreenshot(tab: Tab, name: string): Promise<void> {
  const folder = process.env.SCREENSHOTS
  if (folder !== undefined) await writeFile(join(folder, `${name}.png`), await tab.screenshot())
}

const click = "document.querySelector('button').click()"
const status = "fetch('/api').then(answer => answer.status)"

t.test(
  'in a real browser: sign in, work, sign out, and be signed out',
  { skip: skipWithoutBrowser },
  async t => {
    const service = createServer((request, response) => {
      const user = request.headers['x-forwarded-user']
      response
        .setHeader('content-type', 'text/html')
        .end(`<p id="user">${user}</p><p>${request.headers.cookie ?? ''}</p>`)
    })
    service.listen(0, '127.0.0.1')
    await once(service, 'listening')
    t.teardown(() => service.close())
    const upstream = `http://127.0.0.1:${(service.address() as AddressInfo).port}`
    const { url, issuer } = await signInGateway(t, upstream)
    issuer.tokenLife = 100
    const tab = await openTab(t)

    await tab.goto(`${url}/reports?month=11`)
    t.equal(await tab.evaluate('location.href'), `${url}/reports?month=11`, 'the deep link')
    t.equal(await tab.evaluate("document.querySelector('#user').textContent"), 'ada')
    t.notMatch(
      await tab.evaluate('document.body.textContent'),
      'sallyport',
      'the cookie did not get to the upstream'
    )
    t.notMatch(await tab.evaluate('document.cookie'), 'sallyport', 'and no script sees it')
    t.equal(await tab.evaluate(status), 200, 'a call')

    ahead(t, 101)
    const calls = await tab.evaluate<number[]>(`Promise.all(Array.from({ length: 20 }, () => ${status}))`)
    t.same(new Set(calls), new Set([200]))
    t.equal(issuer.asked.refresh_token, 1, 'one refresh for all calls of the page')

    await tab.goto(`${url}/oauth2/sign-out`)
    await keepScreenshot(tab, 'sign-out')
    await tab.evaluate(click)
    // The page says that the person is signed out here, and goes on to the issuer.
    await tab.at(`${issuer.url}/session/end`)
    await tab.evaluate(click)
    await tab.at(`${url}/oauth2/sign-out`)
    t.match(await tab.evaluate('document.body.textContent'), 'Signed out')
    await keepScreenshot(tab, 'signed-out')

    await tab.goto(`${url}/again`)
    t.equal(await tab.evaluate(status), 200, 'signed in again')
    await tab.goto(`${issuer.url}/session/end`)
    await tab.evaluate(click)
    await tab.at(`${issuer.url}/session/end/success`)
    issuer.person = null
    await tab.goto(`${url}/again`)
    t.match(await tab.evaluate('document.body.textContent'), 'The sign-in could not be completed')
    await keepScreenshot(tab, 'refused')
    issuer.person = 'ada'
    issuer.before = (request, response) => {
      if (request.url !== '/token') return false
      response.writeHead(503).end()
      return true
    }
    await tab.goto(`${url}/again`)
    t.match(await tab.evaluate('document.body.textContent'), 'Signing in is not possible at the moment')
    await keepScreenshot(tab, 'unavailable')
  }
)

t.test(
  'in a real browser: no return URL leads away, however a browser reads it',
  { skip: skipWithoutBrowser },
  async t => {
    const { url: upstream } = await echo(t)
    const { url, issuer } = await signInGateway(t, upstream)
    const tab = await openTab(t)
    // Those that browsers read in their own way: slashes of both kinds, white space, schemes.
    const tricky = hostileReturnUrls.filter(each => /\\|\s|^\/\/|^\w+:/.test(each))
    for (const hostile of tricky) {
      await tab.goto(`${url}/oauth2/sign-in?return_to=${encodeURIComponent(hostile.toWellFormed())}`)
      t.equal(await tab.evaluate('location.href'), `${url}/`, `row ${hostileReturnUrls.indexOf(hostile)}`)
    }
    t.equal(issuer.asked.authorization_code, tricky.length, 'each one through a sign-in')
  }
)
