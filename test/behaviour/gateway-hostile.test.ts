import t, { type Test } from 'tap'
import { type Echo, echoUpstream } from '../fixtures/echo.ts'
import { type FuzzOptions, fuzzGate } from '../fixtures/fuzz.ts'
import { hostileHost, hostileRequests } from '../fixtures/hostile-requests.ts'
import { type Frame, rawClient } from '../fixtures/raw.ts'
import { buildGateway } from '../helper.ts'

/**
 * The whole gateway between the hostile bytes and an upstream that records what reaches it. Judged is what the access log
 * says; forwarded is what the upstream saw: they must be one.
 */

const good = `GET /good HTTP/1.1\r\nHost: ${hostileHost}\r\n\r\n`

const ours =
  /^(x-forwarded-(?!for|host|proto|port)|forwarded$|x-real-ip|x-original-url|x-rewrite-url|x-sallyport)/i

async function hostileGateway(
  t: Test
): Promise<{ port: number; echo: Echo; lines: Record<string, unknown>[] }> {
  const echo = await echoUpstream(t)
  const { port, lines } = await buildGateway(
    t,
    `upstreams: { echo: { url: ${echo.url} } }
plugins: [access-log, metrics]
routes:
  all:
    match: { path: /* }
    public: true
    upstream: echo
`
  )
  return { port, echo, lines }
}

function watchUncaught(t: Test): unknown[] {
  const uncaught: unknown[] = []
  const note = (error: unknown): void => void uncaught.push(error)
  process.on('uncaughtExceptionMonitor', note)
  t.teardown(() => process.off('uncaughtExceptionMonitor', note))
  return uncaught
}

t.test('no hostile request of the table gets past the gateway in another shape', async t => {
  const { port, echo, lines } = await hostileGateway(t)
  const uncaught = watchUncaught(t)
  for (const row of hostileRequests) {
    await t.test(row.name, async t => {
      echo.requests.length = 0
      lines.length = 0
      const client = rawClient(t, port)
      client.send(row.bytes)
      let answer = await client.next()
      while (answer.status < 200) answer = await client.next()
      t.ok(row.statuses.includes(answer.status), `${answer.status} is one of ${row.statuses}`)
      if (answer.status !== 200) t.equal(echo.requests.length, 0, 'nothing was sent upstream')
      for (const { target, headers } of echo.requests) {
        t.ok(row.bytes.includes(target) || row.bytes.includes(target.slice(1)), 'forwarded is what was sent')
        t.same(
          headers.filter(([name]) => ours.test(name)),
          [],
          'no identity or forwarded header of the client'
        )
      }
      client.destroy()
      const fresh = rawClient(t, port)
      fresh.send(good)
      t.equal((await fresh.next()).status, 200, 'a fresh connection works')
      fresh.destroy()
    })
  }
  t.same(uncaught, [])
})

t.test(
  '100,000 mutated requests: judged is forwarded, nobody is lost, the process lives',
  { timeout: 240_000 },
  async t => {
    const { port, echo, lines } = await hostileGateway(t)
    const uncaught = watchUncaught(t)
    const options: FuzzOptions = {
      runs: Number(process.env.FUZZ_RUNS ?? 100_000),
      seed: Number(process.env.FUZZ_SEED ?? 20_261_123),
      onPassed(sent: string, answer: Frame) {
        // What is kept of a hundred thousand requests would be the only thing that grows.
        echo.requests.length = 0
        echo.connections.fill('')
        lines.length = 0
        if (answer.body === '') return
        const { target } = JSON.parse(answer.body) as { target: string }
        const wasSent =
          sent.includes(` ${target} `) ||
          sent.includes(`.com${target} `) ||
          sent.includes(`.com${target.slice(1)} `)
        if (!wasSent) throw new Error(`forwarded ${JSON.stringify(target)}, sent ${JSON.stringify(sent)}`)
      }
    }
    const { requests, statuses } = await fuzzGate(port, options)
    t.comment(`${requests} requests`, statuses)
    t.ok(requests >= options.runs)
    t.ok(statuses[200]! > requests / 20, 'enough of them are good')
    t.ok(statuses[400]! > requests / 20, 'enough of them are bad')
    t.same(uncaught, [])
  }
)
