import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Ajv2020 } from 'ajv/dist/2020.js'
import t from 'tap'
import { configSchemaFile } from '../../scripts/docs/config-schema.ts'
import { type GeneratedFile, generate } from '../../scripts/docs/generate.ts'

const file = (content: string | null): GeneratedFile => ({ path: 'docs/a.md', render: () => content })

t.test('a stale file is named, and only written when it may be', async t => {
  const root = t.testdir({ docs: { 'a.md': 'old\n' } })
  const read = () => readFileSync(join(root, 'docs/a.md'), 'utf8')
  t.same(await generate([file('new\n')], root, { check: true }), ['docs/a.md'])
  t.equal(read(), 'old\n')
  t.same(await generate([file('new\n')], root, { check: false }), ['docs/a.md'])
  t.equal(read(), 'new\n')
  t.same(await generate([file('new\n')], root, { check: true }), [])
})

t.test('a file that is missing is stale, one without a source is left alone', async t => {
  const root = t.testdir()
  t.same(await generate([file('new\n')], root, { check: true }), ['docs/a.md'])
  t.same(await generate([file(null)], root, { check: true }), [])
})

t.test('the schema for editors is plain JSON Schema and knows the units', async t => {
  const schema = JSON.parse((await configSchemaFile.render()) ?? '')
  const accepts = new Ajv2020({ strict: false, logger: false }).compile(schema)
  accepts({ limits: { maxBody: '1Mi', drainDelay: '0s' }, trustedProxies: ['fd00::/8'] })
  t.same(accepts.errors, null)
  for (const limits of [
    { maxBody: '1M' },
    { drainTimeout: '0s' },
    { headerTimeout: '5' },
    { drainDelay: 'soon' }
  ]) {
    t.notOk(accepts({ limits }), JSON.stringify(limits))
  }
  t.notMatch(JSON.stringify(schema), /"x-(secret|remedy)"/, 'without keywords of our own')
})
