import { once } from 'node:events'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import { plugin, pluginsFolder, proxying, rawUpstream } from '../fixtures/proxying.ts'
import { rawClient } from '../fixtures/raw.ts'
import { buildGateway, type Closing, echo, upstream } from '../helper.ts'

const cors = pathToFileURL(resolve(import.meta.dirname, '../../node_modules/@fastify/cors/index.js')).href

/** Notes on the answer, in `x-trail`, that it was there. */
function trail(name: string): string {
  return `route.addHook('onRequest', async (request, reply) => {
    reply.header('x-trail', [...(reply.getHeader('x-trail')?.split(' ') ?? []), '${name}'].join(' '))
  })`
}

function phasePlugin(phase: string): string {
  return plugin(phase, trail(phase))
}

async function start(t: Closing, files: Record<string, string>, routes: string) {
  const { url } = await echo(t)
  const plugins = await pluginsFolder(t, files)
  return buildGateway(t, `upstreams: { backend: { url: "${url}" } }\nroutes:\n${routes}`, { plugins })
}

function route(name: string, uses: string): string {
  return `  ${name}: { match: { path: /${name}/* }, public: true, upstream: backend, plugins: [${uses}] }\n`
}

t.test('hooks of one route never run on another', async t => {
  const gateway = await start(
    t,
    { 'one.mjs': plugin('guard', trail('one')), 'two.mjs': plugin('guard', trail('two')) },
    route('a', 'one') + route('b', 'two') + route('c', '')
  )
  const trailOf = async (path: string) => (await fetch(gateway.url + path)).headers.get('x-trail')
  t.equal(await trailOf('/a/'), 'one')
  t.equal(await trailOf('/b/'), 'two')
  t.equal(await trailOf('/c/'), null)
})

t.test('plugins run by phase whatever their order, and inside a phase in the order of the file', async t => {
  const gateway = await start(
    t,
    {
      'observes.mjs': phasePlugin('observe'),
      'guards.mjs': phasePlugin('guard'),
      'guards-too.mjs': plugin('guard', trail('guard-too')),
      'authorizes.mjs': phasePlugin('authorize'),
      'limits.mjs': phasePlugin('limit'),
      'transforms.mjs': phasePlugin('transform')
    },
    route('a', 'transforms, limits, authorizes, guards-too, guards, observes') +
      route('b', 'guards, guards-too, observes, transforms')
  )
  const trailOf = async (path: string) => (await fetch(gateway.url + path)).headers.get('x-trail')
  t.equal(await trailOf('/a/'), 'observe guard-too guard authorize limit transform')
  t.equal(await trailOf('/b/'), 'observe guard guard-too transform')
})

t.test('a Fastify plugin that a plugin registers without waiting keeps its place', async t => {
  const gateway = await start(
    t,
    {
      'late.mjs': plugin(
        'guard',
        // What fastify-plugin does.
        `async function theirs(route) { await null; ${trail('late')} }
         theirs[Symbol.for('skip-override')] = true
         void route.register(theirs)`
      ),
      'last.mjs': phasePlugin('transform')
    },
    route('a', 'late, last')
  )
  t.equal((await fetch(`${gateway.url}/a/`)).headers.get('x-trail'), 'late transform')
})

t.test('an existing Fastify plugin may stand on one route', async t => {
  const gateway = await start(
    t,
    {
      'their-cors.mjs': `import cors from '${cors}'\n${plugin(
        'guard',
        "await route.register(cors, { origin: 'https://shop.example.com', strictPreflight: false })"
      )}`
    },
    route('a', 'their-cors') + route('b', '')
  )
  const ask = (path: string) => fetch(gateway.url + path, { headers: { origin: 'https://shop.example.com' } })
  t.equal((await ask('/a/')).headers.get('access-control-allow-origin'), 'https://shop.example.com')
  t.equal((await ask('/b/')).headers.get('access-control-allow-origin'), null)
})

