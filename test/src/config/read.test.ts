import { chmodSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { formatProblem } from '../../../src/config/config-problem.ts'
import { parseSource, readSources } from '../../../src/config/read.ts'

t.test('a folder is read in the order of names', async t => {
  const folder = t.testdir({
    '20-b.yml': 'b: 1\n',
    '10-a.yaml': 'a: 1\n',
    'notes.txt': 'not: yaml: at: all\n',
    'values.json': '{}'
  })
  const { sources, problems } = await readSources(folder)
  t.same(problems, [])
  t.same(
    sources.map(source => source.file),
    [join(folder, '10-a.yaml'), join(folder, '20-b.yml')]
  )
})

t.test('a mounted ConfigMap is read once, not once more through its data folder', async t => {
  const folder = t.testdir({
    '..2026_11_23': { 'gateway.yaml': 'a: 1\n' },
    '..data': t.fixture('symlink', '..2026_11_23'),
    '.hidden.yaml': 'b: 1\n'
  })
  symlinkSync('..data/gateway.yaml', join(folder, 'gateway.yaml'))
  const { sources, problems } = await readSources(folder)
  t.same(problems, [])
  t.same(
    sources.map(source => source.value),
    [{ a: 1 }]
  )
})

t.test('what cannot be read is said', async t => {
  const folder = t.testdir({ empty: {}, 'latin.yaml': Buffer.from([0x61, 0x3a, 0x20, 0xe4]) })
  const said = async (path: string) => (await readSources(path)).problems.map(formatProblem)
  t.same(await said(join(folder, 'none.yaml')), [
    `${folder}/none.yaml:1:1  (file)  cannot be read (ENOENT)  check the path and its permissions`
  ])
  t.same(await said(join(folder, 'empty')), [
    `${folder}/empty:1:1  (file)  holds no *.yaml or *.yml file  put a configuration there`
  ])
  t.same(await said(join(folder, 'latin.yaml')), [
    `${folder}/latin.yaml:1:1  (file)  is not UTF-8 text  save it as UTF-8`
  ])
})

t.test(
  'a file without permission is said',
  { skip: process.getuid?.() === 0 && 'root may read everything' },
  async t => {
    const folder = t.testdir({ 'a.yaml': 'a: 1\n' })
    chmodSync(join(folder, 'a.yaml'), 0)
    t.match((await readSources(folder)).problems, [{ message: 'cannot be read (EACCES)' }])
  }
)

t.test('a file beyond 4 MiB is not read', async t => {
  const folder = t.testdir({ 'big.yaml': `a: 1\n#${'x'.repeat(4 * 1024 * 1024)}\n` })
  t.match(await readSources(folder), { sources: [], problems: [{ message: 'is larger than 4 MiB' }] })
})

t.test('a file that is nested without end does not end the process', async t => {
  const { sources, problems } = parseSource('deep.yaml', `a: ${'['.repeat(100_000)}`)
  t.same(sources, [])
  t.ok(problems.length > 0)
})
