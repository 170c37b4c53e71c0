import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { Program, run } from '../fixtures/program.ts'

async function file(t: Test, name: string, content: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'sallyport-cli-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const path = join(folder, name)
  await writeFile(path, content)
  return path
}

function config(http: number, plugins = ''): string {
  return `listeners:
  http: { host: 127.0.0.1, port: ${http} }
  admin: { host: 127.0.0.1, port: 0 }
limits: { drainDelay: 1ms }
upstreams: { backend: { url: "http://127.0.0.1:9" } }
${plugins}
routes:
  open: { match: { path: /* }, public: true, upstream: backend }
`
}

const isStackTrace = /^\s+at /m

t.test('check says what is fine, and exits with 0', async t => {
  const path = await file(t, 'gateway.yaml', config(0))
  t.match(await run(['check', '--config', path]), {
    code: 0,
    stdout: `${path}: fine, 1 route, 1 upstream`,
    stderr: ''
  })
})

t.test('npm start passes the command on', async t => {
  const path = await file(t, 'gateway.yaml', config(0))
  // Without what tap puts there to follow processes.
  const args = ['-u', 'NODE_OPTIONS', 'npm', 'start', '--silent', '--', 'check', '--config', path]
  const { status, stdout } = spawnSync('env', args, {
    encoding: 'utf8',
    cwd: join(import.meta.dirname, '../..')
  })
  t.equal(status, 0)
  t.equal(stdout, `${path}: fine, 1 route, 1 upstream\n`)
})

t.test('a bad configuration is exit code 2 and one line for each mistake', async t => {
  const path = await file(t, 'gateway.yaml', config(0).replace('public: true', 'publik: true, x: 1'))
  const results = await Promise.all(['check', 'start'].map(verb => run([verb, '--config', path])))
  for (const { code, stderr, stdout } of results) {
    t.equal(code, 2)
    t.notMatch(stderr, isStackTrace)
    t.equal(stdout, '')
    const lines = stderr.trimEnd().split('\n')
    t.ok(lines.length >= 2)
    for (const line of lines) t.match(line, /^\S+gateway\.yaml:\d+:\d+ {2}routes\.open/)
  }
})

t.test('a configuration or plugins folder that is not there is exit code 2', async t => {
  const path = await file(t, 'gateway.yaml', config(0))
  const [noConfig, { code, stderr }] = await Promise.all([
    run(['start', '--config', `${path}.not`]),
    run(['check', '--config', path, '--plugins', `${path}.not`])
  ])
  t.match(noConfig, { code: 2, stderr: /cannot be read \(ENOENT\)/ })
  t.equal(code, 2)
  t.match(stderr, /the plugins folder cannot be read/)
  t.notMatch(stderr, isStackTrace)
})

t.test('a plugin that does not load is exit code 2 and one line', async t => {
  const path = await file(t, 'gateway.yaml', config(0))
  const plugin = await file(t, 'broken.ts', 'export default {\n  phase: "guard",\n  register( {\n')
  const { code, stderr } = await run(['check', '--config', path, '--plugins', join(plugin, '..')])
  t.equal(code, 2)
  t.match(stderr, /broken\.ts {2}the file cannot be loaded/)
  t.equal(stderr.trimEnd().split('\n').length, 1)
})

t.test('bad usage is exit code 64 and a sentence', async t => {
  const cases: [string[], RegExp, Record<string, string>?][] = [
    [['frobnicate'], /unknown command 'frobnicate'/],
    [['start', '--frobnicate'], /unknown option '--frobnicate'/],
    [['start', 'now'], /too many arguments/],
    [['check', '--config'], /argument missing/],
    [['check'], /LOG_LEVEL {2}"loud" is not a log level/, { LOG_LEVEL: 'loud' }]
  ]
  const results = await Promise.all(cases.map(([args, , env]) => run(args, { env })))
  for (const [i, { code, stderr, stdout }] of results.entries()) {
    const [args, said] = cases[i]!
    t.equal(code, 64, args.join(' '))
    t.match(stderr, said)
    t.notMatch(stderr, isStackTrace)
    t.equal(stdout, '')
  }
})

t.test('help and version are answers, not errors', async t => {
  const [help, startHelp, version] = await Promise.all(
    [['--help'], ['start', '--help'], ['--version']].map(args => run(args))
  )
  t.match(help, { code: 0, stderr: '' })
  for (const word of ['start', 'check', 'SIGHUP', 'SIGTERM', 'Exit codes', '64', 'LOG_LEVEL'])
    t.match(help?.stdout, word)
  t.match(startHelp, { code: 0, stdout: /--plugins <folder>/ })
  t.match(version, { code: 0, stdout: /^\d+\.\d+\.\d+$/ })
})

t.test('a port that is taken is exit code 1 and a sentence that names it', async t => {
  const taken = createServer().listen(0, '127.0.0.1')
  await once(taken, 'listening')
  t.teardown(() => taken.close())
  const { port } = taken.address() as AddressInfo
  const { code, stderr } = await run(['start', '--config', await file(t, 'gateway.yaml', config(port))])
  t.equal(code, 1)
  t.equal(
    stderr,
    `listeners.http: port ${port} of 127.0.0.1 is taken. End what listens there, or change \`listeners\` in the configuration.\n`
  )
})

t.test('a plugin that leaves a timer behind keeps neither a check nor a failed start', async t => {
  const plugin = await file(
    t,
    'ticking.ts',
    `setInterval(() => {}, 1000)
     export default { phase: 'guard', schema: {}, register() { throw new Error('no wheel') } }`
  )
  const path = await file(t, 'gateway.yaml', config(0, 'plugins: [ticking]'))
  const args = ['--config', path, '--plugins', join(plugin, '..')]
  const [checked, started] = await Promise.all([run(['check', ...args]), run(['start', ...args])])
  t.match(checked, { code: 0 })
  t.match(started, { code: 1, stderr: 'route open: plugin ticking: no wheel\n' })
})

t.test(
  'the start says one line for each listener, SIGHUP reloads, and the last lines are written',
  async t => {
    const running = new Program({ args: ['--config', await file(t, 'gateway.yaml', config(0))] })
    t.teardown(() => running.child.kill('SIGKILL'))
    t.match(await running.listening('admin'), /^http:\/\/127\.0\.0\.1:\d+$/)
    t.match(await running.listening('http'), /^http:\/\/127\.0\.0\.1:\d+$/)
    t.equal(running.lines.filter(({ msg }) => / listening on /.test(msg as string)).length, 2)
    running.child.kill('SIGHUP')
    await running.line(({ msg }) => msg === 'configuration reloaded')
    running.child.kill('SIGINT')
    t.same(await running.exited, { code: 0, signal: null })
    t.ok(
      running.lines.some(({ msg }) => msg === 'stopped'),
      'the last lines are written before the end'
    )
    t.equal(running.stderr, '')
  }
)

t.test('the environment names the configuration where the command line does not', async t => {
  const env = { SALLYPORT_CONFIG: await file(t, 'gateway.yaml', config(0)), SALLYPORT_PLUGINS: '' }
  t.match(await run(['check'], { env }), { code: 0, stdout: `${env.SALLYPORT_CONFIG}: fine` })
})
