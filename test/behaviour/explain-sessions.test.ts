import t from 'tap'
import type { Explanation } from '../../src/explain/explanation.ts'
import { Browser } from '../fixtures/browser.ts'
import { echoUpstream } from '../fixtures/echo.ts'
import { signInGateway } from '../fixtures/sign-in.ts'

t.test(
  'explaining what a person may do neither uses nor ends the session, and begins no sign-in',
  async t => {
    const upstream = await echoUpstream(t)
    const { url, admin, issuer } = await signInGateway(t, upstream.url)
    const browser = new Browser()
    await browser.open(`${url}/a`)
    const cookie = `sallyport=${browser.cookie(url, 'sallyport')}`
    const asked = { ...issuer.asked }
    const forwarded = upstream.requests.length
    const { host } = new URL(url)

    async function explain(
      target: string,
      headers: Record<string, string>,
      method = 'GET'
    ): Promise<Explanation> {
      const answer = await fetch(`${admin}/explain`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ method, target, host, headers })
      })
      return (await answer.json()) as Explanation
    }

    t.match(await explain('/a', { cookie }), {
      verdict: 'allow',
      identity: { kind: 'session', subject: 'ada' }
    })
    t.match(await explain('/a', {}), { verdict: 'deny', status: 401, reason: 'token.missing' })
    const page = { accept: 'text/html', 'sec-fetch-mode': 'navigate' }
    t.match(await explain('/a', page), { verdict: 'deny', status: 302, reason: 'token.missing' })
    await explain('/oauth2/sign-out', { cookie, 'sec-fetch-site': 'same-origin' }, 'POST')
    await explain('/oauth2/sign-out', { cookie })

    t.equal(upstream.requests.length, forwarded, 'no upstream was called')
    t.same({ ...issuer.asked }, asked, 'nor the issuer')
    t.equal((await browser.call(`${url}/a`)).status, 200, 'the session is still there')
  }
)
