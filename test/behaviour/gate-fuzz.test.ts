import t from 'tap'
import { type FuzzOptions, fuzzGate } from '../fixtures/fuzz.ts'
import { judgingServer } from '../fixtures/judging-server.ts'
import type { Frame } from '../fixtures/raw.ts'

t.test('20,000 mutated requests: what passes is what was sent, and the server lives', async t => {
  const { port } = await judgingServer(t, { lingerTimeout: 100 })
  const uncaught: unknown[] = []
  const listen = (error: unknown): void => void uncaught.push(error)
  process.on('uncaughtExceptionMonitor', listen)
  t.teardown(() => process.off('uncaughtExceptionMonitor', listen))

  const seed = Number(process.env.FUZZ_SEED ?? 20_261_123)
  const options: FuzzOptions = { runs: Number(process.env.FUZZ_RUNS ?? 20_000), seed, onPassed: assertSent }
  const started = performance.now()
  const { requests, statuses } = await fuzzGate(port, options)
  t.comment(`${requests} requests in ${Math.round(performance.now() - started)} ms`, statuses)
  t.ok(requests >= options.runs)
  t.ok(statuses[200]! > requests / 20, 'enough of them are good')
  t.ok(statuses[400]! > requests / 20, 'enough of them are bad')
  t.same(uncaught, [])
})

/** The judged target stands in the bytes between two spaces, or after the authority of an absolute-form. */
function assertSent(sent: string, answer: Frame): void {
  if (answer.body === '') return
  const { target } = JSON.parse(answer.body)
  if (
    sent.includes(` ${target} `) ||
    sent.includes(`.com${target} `) ||
    sent.includes(`.com${target.slice(1)} `)
  )
    return
  throw new Error(`judged ${JSON.stringify(target)}, sent ${JSON.stringify(sent)}`)
}