t.test('a plugin may change the body of the answer', async t => {
  const files = {
    'text.mjs': plugin(
      'transform',
      `route.addHook('onSend', async (request, reply, payload) => {
        let text = ''
        for await (const chunk of payload) text += chunk
        return text.toUpperCase()
      })`
    ),
    'stream.mjs': `import { Transform } from 'node:stream'
      ${plugin(
        'transform',
        `route.addHook('onSend', (request, reply, payload, done) => {
          reply.removeHeader('content-length')
          done(null, payload.pipe(new Transform({ transform(chunk, _, done) { done(null, String(chunk).toUpperCase()) } })))
        })`
      )}`,
    'late.mjs': plugin(
      'transform',
      `async function theirs(route) { await null; route.addHook('onSend', async () => 'LATE') }
       theirs[Symbol.for('skip-override')] = true
       void route.register(theirs)`
    ),
    'instead.mjs': plugin('transform', "route.addHook('onSend', async () => 'INSTEAD')")
  }
  const { url } = await upstream(t, (request, response) => {
    if (request.url !== '/broken') response.setHeader('content-length', 5).end('hello')
    else {
      response
        .setHeader('content-encoding', 'gzip')
        .setHeader('set-cookie', 'a=1')
        .setHeader('content-length', 10)
      response.write('hello', () => response.destroy())
    }
  })
  for (const [uses, expected] of [
    ['text', 'HELLO'],
    ['stream', 'HELLO'],
    ['late', 'LATE'],
    ['instead', 'INSTEAD']
  ] as const) {
    const gateway = await proxying(t, url, { uses, files })
    const response = await fetch(gateway.url)
    t.equal(await response.text(), expected)
    t.match(await gateway.recorder.ended(1), [{ status: 200 }])
    if (uses !== 'text') continue
    const broken = await fetch(`${gateway.url}/broken`)
    t.equal(broken.status, 502, 'an answer that breaks off in its hands is a problem document')
    t.match(await broken.json(), { reason: 'upstream.reset' })
    t.equal(broken.headers.get('content-encoding'), null, 'without anything of the upstream')
    t.equal(broken.headers.get('set-cookie'), null)
    t.match((await gateway.recorder.ended(2))[1], { status: 502, reason: 'upstream.reset', plugin: null })
  }
})

t.test('an upstream that fails while a hook pipes its body away ends the answer', async t => {
  const { url } = await rawUpstream(t, socket => {
    socket.write('HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n', () => socket.resetAndDestroy())
  })
  const files = {
    'stream.mjs': `import { PassThrough } from 'node:stream'
      ${plugin('transform', "route.addHook('onSend', (a, b, payload, done) => { done(null, payload.pipe(new PassThrough())) })")}`,
    'slow.mjs': `import { PassThrough } from 'node:stream'
      ${plugin('transform', "route.addHook('onSend', async (a, b, payload) => { await new Promise(r => setTimeout(r, 50)); return payload.pipe(new PassThrough()) })")}`
  }
  for (const uses of ['stream', 'slow']) {
    const gateway = await proxying(t, url, { uses, files })
    const response = await fetch(gateway.url)
    t.equal(response.status, 502)
    t.match(await response.json(), { reason: 'upstream.reset' })
  }
})

t.test('hooks of every kind run', async t => {
  const { url } = await upstream(t, (request, response) => {
    if (request.url === '/break') response.destroy()
    else response.end('ok')
  })
  const gateway = await proxying(t, url, {
    uses: 'all-kinds, refuses',
    files: {
      'all-kinds.mjs': plugin(
        'observe',
        `const log = globalThis.sallyportKinds = []
         for (const name of ['preValidation', 'preHandler', 'onResponse']) route.addHook(name, async () => { log.push(name) })
         for (const name of ['preParsing', 'onSend'])
           route.addHook(name, async (request, reply, payload) => { log.push(name); return payload })
         route.addHook('onError', async (request, reply, error) => { log.push('onError ' + error.reason) })`
      ),
      'refuses.mjs': plugin(
        'guard',
        "route.addHook('onRequest', async request => { if (request.raw.url === '/no') route.gateway.deny('policy.denied') })"
      )
    }
  })
  const log = (globalThis as unknown as { sallyportKinds: string[] }).sallyportKinds
  const logOf = async (path: string, count: number, status: number) => {
    log.length = 0
    const response = await fetch(gateway.url + path)
    await response.text()
    t.equal(response.status, status)
    await gateway.recorder.ended(count)
    return log
  }
  t.same(await logOf('/', 1, 200), ['preParsing', 'preValidation', 'preHandler', 'onSend', 'onResponse'])
  t.same(await logOf('/no', 2, 403), ['onError policy.denied', 'onResponse'])
  t.same(await logOf('/break', 3, 502), [
    'preParsing',
    'preValidation',
    'preHandler',
    'onError upstream.reset',
    'onResponse'
  ])
})

