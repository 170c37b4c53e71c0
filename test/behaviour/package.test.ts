import { type SpawnSyncReturns, spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { Program } from '../fixtures/program.ts'
import { echo, withListeners } from '../helper.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { version: string }
const folder = await mkdtemp(join(tmpdir(), 'sallyport-package-'))
t.teardown(() => rm(folder, { recursive: true, force: true }))

/** With the runtime of this test first: the machine's own may be older than what the package asks for. */
const env = { ...process.env, PATH: `${dirname(process.execPath)}${delimiter}${process.env.PATH}` }

function run(command: string, args: readonly string[], cwd: string): SpawnSyncReturns<string> {
  // tap loads itself into every process below a test by NODE_OPTIONS, which costs time and breaks the compiler's start.
  return spawnSync('env', ['-u', 'NODE_OPTIONS', command, ...args], { cwd, env, encoding: 'utf8' })
}

t.test('the package builds, packs, and installs without its development dependencies', async t => {
  const built = run(process.execPath, ['scripts/build.ts'], root)
  t.equal(built.status, 0, `${built.stdout}${built.stderr}`)
  const packed = run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', folder], root)
  const [{ files, filename }] = JSON.parse(packed.stdout) as [{ files: { path: string }[]; filename: string }]
  const paths = files.map(({ path }) => path)
  for (const path of ['dist/src/main.js', 'dist/src/index.d.ts', 'routes/gateway.yaml', 'LICENSE'])
    t.ok(paths.includes(path), path)
  t.same(
    paths.filter(path => /^(src|test|bench|scripts|node_modules)\/|\.env$/.test(path)),
    [],
    'nothing of the checkout'
  )
  await writeFile(join(folder, 'package.json'), JSON.stringify({ private: true, type: 'module' }))
  const quiet = ['--omit=dev', '--ignore-scripts', '--no-audit', '--no-fund', '--prefer-offline']
  const installed = run('npm', ['install', ...quiet, filename], folder)
  t.equal(installed.status, 0, installed.stderr)
  t.notOk(existsSync(join(folder, 'node_modules', 'tap')))
})

t.test('npx sallyport checks a configuration', async t => {
  const { status, stdout, stderr } = run('npx', ['--no-install', 'sallyport', 'check'], folder)
  t.equal(status, 0, stderr)
  t.match(stdout, /routes\/gateway\.yaml: fine, \d+ routes?/)
  t.equal(run('npx', ['--no-install', 'sallyport', '--version'], folder).stdout.trim(), version)
  await writeFile(join(folder, 'bad.yaml'), 'routes: 7\n')
  const bad = run('npx', ['--no-install', 'sallyport', 'check', '--config', 'bad.yaml'], folder)
  t.equal(bad.status, 2)
  t.match(bad.stderr, /^bad\.yaml:1:\d+ {2}routes/m)
})

t.test('the installed program serves, with a custom plugin, and drains', async t => {
  const { url } = await echo(t)
  const config = join(folder, 'gateway.yaml')
  await writeFile(
    config,
    withListeners(`limits: { drainDelay: 1ms }
upstreams: { backend: { url: "${url}" } }
routes:
  open: { match: { path: /* }, public: true, upstream: backend, plugins: [stamp: { value: hello }] }
`)
  )
  const plugins = await mkdtemp(join(folder, 'plugins-'))
  await writeFile(join(plugins, 'stamp.ts'), goodPlugin)
  const running = new Program({
    program: join(folder, 'node_modules', '.bin', 'sallyport'),
    args: ['start', '--config', config, '--plugins', plugins],
    cwd: folder
  })
  t.teardown(() => running.child.kill('SIGKILL'))
  const response = await fetch(`${await running.listening('http')}/a`)
  t.equal(response.status, 200)
  t.equal(response.headers.get('x-stamp'), 'hello')
  const metrics = await (await fetch(`${await running.listening('admin')}/metrics`)).text()
  t.match(metrics, `sallyport_build_info{version="${version}",node="${process.version}"} 1`)
  running.child.kill('SIGTERM')
  t.match(await running.exited, { code: 0 })
  t.equal(running.stderr, '')
})

t.test('the gateway and the contract of plugins can be imported', async t => {
  await writeFile(
    join(folder, 'library.mjs'),
    `import { Gateway } from 'sallyport'
    import { phases } from 'sallyport/plugin'
    console.log(typeof Gateway, phases.length)`
  )
  t.match(run(process.execPath, ['library.mjs'], folder), { status: 0, stdout: 'function 6\n' })
})

t.test('the types of a plugin and of the gateway reach TypeScript', async t => {
  const compilerOptions = {
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    target: 'es2024',
    module: 'nodenext',
    types: ['node'],
    typeRoots: [join(root, 'node_modules', '@types')]
  }
  const tsc = join(root, 'node_modules', '.bin', 'tsc')
  async function compile(files: Record<string, string>): Promise<SpawnSyncReturns<string>> {
    for (const [name, source] of Object.entries(files)) await writeFile(join(folder, name), source)
    await writeFile(
      join(folder, 'tsconfig.json'),
      JSON.stringify({ compilerOptions, files: Object.keys(files) })
    )
    return run(tsc, ['-p', folder], folder)
  }
  t.match(await compile({ 'good.ts': goodPlugin, 'gateway.ts': library }), { status: 0, stdout: '' })
  const mistakes: [string, string, RegExp][] = [
    ["phase: 'transform'", "phase: 'sometime'", /bad0\.ts.*"sometime"/],
    ['options.value', 'options.volume', /bad1\.ts.*volume/],
    ['request.gateway.requestId', 'request.gateway.password', /bad2\.ts.*password/],
    ["deny('policy.denied')", "deny('because')", /bad3\.ts.*"because"/]
  ]
  const bad = mistakes.map(([right, wrong], i) => [`bad${i}.ts`, goodPlugin.replace(right, wrong)])
  const { status, stdout } = await compile(Object.fromEntries(bad))
  t.not(status, 0)
  for (const [, wrong, said] of mistakes) t.match(stdout, said, wrong)
})

const goodPlugin = `import type { GatewayPlugin } from 'sallyport/plugin'

export default {
  phase: 'transform',
  name: 'stamp',
  schema: { type: 'object', properties: { value: { type: 'string' } }, required: ['value'], additionalProperties: false },
  register(route, options) {
    route.addHook('onRequest', async (request, reply) => {
      if (request.gateway.requestId === '') route.gateway.deny('policy.denied')
      reply.header('x-stamp', options.value)
    })
  }
} satisfies GatewayPlugin<{ value: string }>
`

const library = `import { Gateway, type GatewayAddresses, type Outcome } from 'sallyport'

const gateway = new Gateway({ config: 'gateway.yaml', watch: false })
const addresses: GatewayAddresses = await gateway.start()
export const statusOf = (outcome: Outcome): number => outcome.status
export const admin: string = addresses.admin
`
