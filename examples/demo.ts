import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { parseArgs, styleText } from 'node:util'
import closeWithGrace from 'close-with-grace'
import { parse } from 'yaml'
import { catalogBackend } from './backends/catalog.ts'
import { consoleBackend } from './backends/console.ts'
import { ordersBackend } from './backends/orders.ts'
import { ordersRpcBackend } from './backends/orders-rpc.ts'
import { priceFeedBackend } from './backends/price-feed.ts'
import { startGateway } from './gateway-process.ts'
import { startIdentityProvider } from './identity-provider.ts'
import { listenOnLoopback, listenRpcOnLoopback } from './listen.ts'
import { accounts } from './people.ts'
import { readableLine } from './readable-log.ts'
import { type DemoRequest, demoRequests } from './requests.ts'

/**
 * `npm run demo`: five services, an identity provider and, in front of them, the gateway with routes/gateway.yaml and
 * examples/console.yaml. Prints where to sign in, a token and requests to try; then the gateway's log, until Ctrl-C. `--free-ports`
 * leaves every port to the system.
 */
const root = join(import.meta.dirname, '..')
const configFiles = [join(root, 'routes/gateway.yaml'), join(root, 'examples/console.yaml')]
const scope = 'orders:read'
const tokenRefresh = 30 * 60_000

const { values: options } = parseArgs({ options: { 'free-ports': { type: 'boolean', default: false } } })

/** What is to be undone, the last first. */
const undo: (() => unknown)[] = []

async function stop(): Promise<void> {
  for (const step of undo.splice(0).reverse()) await step()
}

interface Names {
  upstreams: Record<string, { url: string }>
  issuers: { demo: { issuer: string } }
}

async function run(): Promise<void> {
  const texts = await Promise.all(configFiles.map(file => readFile(file, 'utf8')))
  const [shop, pages] = texts.map(text => parse(text)) as [Names, Names]
  const written = (name: string) => (shop.upstreams[name] ?? pages.upstreams[name])?.url as string
  /** Addresses in the configuration, and where that service is. */
  const moved = new Map<string, string>()

  const issuer = shop.issuers.demo.issuer
  const identity = await startIdentityProvider(portOf(issuer))
  moved.set(issuer, identity.issuer)
  undo.push(() => {
    identity.server.close()
    identity.server.closeAllConnections()
  })

  const http = {
    orders: ordersBackend(),
    catalog: catalogBackend(),
    console: consoleBackend(identity.issuer)
  }
  for (const [name, backend] of Object.entries(http)) {
    undo.push(() => backend.close())
    await backend.ready()
    const url = written(name)
    moved.set(url, await listenOnLoopback(backend.server, portOf(url), `${name} service`))
  }

  const ordersRpc = ordersRpcBackend()
  undo.push(() => ordersRpc.forceShutdown())
  const rpcUrl = written('orders-grpc')
  moved.set(rpcUrl, await listenRpcOnLoopback(ordersRpc, portOf(rpcUrl), 'orders gRPC service'))

  const prices = priceFeedBackend()
  undo.push(() => prices.close())
  const pricesUrl = written('prices')
  moved.set(pricesUrl, await listenOnLoopback(prices.server, portOf(pricesUrl), 'price feed'))

  // After the ports: whoever has them has the folder, so a second demo cannot take away the token of the first.
  const folder = await workFolder()
  const config = await configFolder(folder, texts, moved)
  const secrets = { DEMO_SESSION_SECRET: randomSecret(), DEMO_CLIENT_SECRET: randomSecret() }
  const gateway = await startGateway(config, secrets, line => console.log(readableLine(line)))
  undo.push(() => gateway.stop())
  gateway.ended.catch(fail)
  const origins = [gateway.http, gateway.http.replace('127.0.0.1', 'localhost')]
  await identity.admit(origins, secrets.DEMO_CLIENT_SECRET)

  const tokenFile = join(folder, 'token')
  await writeFile(tokenFile, await identity.token(scope), { mode: 0o600 })
  const refresh = setInterval(async () => {
    await writeFile(tokenFile, await identity.token(scope))
  }, tokenRefresh)
  undo.push(() => clearInterval(refresh))

  await (await fetch(`${gateway.admin}/readyz`)).text()
  const requests = demoRequests(gateway, root, tokenFile)
  console.log(introduction(gateway.http, await readFile(tokenFile, 'utf8'), tokenFile, requests))
}

function randomSecret(): string {
  return randomBytes(36).toString('base64url')
}

/** One folder with both files: links, so that a change is in force when it is saved; copies where the ports are other ones. */
async function configFolder(
  folder: string,
  texts: readonly string[],
  moved: ReadonlyMap<string, string>
): Promise<string> {
  const made = join(folder, 'config')
  await mkdir(made)
  for (const [index, file] of configFiles.entries()) {
    const path = join(made, basename(file))
    if (options['free-ports']) await writeFile(path, withPorts(texts[index] as string, moved))
    else await symlink(file, path)
  }
  return made
}

function withPorts(text: string, moved: ReadonlyMap<string, string>): string {
  let result = text.replaceAll(/(host: 127\.0\.0\.1, port:) \d+/g, '$1 0')
  for (const [from, to] of moved) result = result.replaceAll(from, to)
  return result
}

/** For the token: a fixed place in the checkout, or one that no other demo uses. */
async function workFolder(): Promise<string> {
  const fixed = join(root, '.demo')
  const folder = options['free-ports'] ? await mkdtemp(join(tmpdir(), 'sallyport-demo-')) : fixed
  // Of a demo that could not tidy up.
  await rm(join(folder, 'config'), { recursive: true, force: true })
  await mkdir(folder, { recursive: true })
  undo.push(() => rm(folder, { recursive: true, force: true }))
  return folder
}

function portOf(origin: string): number {
  return options['free-ports'] ? 0 : Number(new URL(origin).port)
}

function introduction(
  gateway: string,
  token: string,
  tokenFile: string,
  requests: readonly DemoRequest[]
): string {
  const steps = requests.map(
    ({ title, line, answers }, index) =>
      `${index + 1}. ${title}\n   ${styleText('bold', line)}\n   ${styleText('green', `=> ${answers.join('  ')}`)}\n`
  )
  return `
The gateway is running with routes/gateway.yaml and examples/console.yaml, in front of five services and an identity provider.

Open this page in a browser, and sign in as ${accounts().join(', or as ')} (name / password):
   ${styleText('bold', `${gateway}/console`)}

An access token of the provider with the scope ${scope}, for an hour; a fresh one is always in
${tokenFile}:

${token}

Paste these lines into another terminal. Behind => is what each will answer; the gateway's log goes on here.

${steps.join('\n')}
Ctrl-C ends everything.
`
}

async function fail(error: unknown): Promise<void> {
  console.error((error as Error).message.trimEnd())
  if ((error as Error).message.includes('is taken')) {
    console.error('End what listens there, or run the demo on free ports: npm run demo -- --free-ports')
  }
  await stop()
  process.exit(1)
}

closeWithGrace({ delay: 30_000, logger: false }, stop)
run().catch(fail)
