import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer as createHttpServer } from 'node:http'
import { type AddressInfo, connect, createServer } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { chart } from './tools.ts'

/** Runs what a pod of `helm test` runs. */
async function runPod(
  script: 'answers' | 'enforced',
  env: Record<string, string>
): Promise<{ code: number; output: string }> {
  const text = await readFile(join(chart, 'files', `${script}.mjs`), 'utf8')
  const pod = spawn(process.execPath, ['--input-type=module', '--eval', text], { env })
  let output = ''
  pod.stdout.on('data', chunk => {
    output += chunk
  })
  pod.stderr.on('data', chunk => {
    output += chunk
  })
  const [code] = await once(pod, 'close')
  return { code, output }
}

type Closing = { teardown(close: () => unknown): void }

/** A door that is closed as a network plugin closes it: a full queue on which the kernel drops every further connection. */
async function droppingPort(t: Closing): Promise<number> {
  const listenAndHang = `
    const server = require('node:net').createServer()
    server.listen({ host: '127.0.0.1', port: 0, backlog: 1 }, () => {
      require('node:fs').writeSync(1, String(server.address().port))
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
    })`
  const child = spawn(process.execPath, ['--eval', listenAndHang])
  t.teardown(() => child.kill('SIGKILL'))
  const [chunk] = await once(child.stdout, 'data')
  const port = Number(String(chunk))
  for (let filling = 0; filling < 2; filling++) {
    const socket = connect(port, '127.0.0.1')
    socket.on('error', () => {})
    t.teardown(() => socket.destroy())
    await once(socket, 'connect')
  }
  return port
}

async function openPort(t: Closing): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  return (server.address() as AddressInfo).port
}

const at = (name: string, port: number, host = '127.0.0.1') => ({ name, host, port })

t.test('the positive check', async t => {
  const server = createHttpServer((_request, response) => response.writeHead(404).end()).listen(
    0,
    '127.0.0.1'
  )
  await once(server, 'listening')
  t.teardown(() => server.close())
  const { port } = server.address() as AddressInfo

  const good = await runPod('answers', { URL: `http://127.0.0.1:${port}/`, TIMEOUT_SECONDS: '1' })
  t.match(good, { code: 0, output: /passed: .* answers with status 404/ }, 'passes on any answer')

  const bad = await runPod('answers', { URL: 'http://127.0.0.1:1/', TIMEOUT_SECONDS: '0.01' })
  t.match(bad, { code: 1, output: /FAILED: .*does not answer[\s\S]*perimeter.gateway.from/ }, 'fails on none')
})

t.test('the negative check', async t => {
  const enforced = (targets: object[]) =>
    runPod('enforced', { TARGETS: JSON.stringify(targets), TIMEOUT_SECONDS: '0.3' })
  const [open, dropping] = [await openPort(t), await droppingPort(t)]

  t.match(
    await enforced([at('the admin port', dropping), at('upstream a', 1)]),
    {
      code: 0,
      output:
        /closed +the admin port .*dropped[\s\S]*unknown +upstream a .*ECONNREFUSED[\s\S]*passed: 1 of 2 doors/
    },
    'passes where connections are dropped; a refusal proves nothing'
  )
  t.match(
    await enforced([at('the admin port', dropping), at('upstream a', open)]),
    {
      code: 1,
      output:
        /FAILED: this pod is not the gateway, and yet it reached upstream a\.\nThe network plugin does not enforce/
    },
    'fails, and says why, where one is open'
  )
  t.match(
    await enforced([at('upstream a', 80, 'no-such-name.invalid')]),
    { code: 1, output: /the name does not resolve[\s\S]*FAILED: nothing could be tried/ },
    'fails where nothing could be found out'
  )
})
