import { once } from 'node:events'
import type { RequestListener } from 'node:http'
import { connect } from 'node:net'
import type { Writable } from 'node:stream'
import t, { type Test } from 'tap'
import { type GatewayProcess, gatewayProcess } from '../fixtures/gateway-process.ts'
import { http2Upstream } from '../fixtures/http2-upstream.ts'
import { upstream } from '../helper.ts'

// The bounds of time are for a machine that does other things: it takes two or three seconds.
t.setTimeout(440_000)

const gibibyte = 2 ** 30
const chunk = Buffer.alloc(2 ** 18, 'x')
const mebibyte = 2 ** 20
/** Room for buffers that are not yet collected; a body held in memory would be ten times as much. */
const allowance = 100 * mebibyte

const protocols = ['http1', 'h2c'] as const
type Protocol = (typeof protocols)[number]

function backend(t: Test, protocol: Protocol, listener: RequestListener): Promise<{ url: string }> {
  return protocol === 'http1' ? upstream(t, listener) : http2Upstream(t, listener)
}

function yaml(url: string, protocol: Protocol): string {
  return `limits: { requestTimeout: 100s }
upstreams: { backend: { url: "${url}", protocol: ${protocol} } }
routes:
  all: { match: { path: /* }, public: true, upstream: backend, maxBody: 2Gi }
`
}

interface Figures {
  grown: number
}

/** What it costs the gateway to carry a body of 1 GiB. */
async function measure(t: Test, gateway: GatewayProcess, carry: () => Promise<void>): Promise<Figures> {
  await gateway.resetPeak()
  const [before, cpu, start] = [(await gateway.peak()) ?? 0, (await gateway.cpu()) ?? 0, performance.now()]
  await carry()
  const grown = ((await gateway.peak()) ?? 0) - before
  const [wall, used] = [performance.now() - start, ((await gateway.cpu()) ?? 0) - cpu]
  const inMebibytes = (bytes: number) => `${Math.round(bytes / mebibyte)} MiB`
  t.comment(
    `${Math.round(wall)} ms, ${used} ms of it on the processor; ${inMebibytes(before)} before, ${inMebibytes(grown)} more at the peak`
  )
  return { grown }
}

/** Writes as much as the other side takes, and no more. */
async function pour(size: number, into: Writable): Promise<void> {
  for (let sent = 0; sent < size; sent += chunk.length) {
    if (!into.write(chunk)) await once(into, 'drain')
  }
}

for (const protocol of protocols)
  t.test(`1 GB comes down with flat memory: ${protocol}`, { timeout: 110_000 }, async t => {
    const { url } = await backend(t, protocol, async (request, response) => {
      const isLong = request.url === '/long'
      response.writeHead(200, isLong ? { 'content-length': gibibyte } : undefined)
      await pour(isLong ? gibibyte : 64 * mebibyte, response)
      response.end()
    })
    const gateway = await gatewayProcess(t, yaml(url, protocol))

    async function download(path: string): Promise<number> {
      const client = connect(gateway.port, '127.0.0.1')
      client.write(`GET ${path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n`)
      let received = 0
      client.on('data', data => {
        received += data.length
      })
      await once(client, 'end')
      return received
    }

    t.ok((await download('/warm-up')) > 64 * mebibyte)
    const { grown } = await measure(t, gateway, async () => {
      t.ok((await download('/long')) > gibibyte)
    })
    t.ok(grown < allowance, `${Math.round(grown / mebibyte)} MiB more at most`)
  })

for (const protocol of protocols)
  t.test(`1 GB goes up with flat memory: ${protocol}`, { timeout: 110_000 }, async t => {
    let received = 0
    const { url } = await backend(t, protocol, (request, response) => {
      received = 0
      request.on('data', data => {
        received += data.length
      })
      request.on('end', () => response.end(String(received)))
    })
    const gateway = await gatewayProcess(t, yaml(url, protocol))

    async function upload(size: number): Promise<string> {
      const client = connect(gateway.port, '127.0.0.1')
      let answer = ''
      client.on('data', data => {
        answer += data.toString()
      })
      client.write(`POST /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: ${size}\r\n\r\n`)
      await pour(size, client)
      await once(client, 'end')
      return answer
    }

    t.match(await upload(64 * mebibyte), /200 OK[\s\S]*67108864\b/)
    const { grown } = await measure(t, gateway, async () => {
      t.match(await upload(gibibyte), /200 OK[\s\S]*1073741824\b/)
    })
    t.ok(grown < allowance, `${Math.round(grown / mebibyte)} MiB more at most`)
  })
