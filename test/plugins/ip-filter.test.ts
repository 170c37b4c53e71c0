import t from 'tap'
import plugin from '../../plugins/ip-filter.ts'
import { testRoute } from '../fixtures/route.ts'

const clientIp = (request: { headers: Record<string, unknown> }) => String(request.headers['x-address'] ?? '')

for (const { options, passes, refused } of [
  {
    options: { allow: ['203.0.113.0/24', '2001:db8::/32'] },
    passes: ['203.0.113.9', '::ffff:203.0.113.9', '::ffff:cb00:7109', '2001:db8:ffff::1'],
    refused: [
      '203.0.114.1',
      '::1',
      '2001:db9::1',
      '::ffff:203.0.114.1',
      '',
      'unknown',
      '203.0.113.9, 1.1.1.1'
    ]
  },
  {
    options: { deny: ['203.0.113.0/24'] },
    passes: ['203.0.114.1', '2001:db8::1'],
    refused: ['203.0.113.9', '::ffff:203.0.113.9', '', 'unknown']
  },
  {
    options: { allow: ['10.0.0.0/8'], deny: ['10.1.0.0/16', '::ffff:10.2.0.0/112'] },
    passes: ['10.3.0.1'],
    refused: ['10.1.0.1', '10.2.0.1', '192.0.2.1']
  },
  { options: { deny: ['fe80::/10'] }, passes: ['2001:db8::1'], refused: ['fe80::1', 'fe80::1%eth0'] },
  { options: { allow: ['0.0.0.0/0'] }, passes: ['192.0.2.1'], refused: ['2001:db8::1'] },
  { options: { allow: ['192.0.2.1/32'] }, passes: ['192.0.2.1'], refused: ['192.0.2.2'] }
]) {
  t.test(`with ${JSON.stringify(options)}`, async t => {
    const { url, proxied } = await testRoute(t, [[plugin, options]], { clientIp })
    for (const address of passes) {
      t.equal(
        (await fetch(`${url}/`, { headers: { 'x-address': address } })).status,
        200,
        `${address} passes`
      )
    }
    for (const address of refused) {
      const answer = await fetch(`${url}/`, { headers: { 'x-address': address } })
      t.equal(answer.status, 403, `${address || 'no address'} is refused`)
      t.match(await answer.json(), { reason: 'policy.denied' })
    }
    t.equal(proxied.length, passes.length)
  })
}

t.test('what is no network stops the start', async t => {
  for (const text of ['10.0.0.0/33', 'example.com/8', '10.0.0/8', '']) {
    await t.rejects(testRoute(t, [[plugin, { allow: [text] }]]), text)
  }
})
