import t from 'tap'
import { checkRedis } from '../../../src/config/checks/redis.ts'
import { readRedisUrl } from '../../../src/store/redis-url.ts'

const plain = { port: 6379, tls: false, username: undefined, password: undefined, db: 0 }

for (const [text, expected] of [
  ['redis://redis', { ...plain, host: 'redis' }],
  ['redis://redis:6380/', { ...plain, host: 'redis', port: 6380 }],
  ['redis://10.0.0.1/3', { ...plain, host: '10.0.0.1', db: 3 }],
  ['redis://[2001:db8::1]:7000', { ...plain, host: '2001:db8::1', port: 7000 }],
  ['redis://:p%40ss%2F@redis', { ...plain, host: 'redis', password: 'p@ss/' }],
  [
    'rediss://gateway:secret@redis.data.svc:6380',
    { port: 6380, tls: true, username: 'gateway', password: 'secret', db: 0, host: 'redis.data.svc' }
  ]
] as const) {
  t.test(`${text} is understood`, async t => t.same(readRedisUrl(text), expected))
}

const hostile: [text: string, says: RegExp][] = [
  ['', /begin with/],
  ['canary', /begin with/],
  ['http://canary', /begin with/],
  ['REDIS://canary', /begin with/],
  ['unix:///canary.sock', /begin with/],
  ['redis://', /not a URL|no host/],
  ['redis://:canary@', /not a URL|no host/],
  ['redis://canary:99999', /not a URL/],
  ['redis://can ary', /not a URL/],
  ['redis://can\\ary', /not a URL/],
  ['redis://redis\n', /not a URL/],
  ['redis://redis/canary', /path/],
  ['redis://redis/0/1', /path/],
  ['redis://redis/-1', /path/],
  ['redis://redis/12345', /path/],
  // The client library takes options from here: the first would switch the verification off.
  ['rediss://redis?tls=canary', /query/],
  ['redis://redis?enableOfflineQueue=true', /query/],
  ['redis://redis#canary', /query or fragment/],
  ['redis://:canary%@redis', /percent/],
  ['redis://canary%ff@redis', /percent/]
]

for (const [text, says] of hostile) {
  t.test(`${JSON.stringify(text)} is refused, and not repeated`, async t => {
    const fault = readRedisUrl(text)
    t.type(fault, 'string')
    t.match(fault, says)
    t.notMatch(fault, /canary/)
  })
}

t.test('a URL that is none is reported where the configuration refers to it', async t => {
  const reports: unknown[] = []
  const context = (text: string | null) =>
    ({
      config: { redis: { url: { env: 'REDIS_URL' }, onError: 'local' } },
      surroundings: { secretText: () => text },
      isSound: () => true,
      report: (...report: unknown[]) => reports.push(report)
    }) as unknown as Parameters<typeof checkRedis>[0]
  checkRedis(context('redis://redis'))
  // That there is none is reported as a secret that is missing.
  checkRedis(context(null))
  t.same(reports, [])
  checkRedis(context('redis.shop:6379'))
  t.match(reports, [[['redis', 'url'], 'does not begin with redis:// or rediss://', /HOST:PORT/]])
})
