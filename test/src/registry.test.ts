import t from 'tap'
import { Registry } from '../../src/registry.ts'
import { parseExposition } from '../fixtures/exposition.ts'

async function samples(registry: Registry, name: string): Promise<[string, number][]> {
  return [...(parseExposition(await registry.expose()).get(`sallyport_${name}`)?.samples ?? [])]
}

t.test('the same labels are the same number', async t => {
  const registry = new Registry()
  registry.number('retries_total').child('orders').value++
  registry.number('retries_total').child('orders').value++
  registry.number('retries_total').child('other').value++
  t.same(await samples(registry, 'retries_total'), [
    ['{upstream="orders"}', 2],
    ['{upstream="other"}', 1]
  ])
})

t.test('labels that run together are told apart', async t => {
  const registry = new Registry()
  registry.number('jwks_fetches_total').child('a', 'bc').value = 1
  registry.number('jwks_fetches_total').child('ab', 'c').value = 2
  t.equal((await samples(registry, 'jwks_fetches_total')).length, 2)
})

t.test('a histogram counts what is at most its bound', async t => {
  const registry = new Registry()
  const seconds = registry.histogram('upstream_request_duration_seconds').child('a')
  for (const value of [0.001, 0.0011, 0.5, 61]) seconds.observe(value)
  const found = new Map(await samples(registry, 'upstream_request_duration_seconds'))
  const counts = ['0.001', '0.0025', '0.25', '0.5', '60', '+Inf']
  t.same(
    counts.map(
      le => found.get(`_bucket{upstream="a",le="${le}"}`) ?? found.get(`_bucket{le="${le}",upstream="a"}`)
    ),
    [1, 2, 2, 3, 3, 4]
  )
  t.equal(found.get('_count{upstream="a"}'), 4)
  t.equal(found.get('_sum{upstream="a"}'), 61.5021)
})

t.test('series of routes, upstreams and issuers that are gone go; none stays', async t => {
  const registry = new Registry()
  for (const route of ['a', 'b', 'none']) registry.number('requests_in_flight').child(route).value = 1
  for (const upstream of ['a', 'b']) registry.number('retries_total').child(upstream).value = 1
  for (const issuer of ['a', 'b']) registry.number('jwks_fetches_total').child(issuer, 'error').value = 1
  registry.retainRoutes(['a'])
  registry.retainUpstreams(['b'])
  registry.retainIssuers([])
  t.same(await samples(registry, 'requests_in_flight'), [
    ['{route="a"}', 1],
    ['{route="none"}', 1]
  ])
  t.same(await samples(registry, 'retries_total'), [['{upstream="b"}', 1]])
  t.same(await samples(registry, 'jwks_fetches_total'), [])
})

t.test('a metric is declared once, with one type and one set of labels', async t => {
  const registry = new Registry()
  const metric = { name: 'tenants_total', type: 'counter', labels: ['route'], help: 'Tenants.' } as const
  t.equal(registry.declare(metric), registry.declare(metric))
  t.throws(() => registry.declare({ ...metric, type: 'gauge' }), /is a counter, not a gauge/)
  t.throws(() => registry.declare({ ...metric, labels: ['tenant'] }), /has the labels route/)
  t.throws(() => registry.declare({ ...metric, name: 'requests_total' }), /has the labels route, protocol/)
})

t.test('a name that would spoil the scrape is refused', async t => {
  const registry = new Registry()
  for (const name of ['tenant-total', 'a b', '', '1st', 'a{}'])
    t.throws(() => registry.declare({ name, type: 'counter', labels: [], help: 'x' }), /no name for a metric/)
  t.throws(() => registry.declare({ name: 'fine', type: 'counter', labels: ['a-b'], help: 'x' }), /"a-b"/)
})

t.test('label values are escaped', async t => {
  const registry = new Registry()
  registry.number('retries_total').child('a"b\\c\nd').value = 1
  t.same(await samples(registry, 'retries_total'), [['{upstream="a\\"b\\\\c\\nd"}', 1]])
})
