import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import {
  credentials,
  loadPackageDefinition,
  Server as RpcServer,
  type ServiceClientConstructor
} from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import t from 'tap'
import { listenOnLoopback, listenRpcOnLoopback } from '../../examples/listen.ts'
import { skipWithoutBrowser } from '../fixtures/chromium.ts'
import { openTab, type Tab } from '../fixtures/chromium-tab.ts'
import { startDemo } from '../fixtures/demo.ts'

const run = promisify(execFile)
const root = join(import.meta.dirname, '../..')

t.test('the demo prints eight requests, and each gives what it says', async t => {
  const { scripts } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'))
  t.equal(scripts.demo, 'node examples/demo.ts', 'this is what npm run demo does')
  const demo = await startDemo(t)
  t.equal(demo.requests.length, 8)
  t.match(demo.output(), (await readFile(demo.tokenFile, 'utf8')).trim(), 'the token is printed')
  for (const { line, answers } of demo.requests) {
    const { stdout } = await run('bash', ['-c', line])
    for (const answer of answers) t.ok(stdout.includes(answer), `${line} => ${answer}`, { stdout })
  }
  t.match(await services(demo.h2c), ['shop.v1.Orders'], 'tools find the gRPC service by themselves')

  t.equal(await demo.interrupt(), 0, 'Ctrl-C is no failure')
  await t.rejects(fetch(demo.gateway), 'the gateway is gone')
  await t.rejects(fetch(demo.h2c), 'its listener for HTTP/2')
  await t.rejects(fetch(demo.admin), 'its admin listener too')
  t.notOk(existsSync(demo.tokenFile), 'and the token')
  const log = demo.output()
  t.match(log, 'GET /orders/7 200  route orders-read for demo-app', 'the log can be read')
  t.match(log, 'rate.exceeded by rate-limit')
  t.match(log, 'grpc /shop.v1.Orders/Get 0  route orders-rpc for demo-app')
  t.match(log, 'websocket /prices/live 1000  route prices-live for demo-app')
  t.match(log, 'stopped')
  t.notMatch(log, /WARNING|NOTICE|\{"level"/)
})

t.test(
  'in a browser, a person signs in at the page that the demo prints, looks around, and signs out',
  { skip: skipWithoutBrowser },
  async t => {
    const demo = await startDemo(t)
    const [, user = '', password = ''] = /sign in as (\w+) \/ (\w+)/.exec(demo.output()) ?? []
    const tab = await openTab(t)
    const text = () => tab.evaluate<string>('document.body.innerText')

    await tab.goto(`${demo.page}?tab=orders`)
    t.match(await tab.at('/sign-in/'), /^http:/)
    t.match(await text(), `Name and password: ${user} / ${password}`)
    await keepScreenshot(tab, 'demo-sign-in')
    await fill(tab, user, 'a guess')
    await tab.shows('That is not one of the names and passwords below.')
    await fill(tab, user, password)
    t.equal(await tab.at('/console'), `${demo.page}?tab=orders`, 'the page that was asked for')
    t.match(await text(), new RegExp(`Hello, ${user}[^]*${user}@example.com[^]*staff,admins`))
    await keepScreenshot(tab, 'demo-console')
    await tab.evaluate("document.querySelector('a[href$=admin]').click()")
    await tab.shows('Your groups have let you in.')

    await tab.goto(demo.page)
    await tab.evaluate("document.querySelector('a[href$=sign-out]').click()")
    await tab.shows(`You are signed in as ${user}@example.com.`)
    await tab.evaluate("document.querySelector('button').click()")
    await tab.at('/session/end?')
    await keepScreenshot(tab, 'demo-sign-out')
    await tab.evaluate("document.querySelector('button').click()")
    await tab.at('/oauth2/sign-out')
    await tab.shows('You are signed out here.')

    await tab.evaluate("document.querySelector('a').click()")
    await tab.at('/sign-in/')
    await fill(tab, 'bob', 'compass')
    t.equal(await tab.at(demo.gateway), `${demo.gateway}/`)
    t.match(await text(), 'Hello, bob')
    await tab.goto(`${demo.page}/admin`)
    await tab.shows('You may not open this page')

    await tab.goto(demo.page)
    await tab.evaluate("document.querySelector('a[href*=session]').click()")
    await tab.at('/session/end')
    await tab.evaluate("document.querySelector('button').click()")
    await tab.shows('it has told the gateway')
    await keepScreenshot(tab, 'demo-signed-out')
    await tab.goto(demo.page)
    t.match(await tab.at('/sign-in/'), /^http:/, 'the gateway has heard of it')
    await tab.evaluate("document.querySelector('[name=cancel]').click()")
    await tab.shows('It was cancelled')
    const log = demo.output()
    t.match(log, 'a person has signed in')
    t.match(log, 'an issuer has ended sessions')
    t.notMatch(log, /WARNING|NOTICE|code=\w|state=/)
  }
)

function fill(tab: Tab, user: string, password: string): Promise<void> {
  return tab.evaluate(`{
    const form = document.querySelector('form')
    form.user.value = ${JSON.stringify(user)}
    form.password.value = ${JSON.stringify(password)}
    form.querySelector('button').click()
  }`)
}

/** SCREENSHOTS=FOLDER keeps what the pages look like, for people. */
async function keepScreenshot(tab: Tab, name: string): Promise<void> {
  const folder = process.env.SCREENSHOTS
  if (folder !== undefined) await writeFile(join(folder, `${name}.png`), await tab.screenshot())
}

t.test('a port that is taken is said in a sentence', async t => {
  const server = createServer()
  const origin = await listenOnLoopback(server, 0, 'test')
  t.teardown(() => server.close())
  const { port } = new URL(origin)
  await t.rejects(listenOnLoopback(createServer(), Number(port), 'orders service'), {
    message: `Port ${port} of 127.0.0.1, for the orders service, is taken.`
  })
  await t.rejects(listenRpcOnLoopback(new RpcServer(), Number(port), 'orders gRPC service'), {
    message: `Port ${port} of 127.0.0.1, for the orders gRPC service, is taken.`
  })

  const folder = await mkdtemp(join(tmpdir(), 'sallyport-'))
  t.teardown(() => rm(folder, { recursive: true }))
  const config = join(folder, 'gateway.yaml')
  const yaml = await readFile(join(root, 'routes/gateway.yaml'), 'utf8')
  await writeFile(
    config,
    yaml.replace('port: 8080', `port: ${port}`).replaceAll(/port: (8081|9090)/g, 'port: 0')
  )
  const start = run(process.execPath, [join(root, 'src/main.ts'), 'start', '--config', config])
  await t.rejects(start, {
    code: 1,
    stderr: `listeners.http: port ${port} of 127.0.0.1 is taken. End what listens there, or change \`listeners\` in the configuration.\n`
  })
})

t.test('the default configuration passes the check', async t => {
  const { stdout } = await run(process.execPath, ['src/main.ts', 'check'], { cwd: root })
  t.equal(stdout, 'routes/gateway.yaml: fine, 6 routes, 4 upstreams\n')
})

/** What grpcurl and its like ask first: the services that server reflection tells of. */
async function services(origin: string): Promise<string[]> {
  const proto = new URL(
    '../proto/grpc/reflection/v1/reflection.proto',
    import.meta.resolve('@grpc/reflection')
  )
  const definition = loadSync(fileURLToPath(proto))
  const { grpc } = loadPackageDefinition(definition) as unknown as {
    grpc: { reflection: { v1: { ServerReflection: ServiceClientConstructor } } }
  }
  const Reflection = grpc.reflection.v1.ServerReflection
  const client = new Reflection(new URL(origin).host, credentials.createInsecure())
  const { path, requestSerialize, responseDeserialize } = Reflection.service
    .ServerReflectionInfo as NonNullable<(typeof Reflection.service)[string]>
  const stream = client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize)
  stream.write({ listServices: '' })
  const [{ listServicesResponse }] = await once(stream, 'data')
  stream.end()
  stream.resume()
  await once(stream, 'end')
  client.close()
  return listServicesResponse.service.map(({ name }: { name: string }) => name)
}
