import t from 'tap'
import { parseSource } from '../../../src/config/read.ts'
import { redactConfig } from '../../../src/config/redact.ts'
import { validate } from '../../../src/config/validate.ts'
import { fakePlugins } from './fake-plugins.ts'

t.test('the configuration that is shown holds no secret', async t => {
  const plugins = fakePlugins()
  plugins.set('custom', { name: 'custom', phase: 'guard', schema: { type: 'object' }, register() {} })
  const { config } = validate(
    parseSource(
      'gateway.yaml',
      `
upstreams: { a: { url: "https://a", tls: { ca: { file: /etc/ca } } } }
routes:
  a:
    match: { path: /a, headers: { x-api-key: canary-1, x-version: "2" } }
    public: true
    upstream: a
    plugins:
      - headers: { request: { set: { authorization: Bearer canary-2, x-frame-options: DENY } } }
      - custom:
          password: canary-3
          clientSecret: { env: CLIENT_SECRET }
          url: https://me:canary-4@auth.example.com/check
          credentials: { nested: [canary-5, { deep: canary-6 }], pin: 1234 }
          keys: { file: /etc/keys }
`
    ).sources,
    plugins
  )
  t.ok(config)
  const shown = redactConfig(config!) as typeof config & object
  t.notMatch(JSON.stringify(shown), /canary|1234/)
  t.match(shown.upstreams.a?.tls, { ca: { file: '/etc/ca' } })
  t.match(shown.routes.a, {
    match: { path: '/a', headers: { 'x-api-key': '[redacted]', 'x-version': '2' } },
    plugins: [
      {
        name: 'headers',
        options: { request: { set: { authorization: '[redacted]', 'x-frame-options': '[redacted]' } } }
      },
      {
        name: 'custom',
        options: {
          clientSecret: { env: 'CLIENT_SECRET' },
          keys: { file: '/etc/keys' },
          url: 'https://[redacted]@auth.example.com/check'
        }
      }
    ]
  })
  t.match(JSON.stringify(config), /canary-1/, 'the configuration itself is not touched')
})
