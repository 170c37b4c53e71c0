import { readFile, writeFile } from 'node:fs/promises'
import t, { type Test } from 'tap'
import { buildGateway, type RunningGateway, upstream } from '../helper.ts'

async function two(t: Test): Promise<{ stable: string; next: string }> {
  const [stable, next] = await Promise.all([
    upstream(t, (_request, response) => response.end('stable')),
    upstream(t, (_request, response) => response.end('next'))
  ])
  return { stable: stable.url, next: next.url }
}

function configuration(
  { stable, next }: { stable: string; next: string },
  weights: [number, number]
): string {
  return `upstreams: { stable: { url: "${stable}" }, next: { url: "${next}" } }
routes:
  all:
    match: { path: /* }
    public: true
    upstreams: [{ name: stable, weight: ${weights[0]} }, { name: next, weight: ${weights[1]} }]
    plugins: [access-log]
`
}

async function visits({ url }: RunningGateway, times: number): Promise<Record<string, number>> {
  const seen: Record<string, number> = {}
  for (let i = 0; i < times; i++) {
    const answer = await fetch(`${url}/${i}`)
    const who = answer.status === 200 ? await answer.text() : answer.status
    seen[who] = (seen[who] ?? 0) + 1
  }
  return seen
}

t.test('a canary gets its share of the requests, and no more', async t => {
  const running = await buildGateway(t, configuration(await two(t), [9, 1]))
  t.strictSame(await visits(running, 100), { stable: 90, next: 10 })
  const count = (name: string) =>
    running.metric(`sallyport_upstream_request_duration_seconds_count{upstream="${name}"}`)
  t.equal(await count('stable'), 90)
  t.equal(await count('next'), 10)
  t.equal(running.lines.filter(line => line.upstream === 'next').length, 10, 'the log names who was asked')
})

t.test('an upstream of weight 0 waits for its time', async t => {
  const urls = await two(t)
  const running = await buildGateway(t, configuration(urls, [1, 0]))
  t.strictSame(await visits(running, 10), { stable: 10 })
  const text = await readFile(running.config, 'utf8')
  await writeFile(running.config, text.replace('weight: 0', 'weight: 1'))
  await running.gateway.reload()
  t.strictSame(await visits(running, 10), { stable: 5, next: 5 })
})

t.test('a canary that is down is seen, and harms its own share alone', async t => {
  const { stable } = await two(t)
  const running = await buildGateway(t, configuration({ stable, next: 'http://127.0.0.1:9' }, [3, 1]))
  t.strictSame(await visits(running, 20), { stable: 15, 502: 5 })
})

t.test('a question to explain names the shares, and uses up no turn', async t => {
  const running = await buildGateway(t, configuration(await two(t), [1, 1]))
  const shares = [
    { name: 'stable', weight: 1 },
    { name: 'next', weight: 1 }
  ]
  const seen: string[] = []
  for (let i = 0; i < 4; i++) {
    const answer = await fetch(`${running.admin}/explain?target=/x`)
    t.match(await answer.json(), { verdict: 'allow', upstream: { shares } })
    seen.push(await (await fetch(`${running.url}/x`)).text())
  }
  t.strictSame(seen, ['stable', 'next', 'stable', 'next'])
  t.match(await (await fetch(`${running.admin}/routes`)).json(), { routes: [{ upstreams: shares }] })
})
