import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { Gateway, type GatewayOptions } from '../src/gateway.ts'
import { createLog } from '../src/log.ts'

/** What closes with the test: tap's `t`. */
export interface Closing {
  teardown(close: () => unknown): void
}

export interface RunningGateway {
  readonly gateway: Gateway
  /** Origin of the public listener, e.g. `http://127.0.0.1:40123`. */
  readonly url: string
  readonly port: number
  /** Origin of the admin listener. */
  readonly admin: string
  /** Path of the configuration file, to be rewritten by tests of reload. */
  readonly config: string
  /** Every line that was logged so far. */
  readonly lines: Record<string, unknown>[]
  /** Value of one series of `/metrics`, e.g. `sallyport_requests_total{route="a",…}`; undefined when there is none. */
  metric(series: string): Promise<number | undefined>
}

/**
 * A whole gateway on real sockets, from YAML without `listeners` (they are on free ports of loopback). It closes with the test.
 */
export async function buildGateway(
  t: Closing,
  yaml: string,
  options: Partial<GatewayOptions> = {}
): Promise<RunningGateway> {
  const folder = await mkdtemp(join(tmpdir(), 'sallyport-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const config = join(folder, 'gateway.yaml')
  await writeFile(config, withListeners(yaml))
  const lines: Record<string, unknown>[] = []
  const gateway = new Gateway({
    config,
    watch: false,
    shed: false,
    log: createLog('debug', collect(lines)),
    ...options
  })
  t.teardown(() => gateway.close())
  const { http, admin } = await gateway.start()
  // A configuration of its own listeners may have no `http`.
  const url = http ?? ''
  return {
    gateway,
    url,
    port: http === null ? 0 : Number(new URL(http).port),
    admin,
    config,
    lines,
    async metric(series) {
      const text = await (await fetch(`${admin}/metrics`)).text()
      const line = text.split('\n').find(one => one.startsWith(`${series} `))
      return line === undefined ? undefined : Number(line.slice(series.length + 1))
    }
  }
}

const listeners = `listeners:
  http: { host: 127.0.0.1, port: 0 }
  admin: { host: 127.0.0.1, port: 0 }
`

export function withListeners(yaml: string): string {
  const patient = withPatience(yaml)
  return yaml.startsWith('listeners:') ? patient : `${listeners}${patient}`
}

/** A machine that is busy with other tests is no reason to shed load, unless the test is about that. */
function withPatience(yaml: string): string {
  const overload = 'overload: { eventLoopLag: 60s }'
  if (yaml.includes('overload:') || /^limits:\s*$/m.test(yaml)) return yaml
  if (yaml.includes('limits: {')) return yaml.replace('limits: {', `limits: { ${overload},`)
  // Before it: tests write on at the end of their configuration.
  return `limits: { ${overload} }\n${yaml}`
}

function collect(lines: Record<string, unknown>[]): Writable {
  return new Writable({
    write(chunk: Buffer, _encoding, done) {
      for (const line of chunk.toString().split('\n')) if (line !== '') lines.push(JSON.parse(line))
      done()
    }
  })
}

/** A backend on a real socket; it closes with the test. */
export async function upstream(
  t: Closing,
  handler: RequestListener
): Promise<{ url: string; port: number; server: Server }> {
  const server = createServer(handler)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  return { url: `http://127.0.0.1:${port}`, port, server }
}

/** A backend that answers every request with what it got, as JSON: `{ method, url, headers, body }`. */
export function echo(t: Closing): Promise<{ url: string; port: number; server: Server }> {
  return upstream(t, async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    const { method, url, headers } = request
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify({ method, url, headers, body: Buffer.concat(chunks).toString() }))
  })
}
