import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { listenOnLoopback } from '../../examples/listen.ts'
import { startDemo } from '../fixtures/demo.ts'

const run = promisify(execFile)
const root = join(import.meta.dirname, '../..')

t.test('the demo prints five requests, and each gives what it says', async t => {
  const { scripts } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'))
  t.equal(scripts.demo, 'node examples/demo.ts', 'this is what npm run demo does')
  const demo = await startDemo(t)
  t.equal(demo.requests.length, 5)
  t.match(demo.output(), (await readFile(demo.tokenFile, 'utf8')).trim(), 'the token is printed')
  for (const { line, answers } of demo.requests) {
    const { stdout } = await run('bash', ['-c', line])
    for (const answer of answers) t.ok(stdout.includes(answer), `${line} => ${answer}`, { stdout })
  }

  t.equal(await demo.interrupt(), 0, 'Ctrl-C is no failure')
  await t.rejects(fetch(demo.gateway), 'the gateway is gone')
  await t.rejects(fetch(demo.admin), 'its admin listener too')
  t.notOk(existsSync(demo.tokenFile), 'and the token')
  const log = demo.output()
  t.match(log, 'GET /orders/7 200  route orders-read for demo-app', 'the log can be read')
  t.match(log, 'rate.exceeded by rate-limit')
  t.match(log, 'stopped')
  t.notMatch(log, /WARNING|NOTICE|\{"level"/)
})

t.test('a port that is taken is said in a sentence', async t => {
  const server = createServer()
  const origin = await listenOnLoopback(server, 0, 'test')
  t.teardown(() => server.close())
  const { port } = new URL(origin)
  await t.rejects(listenOnLoopback(createServer(), Number(port), 'orders service'), {
    message: `Port ${port} of 127.0.0.1, for the orders service, is taken.`
  })

  const folder = await mkdtemp(join(tmpdir(), 'sallyport-'))
  t.teardown(() => rm(folder, { recursive: true }))
  const config = join(folder, 'gateway.yaml')
  const yaml = await readFile(join(root, 'routes/gateway.yaml'), 'utf8')
  await writeFile(config, yaml.replace('port: 8080', `port: ${port}`).replace('port: 9090', 'port: 0'))
  const start = run(process.execPath, [join(root, 'src/main.ts'), 'start', '--config', config])
  await t.rejects(start, {
    code: 1,
    stderr: `listeners.http: port ${port} of 127.0.0.1 is taken. End what listens there, or change \`listeners\` in the configuration.\n`
  })
})

t.test('the default configuration passes the check', async t => {
  const { stdout } = await run(process.execPath, ['src/main.ts', 'check'], { cwd: root })
  t.equal(stdout, 'routes/gateway.yaml: fine, 3 routes, 2 upstreams\n')
})
