import { chmod, chown, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { digestOfKey, idOfKey } from '../../plugins/api-key/key.ts'
import { parseKeyFile } from '../../plugins/api-key/key-file.ts'
import { addKey } from '../../src/command/keys.ts'
import { temporaryFolder } from '../fixtures/certificates.ts'
import { run } from '../fixtures/program.ts'

const isRoot = process.getuid?.() === 0

t.test('keys add makes the file for its owner alone, prints the key once and keeps no key', async t => {
  const folder = await temporaryFolder(t)
  const file = join(folder, 'keys.yaml')
  const add = ['keys', 'add', '--file', file, '--owner', 'billing', '--scopes', 'a,b', '--groups', 'ops']
  const { code, stdout, stderr } = await run([...add, '--expires', '2027-01-31'])
  t.equal(code, 0, stderr)
  t.match(stdout, /^sp_k[0-9a-f]{12}_[A-Za-z0-9_-]{43}$/)
  t.equal((await stat(file)).mode & 0o777, 0o600)
  const text = await readFile(file, 'utf8')
  t.notOk(text.includes(stdout.slice(-43)), 'the secret is not in the file')
  const { keys } = parse(text)
  t.match(keys, [{ owner: 'billing', scopes: ['a', 'b'], groups: ['ops'], expires: '2027-01-31' }])
  t.match(keys[0].hash, /^sha256:[0-9a-f]{64}$/)
  t.same(await readdir(folder), ['keys.yaml'], 'nothing else is left behind')
})

t.test('keys add appends, and keeps comments, mode and links', async t => {
  const folder = await temporaryFolder(t)
  const real = join(folder, 'real.yaml')
  const link = join(folder, 'keys.yaml')
  const before = `# ours
keys:
  # the first one
  - { id: a, hash: "sha256:${'0'.repeat(64)}", owner: ann } # until June
`
  await writeFile(real, before)
  await chmod(real, 0o640)
  await symlink(real, link)
  t.equal((await run(['keys', 'add', '--file', link, '--owner', 'bob'])).code, 0)
  const text = await readFile(real, 'utf8')
  for (const comment of ['# ours', '# the first one', '# until June']) t.ok(text.includes(comment), comment)
  t.same(
    parse(text).keys.map((key: { owner: string }) => key.owner),
    ['ann', 'bob']
  )
  t.equal((await stat(real)).mode & 0o777, 0o640)
  const { stdout } = await run(['keys', 'list', '--file', link])
  t.match(stdout, /^a\tann\tscopes=\tgroups=\texpires=never\nk[0-9a-f]{12}\tbob\t/)
})

t.test('keys add leaves a file alone that it cannot go on with', async t => {
  const folder = await temporaryFolder(t)
  const file = join(folder, 'keys.yaml')
  await writeFile(file, 'keys:\n  - id: a\n')
  const broken = await run(['keys', 'add', '--file', file, '--owner', 'bob'])
  t.match(broken, { code: 2, stdout: '', stderr: /keys\.yaml:2:5 {2}keys\[0\]\.hash/ })
  t.equal(await readFile(file, 'utf8'), 'keys:\n  - id: a\n')
  t.same(await readdir(folder), ['keys.yaml'])

  await writeFile(file, 'keys: []\n')
  await writeFile(join(folder, '.keys.yaml.new'), '')
  const busy = await run(['keys', 'add', '--file', file, '--owner', 'bob'])
  t.match(busy, { code: 1, stdout: '', stderr: /another `keys add` is at work/ })
  t.equal(await readFile(file, 'utf8'), 'keys: []\n')
})

t.test('what cannot be an entry is refused before anything is written', async t => {
  const folder = await temporaryFolder(t)
  const file = join(folder, 'keys.yaml')
  const rows: [args: string[], code: number, said: RegExp][] = [
    [['--owner', ' '], 2, /owner {2}names nobody/],
    [['--owner', 'a\nb'], 2, /owner {2}names nobody/],
    [['--owner', 'ann', '--scopes', 'a b'], 2, /scopes {2}is no list/],
    [['--owner', 'ann', '--scopes', 'a,'], 2, /scopes {2}is no list/],
    [['--owner', 'ann', '--expires', '2027-02-31'], 2, /expires {2}is no date/],
    [['--owner', 'ann', '--expires', 'soon'], 2, /expires {2}is no date/],
    [['--owner', 'ann', '--expires', '2026-01-01'], 2, /expires {2}is over: nobody could use the key/],
    [[], 64, /--owner/]
  ]
  for (const [args, code, said] of rows) {
    const answer = await run(['keys', 'add', '--file', file, ...args])
    t.match(answer, { code, stdout: '', stderr: said }, args.join(' '))
  }
  t.same(await readdir(folder), [])
})

t.test('of many who add at once, each has a key of the file or hears that it has none', async t => {
  const file = join(await temporaryFolder(t), 'keys.yaml')
  const added = await Promise.allSettled(
    Array.from({ length: 20 }, (_, n) => addKey({ file, owner: `team ${n}` }))
  )
  const made = added.filter(one => one.status === 'fulfilled').map(({ value }) => value)
  const keys = parseKeyFile(await readFile(file, 'utf8'), file)
  t.ok(made.length > 0)
  t.equal(keys.size, made.length)
  for (const key of made) t.same(keys.get(idOfKey(key) ?? '')?.digest, digestOfKey(key))
  for (const one of added) if (one.status === 'rejected') t.match(one.reason.message, /is at work/)
  t.same(await readdir(join(file, '..')), ['keys.yaml'])
})

t.test('an owner is the text that was said, whatever YAML would make of it', async t => {
  const file = join(await temporaryFolder(t), 'keys.yaml')
  const owners = [
    'null',
    '~',
    'yes',
    '007',
    '1e3',
    '2027-01-31',
    '!!str a',
    '&a',
    '*a',
    '- a',
    'a: b',
    'a #b',
    '{a}'
  ]
  const more = [
    '[a]',
    '"a',
    "'a'",
    '`a',
    '%a',
    '@a',
    '|',
    '>',
    '? a',
    '\\n',
    '$(a)',
    'Jörg',
    '数',
    '__proto__',
    'a, b'
  ]
  for (const owner of [...owners, ...more]) {
    const key = await addKey({ file, owner, groups: [owner] })
    const stored = parseKeyFile(await readFile(file, 'utf8'), file).get(idOfKey(key) ?? '')
    t.match(stored?.identity, { subject: owner, groups: [owner] }, owner)
  }
})

t.test(
  'whoever adds a key, the file stays with its owner',
  isRoot ? {} : { skip: 'only root gives files away' },
  async t => {
    const file = join(await temporaryFolder(t), 'keys.yaml')
    await addKey({ file, owner: 'ann' })
    await chmod(file, 0o640)
    await chown(file, 12_345, 23_456)
    await addKey({ file, owner: 'bob' })
    const { uid, gid, mode } = await stat(file)
    t.same([uid, gid, mode & 0o777], [12_345, 23_456, 0o640])
  }
)
