import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs, styleText } from 'node:util'
import closeWithGrace from 'close-with-grace'
import { parse } from 'yaml'
import { catalogBackend } from './backends/catalog.ts'
import { ordersBackend } from './backends/orders.ts'
import { ordersRpcBackend } from './backends/orders-rpc.ts'
import { priceFeedBackend } from './backends/price-feed.ts'
import { startGateway } from './gateway-process.ts'
import { startIdentityProvider } from './identity-provider.ts'
import { listenOnLoopback, listenRpcOnLoopback } from './listen.ts'
import { readableLine } from './readable-log.ts'
import { type DemoRequest, demoRequests } from './requests.ts'

/**
 * `npm run demo`: four services, an identity provider and, in front of them, the gateway with routes/gateway.yaml. Prints a
 * token and requests to try; then the gateway's log, until Ctrl-C. `--free-ports` leaves every port to the system.
 */
const root = join(import.meta.dirname, '..')
const exampleConfig = join(root, 'routes/gateway.yaml')
const scope = 'orders:read'
const tokenRefresh = 30 * 60_000

const { values: options } = parseArgs({ options: { 'free-ports': { type: 'boolean', default: false } } })

/** What is to be undone, the last first. */
const undo: (() => unknown)[] = []

async function stop(): Promise<void> {
  for (const step of undo.splice(0).reverse()) await step()
}

async function run(): Promise<void> {
  const text = await readFile(exampleConfig, 'utf8')
  const names = parse(text) as {
    upstreams: Record<'orders' | 'catalog' | 'orders-grpc' | 'prices', { url: string }>
    issuers: { demo: { issuer: string } }
  }
  const written = {
    orders: names.upstreams.orders.url,
    catalog: names.upstreams.catalog.url,
    ordersRpc: names.upstreams['orders-grpc'].url,
    prices: names.upstreams.prices.url,
    identity: names.issuers.demo.issuer
  }

  const orders = ordersBackend()
  undo.push(() => orders.close())
  await orders.ready()
  const ordersUrl = await listenOnLoopback(orders.server, portOf(written.orders), 'orders service')

  const catalog = catalogBackend()
  undo.push(() => catalog.close())
  await catalog.ready()
  const catalogUrl = await listenOnLoopback(catalog.server, portOf(written.catalog), 'catalog service')

  const ordersRpc = ordersRpcBackend()
  undo.push(() => ordersRpc.forceShutdown())
  const ordersRpcUrl = await listenRpcOnLoopback(ordersRpc, portOf(written.ordersRpc), 'orders gRPC service')

  const prices = priceFeedBackend()
  undo.push(() => prices.close())
  const pricesUrl = await listenOnLoopback(prices.server, portOf(written.prices), 'price feed')

  const identity = await startIdentityProvider(portOf(written.identity))
  undo.push(() => {
    identity.server.close()
    identity.server.closeAllConnections()
  })

  // After the ports: whoever has them has the folder, so a second demo cannot take away the token of the first.
  const folder = await workFolder()
  let config = exampleConfig
  if (options['free-ports']) {
    config = join(folder, 'gateway.yaml')
    const moved = text
      .replace(written.orders, ordersUrl)
      .replace(written.catalog, catalogUrl)
      .replace(written.ordersRpc, ordersRpcUrl)
      .replace(written.prices, pricesUrl)
      .replace(written.identity, identity.issuer)
      .replaceAll(/(host: 127\.0\.0\.1, port:) \d+/g, '$1 0')
    await writeFile(config, moved)
  }
  const gateway = await startGateway(config, line => console.log(readableLine(line)))
  undo.push(() => gateway.stop())
  gateway.ended.catch(fail)

  const tokenFile = join(folder, 'token')
  await writeFile(tokenFile, await identity.token(scope), { mode: 0o600 })
  const refresh = setInterval(async () => {
    await writeFile(tokenFile, await identity.token(scope))
  }, tokenRefresh)
  undo.push(() => clearInterval(refresh))

  await (await fetch(`${gateway.admin}/readyz`)).text()
  const requests = demoRequests(gateway, root, tokenFile)
  console.log(introduction(await readFile(tokenFile, 'utf8'), tokenFile, requests))
}

/** For the token: a fixed place in the checkout, or one that no other demo uses. */
async function workFolder(): Promise<string> {
  const fixed = join(root, '.demo')
  const folder = options['free-ports'] ? await mkdtemp(join(tmpdir(), 'sallyport-demo-')) : fixed
  await mkdir(folder, { recursive: true })
  undo.push(() => rm(folder, { recursive: true, force: true }))
  return folder
}

function portOf(origin: string): number {
  return options['free-ports'] ? 0 : Number(new URL(origin).port)
}

function introduction(token: string, tokenFile: string, requests: readonly DemoRequest[]): string {
  const steps = requests.map(
    ({ title, line, answers }, index) =>
      `${index + 1}. ${title}\n   ${styleText('bold', line)}\n   ${styleText('green', `=> ${answers.join('  ')}`)}\n`
  )
  return `
The gateway is running with routes/gateway.yaml, in front of four services and an identity provider.

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
