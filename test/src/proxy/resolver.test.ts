import t from 'tap'
import { HostResolver, systemLookup } from '../../../src/proxy/resolver.ts'
import { ManualTime } from '../../fixtures/manual-time.ts'

/** A resolver whose lookups a test ends. */
function resolving() {
  const time = new ManualTime()
  const heard: (readonly string[])[] = []
  const errors: unknown[] = []
  const lookups: { resolve(addresses: string[]): void; reject(error: Error): void }[] = []
  const resolver = new HostResolver({
    host: 'orders.shop',
    lookup: () => new Promise((resolve, reject) => lookups.push({ resolve, reject })),
    onAddresses: addresses => heard.push(addresses),
    onError: error => errors.push(error),
    timers: time,
    clock: time.clock
  })
  async function answer(addresses: string[] | Error): Promise<void> {
    const lookup = lookups.at(-1)
    if (addresses instanceof Error) lookup?.reject(addresses)
    else lookup?.resolve(addresses)
    await new Promise(resolve => setImmediate(resolve))
  }
  return { resolver, time, heard, errors, lookups, answer }
}

t.test('it asks at once and every thirty seconds', async t => {
  const { time, heard, lookups, answer } = resolving()
  await answer(['10.0.0.2', '10.0.0.1', '10.0.0.2'])
  t.same(heard, [['10.0.0.1', '10.0.0.2']])
  time.advance(29_999)
  t.equal(lookups.length, 1)
  time.advance(1)
  t.equal(lookups.length, 2)
  await answer(['10.0.0.3'])
  t.same(heard.at(-1), ['10.0.0.3'])
})

t.test('the same addresses in another order are no news', async t => {
  const { time, heard, answer } = resolving()
  await answer(['10.0.0.1', '10.0.0.2'])
  time.advance(30_000)
  await answer(['10.0.0.2', '10.0.0.1'])
  t.equal(heard.length, 1)
})

t.test('a name that does not resolve, or to nothing, changes nothing and is asked for again', async t => {
  const { time, heard, errors, lookups, answer } = resolving()
  await answer(['10.0.0.1'])
  time.advance(30_000)
  await answer(new Error('ENOTFOUND'))
  t.equal(errors.length, 1)
  time.advance(30_000)
  await answer([])
  t.equal(heard.length, 1)
  time.advance(30_000)
  t.equal(lookups.length, 4)
})

t.test('failed connections ask, one lookup for all of them and not more than once a second', async t => {
  const { resolver, time, lookups, answer } = resolving()
  resolver.suspect()
  t.equal(lookups.length, 1, 'one is under way')
  await answer(['10.0.0.1'])
  time.advance(999)
  resolver.suspect()
  t.equal(lookups.length, 1)
  time.advance(1)
  resolver.suspect()
  resolver.suspect()
  t.equal(lookups.length, 2)
  await answer(['10.0.0.1'])
  time.advance(29_999)
  t.equal(lookups.length, 2, 'the thirty seconds begin again')
})

t.test('a closed one asks no more, and says nothing of a late answer', async t => {
  const { resolver, time, heard, errors, lookups, answer } = resolving()
  resolver.close()
  await answer(['10.0.0.1'])
  time.advance(60_000)
  t.equal(lookups.length, 1)
  t.same(heard, [])
  const other = resolving()
  other.resolver.close()
  await other.answer(new Error('ENOTFOUND'))
  t.same(errors, [])
})

t.test('the system resolves an address to itself', async t => {
  t.same(await systemLookup('127.0.0.1'), ['127.0.0.1'])
})
