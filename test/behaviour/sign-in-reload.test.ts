import { readFile, rename, writeFile } from 'node:fs/promises'
import t from 'tap'
import { Browser } from '../fixtures/browser.ts'
import { echoUpstream } from '../fixtures/echo.ts'
import { ahead, env, type SignInGateway, signInGateway } from '../fixtures/sign-in.ts'

async function reload({ config, gateway }: SignInGateway, yaml: string): Promise<void> {
  await writeFile(`${config}.tmp`, yaml)
  await rename(`${config}.tmp`, config)
  await gateway.reload()
}

t.test('a session outlives a reload that does not concern it, and no other one', async t => {
  const upstream = await echoUpstream(t)
  const options = { env: { ...env, OTHER_SECRET: 'another secret of sessions, long enough too' } }
  const gateway = await signInGateway(t, upstream.url, { options })
  const { url, issuer } = gateway
  const browser = new Browser()
  const status = async () => (await browser.call(`${url}/a`)).status
  await browser.open(`${url}/a`)
  const first = await readFile(gateway.config, 'utf8')
  const rows: [string, (yaml: string) => string, number][] = [
    ['nothing', yaml => yaml, 200],
    ['another plugin', yaml => yaml.replace('access-log, ', ''), 200],
    ['longer limits', yaml => yaml.replace('SESSION_SECRET }', '$&, idle: 2h, lifetime: 2d'), 200],
    ['another name of the issuer', yaml => yaml.replaceAll('corp', 'other'), 401],
    ['another client', yaml => yaml.replace('id: gateway', 'id: other'), 401],
    ['another issuer', yaml => yaml.replaceAll(issuer.url, `${issuer.url}/other`), 401],
    ['another secret', yaml => yaml.replace('SESSION_SECRET', 'OTHER_SECRET'), 401],
    ['as it was', yaml => yaml, 200]
  ]
  for (const [what, change, expected] of rows) {
    await reload(gateway, change(first))
    t.equal(await status(), expected, what)
  }
  ahead(t, 3600 - 60)
  t.equal(await status(), 200)
  await reload(gateway, first.replace('SESSION_SECRET }', 'SESSION_SECRET }, idle: 10m, lifetime: 30m'))
  t.equal(await status(), 401, 'a shorter lifetime')
  t.match((await browser.open(`${url}/oauth2/sign-out`)).body, 'You are signed out here.')
})
