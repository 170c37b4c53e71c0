import { monitorEventLoopDelay } from 'node:perf_hooks'
import t, { type Test } from 'tap'
import { OverloadGuard } from '../../src/overload.ts'
import { Registry } from '../../src/registry.ts'
import { buildGateway, echo } from '../helper.ts'

function guard(t: Test, maxLag: number, shed = true): OverloadGuard {
  const guard = new OverloadGuard(new Registry(), shed)
  t.teardown(() => guard.close())
  guard.maxLag = maxLag
  return guard
}

t.test('a lag that lasts is overload; one that passes is not', async t => {
  const overload = guard(t, 100)
  for (const lag of [500, 500, 5, 500, 500]) overload.sample(lag)
  t.equal(overload.isOverloaded, false)
  overload.sample(101)
  t.equal(overload.isOverloaded, true)
  overload.sample(100)
  t.equal(overload.isOverloaded, false, 'and ends with the first timer in time')
})

t.test('a reset forgets it, and a guard that sheds nothing never says so', async t => {
  const [overload, idle] = [guard(t, 100), guard(t, 100, false)]
  for (let i = 0; i < 5; i++) {
    overload.sample(500)
    idle.sample(500)
  }
  overload.reset()
  t.equal(overload.isOverloaded, false)
  t.equal(idle.isOverloaded, false)
})

function block(ms: number): void {
  const end = performance.now() + ms
  while (performance.now() < end);
}

t.test('an event loop that is late sheds requests with 503 and Retry-After, and health goes on', async t => {
  const { url } = await echo(t)
  const running = await buildGateway(
    t,
    `limits: { overload: { eventLoopLag: 20ms } }
upstreams: { backend: { url: "${url}" } }
routes: { open: { match: { path: /* }, public: true, upstream: backend } }
`,
    { shed: true }
  )
  let isBlocking = true
  function blockAgain(): void {
    if (!isBlocking) return
    block(150)
    setImmediate(blockAgain)
  }
  blockAgain()
  let response = await fetch(`${running.url}/a`)
  while (response.status === 200) response = await fetch(`${running.url}/a`)
  t.equal(response.status, 503)
  t.equal(response.headers.get('retry-after'), '1')
  t.match(await response.json(), { reason: 'gateway.overloaded', code: 'SP_GATEWAY_OVERLOADED' })
  for (const path of ['/livez', '/readyz', '/metrics'])
    t.equal((await fetch(`${running.admin}${path}`)).status, 200, path)
  isBlocking = false
  while ((await fetch(`${running.url}/a`)).status !== 200);
  t.pass('and ends when the loop is in time again')
  t.ok(
    (await running.metric(
      'sallyport_requests_total{route="none",protocol="http",method="GET",code="503"}'
    ))! > 0
  )
})

t.test('the gauge is the lag since the last scrape', async t => {
  const registry = new Registry()
  const overload = new OverloadGuard(registry)
  t.teardown(() => overload.close())
  async function lag(): Promise<number> {
    return Number(/^sallyport_event_loop_lag_seconds (.+)$/m.exec(await registry.expose())?.[1])
  }
  /** Until the loop has been measured. */
  async function turn(): Promise<void> {
    const histogram = monitorEventLoopDelay({ resolution: 10 })
    histogram.enable()
    while (histogram.count < 2) await new Promise(resolve => setImmediate(resolve))
    histogram.disable()
  }
  await turn()
  await lag()
  // Node measures from one timer to the next: after a reset the first is only the beginning.
  await turn()
  block(200)
  await turn()
  t.ok((await lag()) > 0.1)
})
