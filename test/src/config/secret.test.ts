import { join } from 'node:path'
import t from 'tap'
import { describeSecret, readSecret, secretFileFault } from '../../../src/config/secret.ts'

t.test('a secret comes from a variable or a file, without the newline at its end', async t => {
  const folder = t.testdir({ key: ' s3cret \n\n', windows: 's3cret\r\n' })
  t.equal(await readSecret({ env: 'KEY' }, { KEY: 's3cret' }), 's3cret')
  t.equal(await readSecret({ file: join(folder, 'key') }), ' s3cret \n')
  t.equal(await readSecret({ file: join(folder, 'windows') }), 's3cret')
})

t.test('a secret that is missing or empty is never an empty secret', async t => {
  const folder = t.testdir({ empty: '\n' })
  await t.rejects(readSecret({ env: 'KEY' }, {}), { message: 'environment variable KEY is not set' })
  await t.rejects(readSecret({ env: 'KEY' }, { KEY: '' }), { message: 'environment variable KEY is empty' })
  await t.rejects(readSecret({ file: join(folder, 'empty') }), /is empty$/)
  await t.rejects(readSecret({ file: join(folder, 'none') }), /none cannot be read$/)
  t.equal(secretFileFault(join(folder, 'empty')), 'is empty')
})

t.test('only the name of a secret is printed', async t => {
  t.equal(describeSecret({ env: 'KEY' }), 'environment variable KEY')
  t.equal(describeSecret({ file: '/etc/key' }), 'file /etc/key')
})
