import { readFileSync } from 'node:fs'
import t from 'tap'
import { run } from '../fixtures/program.ts'

const golden = 'test/golden/perimeter'

function verify(name: string, ...more: string[]) {
  const folder = `${golden}/${name}`
  return run(['verify', '--config', `${folder}/gateway.yaml`, '--manifests', `${folder}/manifests`, ...more])
}

t.test('verify says that the textbook perimeter is proven, and exits with 0', async t => {
  const { code, stdout, stderr } = await verify('textbook')
  t.equal(code, 0, stderr)
  t.ok(readFileSync(`${golden}/textbook/verify.txt`, 'utf8').endsWith(stdout))
  t.match(stdout, /proven/)
})

t.test('verify names the way around a perimeter with mistakes, and exits with 1', async t => {
  const { code, stdout } = await verify('mistakes', '--format', 'json')
  t.equal(code, 1)
  const report = JSON.parse(stdout)
  t.equal(report.verdict, 'refuted')
  t.ok(
    report.upstreams.some((upstream: { counterexamples: unknown[] }) => upstream.counterexamples.length > 0)
  )
})

t.test('reach answers one connection, and exits with what it answers', async t => {
  const manifests = ['reach', '--manifests', `${golden}/textbook/manifests`]
  const matrix = await run(manifests)
  t.equal(matrix.code, 0, matrix.stderr)
  t.ok(readFileSync(`${golden}/textbook/reach.txt`, 'utf8').endsWith(matrix.stdout))
  t.match(matrix.stdout, /denied/)
  const denied = await run([
    ...manifests,
    '--from',
    'nowhere/app=stranger',
    '--to',
    'shop/app=orders',
    '--port',
    '8080'
  ])
  t.equal(denied.code, 1, denied.stdout + denied.stderr)
})

t.test('input that cannot be read is said on standard error, with 3', async t => {
  const { code, stdout, stderr } = await run([
    'verify',
    '--config',
    `${golden}/textbook/gateway.yaml`,
    '--manifests',
    'nowhere'
  ])
  t.equal(code, 3)
  t.equal(stdout, '')
  t.match(stderr, /nowhere/)
})

t.test('a port that is none, or no manifests at all, is bad usage', async t => {
  const bad = await run(['reach', '--manifests', golden, '--port', '70000'])
  t.match(bad, { code: 64, stderr: /from 1 to 65535/ })
  t.match(await run(['verify']), { code: 64, stderr: /--manifests/ })
})
