import { execFile } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { parse, stringify } from 'yaml'
import { builtins } from '../../plugins/index.ts'
import { loadConfig } from '../../src/config/load.ts'
import { loadPlugins } from '../../src/plugin/load.ts'
import { startDemo } from '../fixtures/demo.ts'
import { answerPattern, blocks, exchanges, pages, readPage, root } from '../fixtures/markdown.ts'

const run = promisify(execFile)

/** What a fragment may refer to without describing it. */
const base = {
  issuers: {
    corp: { issuer: 'https://idp.example.com', audience: ['orders-api'] },
    demo: { issuer: 'http://127.0.0.1:9003', audience: ['https://orders.example.com'] }
  },
  listeners: { http: {}, h2c: {} },
  upstreams: {
    orders: { url: 'http://127.0.0.1:9001' },
    'orders-grpc': { url: 'http://127.0.0.1:9004', protocol: 'h2c' }
  },
  routes: { open: { match: { path: '/open/*' }, public: true, upstream: 'orders' } }
}
type Sections = Record<string, unknown> & typeof base

function complete(text: string): string {
  const given = parse(text) as Partial<Sections>
  return stringify({
    ...base,
    ...given,
    issuers: { ...base.issuers, ...given.issuers },
    upstreams: { ...base.upstreams, ...given.upstreams },
    routes: given.routes ?? base.routes
  })
}

t.test('every piece of YAML in the documentation is a valid configuration', async t => {
  const folder = await mkdtemp(join(tmpdir(), 'sallyport-'))
  t.teardown(() => rm(folder, { recursive: true }))
  const plugins = await loadPlugins(builtins, join(root, 'examples/plugins'))
  const pieces = pages()
    .flatMap(page => blocks(page, 'yaml'))
    .filter(({ text }) => !isChartValues(text))
  t.ok(pieces.length >= 12, 'they are found')
  for (const { where, text } of pieces) {
    const file = join(folder, 'gateway.yaml')
    await writeFile(file, complete(text))
    await t.resolves(loadConfig(file, { plugins, secrets: 'ignore' }), where)
  }
})

/** Values of the chart are rendered and proven by test/chart/guides.test.ts. */
function isChartValues(text: string): boolean {
  return /^(config|perimeter):/m.test(text)
}

t.test('every command in the guides answers what is written behind it', async t => {
  const demo = await startDemo(t)
  const guides = pages().filter(page => page.startsWith('docs/guide/'))
  const written = guides.flatMap(exchanges)
  t.ok(written.length >= 8, 'they are found')
  for (const { where, command, answer } of written) {
    const { stdout } = await run('bash', ['-c', await demo.here(command)], { cwd: root })
    const output = `${stdout.replaceAll('\r', '').trimEnd()}\n`
    t.match(output, answerPattern(answer), `${where} $ ${command}`)
  }
})

t.test('every link between pages leads somewhere', async t => {
  for (const page of pages()) {
    for (const [, target = ''] of readPage(page).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target)) continue
      const [path = '', anchor] = target.split('#')
      const file = path === '' ? join(root, page) : join(root, dirname(page), path)
      const leads = existsSync(file) && (!anchor || anchors(file).has(anchor))
      t.ok(leads, `${page} links to ${target}`)
    }
  }
})

t.test('every npm script that the documentation names exists', async t => {
  const { scripts } = JSON.parse(readPage('package.json')) as { scripts: Record<string, string> }
  for (const page of pages()) {
    for (const [, verb = ''] of readPage(page).matchAll(/\bnpm run ([a-z]+)/g))
      t.ok(verb in scripts, `${page}: npm run ${verb}`)
  }
})

t.test('a page in a folder of code is at most one screen, a guide at most three', async t => {
  for (const page of pages()) {
    const lines = readPage(page).split('\n').length
    if (/^(routes|test|bench|plugins|examples|docs\/adr)\//.test(page))
      t.ok(lines <= 75, `${page}: ${lines} lines`)
    if (page.startsWith('docs/guide/')) t.ok(lines <= 135, `${page}: ${lines} lines`)
  }
})

function anchors(file: string): Set<string> {
  const headings = readFileSync(file, 'utf8').matchAll(/^#+ (.+)$/gm)
  return new Set(
    [...headings].map(([, heading = '']) =>
      heading
        .toLowerCase()
        .replaceAll(/[^\w\s-]/g, '')
        .trim()
        .replaceAll(/\s/g, '-')
    )
  )
}