t.test('a plugin that throws costs its own request, and the log names it', async t => {
  const gateway = await start(
    t,
    {
      'broken.mjs': plugin(
        'limit',
        "route.addHook('onRequest', async request => { if (request.headers['x-break']) throw new Error('secret detail') })"
      )
    },
    route('a', 'broken')
  )
  const broken = await fetch(`${gateway.url}/a/`, { headers: { 'x-break': '1' } })
  t.equal(broken.status, 500)
  const text = await broken.text()
  t.match(JSON.parse(text), { code: 'SP_PLUGIN_FAILED', reason: 'plugin.failed' })
  t.notMatch(text, 'secret')
  t.match(
    gateway.lines.find(line => line.msg === 'a plugin failed'),
    { plugin: 'broken', route: 'a', err: { message: 'secret detail' } }
  )
  t.equal((await fetch(`${gateway.url}/a/`)).status, 200)
})

t.test('a plugin that hangs costs its own request', async t => {
  const { url } = await echo(t)
  const gateway = await proxying(t, url, {
    uses: 'hangs',
    files: {
      'hangs.mjs': plugin(
        'guard',
        "route.addHook('onRequest', (request, reply, done) => { if (!request.headers['x-hang']) done() })"
      )
    }
  })
  const client = rawClient(t, gateway.port)
  client.send('GET / HTTP/1.1\r\nhost: a\r\nx-hang: 1\r\n\r\n')
  await once(client.socket, 'ready')
  t.equal((await fetch(gateway.url)).status, 200)
  client.socket.resetAndDestroy()
  t.match(await gateway.recorder.ended(2), [
    { status: 200 },
    { status: 499, reason: 'client.aborted', plugin: null }
  ])
})

t.test('plugins are files of three kinds', async t => {
  const gateway = await start(
    t,
    {
      'one.mjs': plugin('guard', trail('mjs')),
      'two.js': plugin('guard', trail('js')),
      'three.ts': `const name: string = 'ts'
        interface Options { header?: string }
        export default { phase: 'guard' as const, schema: { type: 'object' }, register(route: any, _options: Options): void {
          ${trail('ts')}
        } }`,
      'notes.txt': 'no plugin',
      '.hidden.mjs': 'throw new Error()',
      'types.d.ts': 'export type A = 1'
    },
    route('a', 'one, two, three')
  )
  t.equal((await fetch(`${gateway.url}/a/`)).headers.get('x-trail'), 'mjs js ts')
})

const bad: Record<string, [file: string, text: string, message: RegExp]> = {
  'with a syntax error': ['broken.mjs', 'export default {', /broken\.mjs {2}the file cannot be loaded: /],
  'that throws when it is loaded': ['broken.mjs', "throw new Error('at load')", /broken\.mjs.*at load/],
  'that imports what is not there': ['broken.mjs', "import 'nowhere'", /broken\.mjs.*nowhere/],
  'without a default export': ['broken.mjs', 'export const a = 1', /the default export is not a plugin/],
  'of another shape': ['broken.mjs', 'export default () => {}', /the default export is not a plugin/],
  'without register': ['broken.mjs', "export default { phase: 'guard', schema: {} }", /is not a plugin/],
  'of an unknown phase': [
    'broken.mjs',
    "export default { phase: 'later', schema: {}, register() {} }",
    /"later" is not a phase.*use one of: observe, guard/
  ],
  'without a schema': ['broken.mjs', "export default { phase: 'guard', register() {} }", /has no schema/],
  'named like a built-in': ['jwt.mjs', plugin('guard', ''), /there is a plugin "jwt" already/],
  'with another name than its file': [
    'broken.mjs',
    "export default { name: 'other', phase: 'guard', schema: {}, register() {} }",
    /calls itself "other"/
  ],
  'whose name is none': ['Not_A_Name.mjs', plugin('guard', ''), /is not a plugin name/],
  'that throws when it is registered': [
    'broken.mjs',
    plugin('guard', "throw new Error('no way')"),
    /route a: plugin broken: no way/
  ],
  'whose Fastify plugin fails': [
    'broken.mjs',
    plugin('guard', "route.register(async () => { throw new Error('no way') })"),
    /no way/
  ],
  'with a schema that is none': [
    'broken.mjs',
    "export default { phase: 'guard', schema: { type: 'nonsense' }, register() {} }",
    /broken/
  ]
}

for (const [name, [file, text, message]] of Object.entries(bad)) {
  t.test(`a plugin file ${name} stops the start`, async t => {
    await t.rejects(start(t, { [file]: text }, route('a', file.startsWith('broken') ? 'broken' : '')), {
      message
    })
  })
}

t.test('two files of one name stop the start', async t => {
  const files = { 'same.mjs': plugin('guard', ''), 'same.js': plugin('guard', '') }
  await t.rejects(start(t, files, route('a', '')), { message: /there is a plugin "same" already/ })
})
