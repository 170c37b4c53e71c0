import { execFile } from 'node:child_process'
import { copyFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { promisify } from 'node:util'
import t from 'tap'
import { createLog } from '../../src/log.ts'
import { localIssuer } from '../fixtures/issuer.ts'
import { blocks, root } from '../fixtures/markdown.ts'
import { buildGateway, type Closing, echo } from '../helper.ts'

const run = promisify(execFile)
const example = join(root, 'examples/plugins/tenant-header.ts')

async function emptyFolder(t: Closing): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'sallyport-plugins-'))
  t.teardown(() => rm(folder, { recursive: true }))
  return folder
}

/** A route for those who have a token, with more plugins behind it. */
function orders(upstream: string, issuer: string, more = ''): string {
  return `issuers: { corp: { issuer: ${issuer}, audience: [orders-api] } }
upstreams: { orders: { url: ${upstream} } }
routes:
  orders:
    match: { path: /orders/* }
    upstream: orders
    plugins:
      - jwt: { issuer: corp }
${more}`
}

/** A log whose lines can be waited for. */
function listeningLog() {
  const waiting: { text: string; resolve: () => void }[] = []
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      for (const one of [...waiting]) {
        if (!chunk.includes(one.text)) continue
        waiting.splice(waiting.indexOf(one), 1)
        one.resolve()
      }
      done()
    }
  })
  const said = (text: string) => new Promise<void>(resolve => waiting.push({ text, resolve }))
  return { log: createLog('info', stream), said }
}

async function tenantOf(url: string, token: string): Promise<string | undefined> {
  const response = await fetch(`${url}/orders/7`, { headers: { authorization: `Bearer ${token}` } })
  const seen = (await response.json()) as { headers?: Record<string, string> }
  return response.status === 200 ? seen.headers?.['x-tenant'] : String(response.status)
}

t.test('the plugin in the guide is the one in the examples, and does what it says', async t => {
  const [code] = blocks('docs/guide/write-a-plugin.md', 'ts')
  const file = await readFile(example, 'utf8')
  t.equal(code?.text, file.replace('../../src/plugin/define.ts', 'sallyport/plugin'))

  const plugins = await emptyFolder(t)
  await writeFile(join(plugins, 'tenant-header.ts'), code!.text)
  const { url } = await echo(t)
  const issuer = await localIssuer(t)
  const yaml = orders(url, issuer.url, '      - tenant-header: { claim: org }\n')
  const gateway = await buildGateway(t, yaml, { plugins })
  t.equal(await tenantOf(gateway.url, await issuer.sign({ org: 'acme' })), 'acme')
  t.equal(
    await tenantOf(gateway.url, await issuer.sign({ org: 'a b' })),
    '403',
    'no header is made of anything'
  )
  t.equal(await tenantOf(gateway.url, await issuer.sign()), '403')
})

t.test('without its file a plugin is not known, with it the same configuration is fine', async t => {
  const plugins = await emptyFolder(t)
  const config = join(await emptyFolder(t), 'gateway.yaml')
  await writeFile(config, orders('http://127.0.0.1:9', 'http://127.0.0.1:9', '      - tenant-header\n'))
  const check = ['src/main.ts', 'check', '--config', config, '--plugins', plugins]
  await t.rejects(run(process.execPath, check, { cwd: root }), {
    code: 2,
    stderr: /9:9 {2}routes\.orders\.plugins\[1\] {2}no plugin is named "tenant-header"/
  })
  await copyFile(example, join(plugins, 'tenant-header.ts'))
  t.match((await run(process.execPath, check, { cwd: root })).stdout, 'fine, 1 route, 1 upstream')
})

t.test('a plugin file dropped into the folder changes what a route does, with no other change', async t => {
  const plugins = await emptyFolder(t)
  const { url } = await echo(t)
  const issuer = await localIssuer(t)
  const token = await issuer.sign({ tenant: 'acme' })
  const { log, said } = listeningLog()
  const gateway = await buildGateway(t, orders(url, issuer.url), { plugins, watch: true, log })
  t.equal(await tenantOf(gateway.url, token), undefined)

  const refused = said('the new configuration is refused')
  const before = await readFile(gateway.config, 'utf8')
  await writeFile(gateway.config, `${before}      - tenant-header\n`)
  await refused
  t.equal(await tenantOf(gateway.url, token), undefined, 'the word means nothing yet: the old one stays')

  const arrived = said('configuration reloaded')
  await copyFile(example, join(plugins, 'tenant-header.ts'))
  await arrived
  t.equal(await tenantOf(gateway.url, token), 'acme', 'the file was all that was missing')

  const replaced = said('configuration reloaded')
  const file = await readFile(example, 'utf8')
  await writeFile(
    join(plugins, 'tenant-header.ts'),
    file.replace('[header]: tenant', '[header]: tenant.toUpperCase()')
  )
  await replaced
  t.equal(await tenantOf(gateway.url, token), 'ACME', 'a new version takes over')

  const broken = said('the new configuration is refused')
  await writeFile(join(plugins, 'tenant-header.ts'), 'export default {}')
  await broken
  t.equal(await tenantOf(gateway.url, token), 'ACME', 'one that is no plugin does not')
})
