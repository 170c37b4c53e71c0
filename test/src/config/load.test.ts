import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { ConfigError, loadConfig } from '../../../src/config/load.ts'
import { fakePlugins } from './fake-plugins.ts'

const plugins = fakePlugins()
const upstreams = 'upstreams:\n  orders: { url: http://orders }\n'
const routes = 'routes:\n  orders: { match: { path: /a }, public: true, upstream: orders }\n'

t.test('a file becomes a configuration', async t => {
  const folder = t.testdir({ 'gateway.yaml': upstreams + routes })
  const path = join(folder, 'gateway.yaml')
  const { config, files, hash } = await loadConfig(path, { plugins, env: {} })
  t.same(Object.keys(config.routes), ['orders'])
  t.same(files, [path])
  t.match(hash, /^[0-9a-f]{64}$/)
})

t.test('the hash changes with the content, not with comments or files', async t => {
  const folder = t.testdir({
    one: { 'gateway.yaml': upstreams + routes },
    commented: { 'gateway.yaml': `# hello\n${upstreams}\n\n${routes}` },
    split: { 'a.yaml': upstreams, 'b.yaml': routes },
    other: { 'gateway.yaml': upstreams.replace('http://orders', 'http://other') + routes }
  })
  const hash = async (name: string) => (await loadConfig(join(folder, name), { plugins, env: {} })).hash
  t.equal(await hash('commented'), await hash('one'))
  t.equal(await hash('split'), await hash('one'))
  t.not(await hash('other'), await hash('one'))
})

t.test('all errors come in one message, one line each', async t => {
  const folder = t.testdir({ 'a.yaml': 'limits: { maxBody: 5 }\n', 'b.yaml': 'rotes: {}\n' })
  const error = await loadConfig(folder, { plugins, env: {} }).catch(error => error)
  t.ok(error instanceof ConfigError)
  t.equal(
    error.message,
    [
      `${folder}/a.yaml:1:11  limits.maxBody  5 is not a size  write a number with a unit: 64Ki, 1Mi, 1Gi`,
      `${folder}/b.yaml:1:1  rotes  is not a known key  did you mean "routes"?`
    ].join('\n')
  )
  t.match(error.errors, [
    { line: 1, col: 11 },
    { line: 1, col: 1 }
  ])
})

t.test('a secret must be there when the configuration is loaded', async t => {
  const folder = t.testdir({ 'ca.pem': 'a certificate\n', 'empty.pem': '\n' })
  const path = join(folder, 'gateway.yaml')
  const load = (ca: string, env = {}, secrets?: 'ignore') => {
    writeFileSync(path, `upstreams: { a: { url: "https://a", tls: { ca: ${ca} } } }\n`)
    return loadConfig(path, { plugins, env, secrets })
  }
  t.ok(await load('{ env: CA }', { CA: 'a certificate' }))
  t.ok(await load(`{ file: "${folder}/ca.pem" }`))
  await t.rejects(load('{ env: CA }'), /:1:44 {2}upstreams\.a\.tls\.ca {2}environment variable CA is not set/)
  await t.rejects(load(`{ file: "${folder}/empty.pem" }`), /empty.pem is empty/)
  await t.rejects(load(`{ file: "${folder}/none.pem" }`), /none.pem cannot be read \(ENOENT\)/)
  t.ok(await load('{ env: CA }', {}, 'ignore'), 'unless the caller only judges the text')
})
