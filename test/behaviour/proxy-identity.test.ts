import fc from 'fast-check'
import t from 'tap'
import { pluginsFolder, proxying } from '../fixtures/proxying.ts'
import { rawClient } from '../fixtures/raw.ts'
import { buildGateway, echo } from '../helper.ts'

const names = [
  'x-forwarded-user',
  'x-forwarded-email',
  'x-forwarded-groups',
  'x-sallyport-identity',
  'x-real-ip'
]

/** A name in any case, with each `-` as `-`, `_` or `.`. */
const spelling = fc.constantFrom(...names).chain(name =>
  fc
    .array(fc.tuple(fc.boolean(), fc.constantFrom('-', '_', '.')), {
      minLength: name.length,
      maxLength: name.length
    })
    .map(marks =>
      [...name]
        .map((letter, at) => {
          const [upper, mark] = marks[at] as [boolean, string]
          return letter === '-' ? mark : upper ? letter.toUpperCase() : letter
        })
        .join('')
    )
)

t.test(
  'a client cannot say who it is, in any spelling, on a public route that takes underscores',
  async t => {
    const { url } = await echo(t)
    const gateway = await proxying(t, url, { route: 'allowUnderscores: true' })
    await fc.assert(
      fc.asyncProperty(spelling, async name => {
        const client = rawClient(null, gateway.port)
        try {
          client.send(`GET / HTTP/1.1\r\nhost: a\r\n${name}: forged\r\n\r\n`)
          const answer = await client.next()
          return answer.status === 400 || (answer.status === 200 && !answer.body.includes('forged'))
        } finally {
          client.destroy()
        }
      }),
      { numRuns: 200 }
    )
    t.pass()
  }
)

t.test('a route that is not public and whose plugin sets no identity lets nobody in', async t => {
  const { url } = await echo(t)
  const plugins = await pluginsFolder(t, {
    'forgets.mjs': `export default { phase: 'authenticate', schema: { type: 'object' }, register(route) {
      route.addHook('onRequest', async () => {})
    } }`
  })
  const gateway = await buildGateway(
    t,
    `upstreams: { backend: { url: "${url}" } }
routes:
  closed: { match: { path: /* }, upstream: backend, plugins: [forgets] }
`,
    { plugins }
  )
  const response = await fetch(gateway.url)
  t.equal(response.status, 500)
  t.match(await response.json(), { reason: 'plugin.failed' })
})
