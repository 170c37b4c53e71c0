import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import t from 'tap'
import { parse } from 'yaml'
import { startDemo } from '../fixtures/demo.ts'
import { answerPattern, blocks, exchanges, readPage, root } from '../fixtures/markdown.ts'

const run = promisify(execFile)

t.test('what the README shows of the demo is what the demo answers', async t => {
  const demo = await startDemo(t)
  const written = exchanges('README.md')
  t.ok(written.length >= 2, 'they are found')
  for (const { command, answer } of written) {
    const { stdout } = await run('bash', ['-c', await demo.here(command)], { cwd: root })
    t.match(`${stdout.replaceAll('\r', '').trimEnd()}\n`, answerPattern(answer), command)
  }
})

t.test('the route in the README is the one in the default configuration', async t => {
  const [shown] = blocks('README.md', 'yaml')
  const { routes } = parse(shown!.text) as { routes: object }
  const whole = parse(readPage('routes/gateway.yaml')) as { routes: object }
  t.match(whole.routes, routes)
})

t.test('the two commands are the two that a newcomer needs', async t => {
  const [commands] = blocks('README.md', 'sh')
  t.equal(commands?.text, 'npm ci && npm run demo\nnpm ci && npm test\n')
  const { scripts, engines } = JSON.parse(readPage('package.json'))
  t.ok(scripts.demo && scripts.test)
  t.match(readPage('README.md'), `Node ${engines.node.replace('>=', '')}`)
})

t.test('the README is at most two screens', async t => {
  t.ok(readPage('README.md').split('\n').length <= 80)
})
