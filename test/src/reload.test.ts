import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { builtins } from '../../plugins/index.ts'
import type { Generation } from '../../src/generation.ts'
import { OverloadGuard } from '../../src/overload.ts'
import type { GatewayPlugin } from '../../src/plugin/define.ts'
import { Registry } from '../../src/registry.ts'
import { Reloader } from '../../src/reload.ts'
import { Services } from '../../src/services.ts'

interface Reloading {
  reloader: Reloader
  services: Services
  registry: Registry
  write(yaml: string): Promise<void>
}

async function reloading(t: Test, yaml: string, plugins: readonly GatewayPlugin[] = []): Promise<Reloading> {
  const folder = await mkdtemp(join(tmpdir(), 'sallyport-reload-'))
  const configPath = join(folder, 'gateway.yaml')
  const registry = new Registry()
  const services = new Services(pino({ enabled: false }), registry)
  const overload = new OverloadGuard(registry)
  const reloader = new Reloader({
    configPath,
    pluginsPath: undefined,
    builtins: [...builtins, ...plugins],
    env: {},
    services,
    overload
  })
  t.teardown(async () => {
    overload.close()
    await reloader.close()
    await services.close()
    await rm(folder, { recursive: true })
  })
  const write = (content: string) => writeFile(configPath, content)
  await write(yaml)
  return { reloader, services, registry, write }
}

function config(name: string, plugins = '[]', port = 9): string {
  return `upstreams: { ${name}: { url: "http://127.0.0.1:${port}" } }
plugins: [metrics, access-log]
routes: { ${name}: { match: { path: /* }, public: true, upstream: ${name}, plugins: ${plugins} } }
`
}

function plugin(name: string, register: GatewayPlugin['register']): GatewayPlugin {
  return { name, phase: 'guard', schema: { type: 'object' }, register }
}

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

/** So that what is only waiting for its promise goes too. */
async function collected(refs: readonly WeakRef<object>[]): Promise<number> {
  for (let i = 0; i < 5; i++) {
    await new Promise(resolve => setImmediate(resolve))
    collectGarbage()
  }
  return refs.filter(ref => ref.deref() === undefined).length
}

t.test('replaced and refused configurations leave nothing behind', async t => {
  let [opened, closed] = [0, 0]
  const counting = plugin('counting', route => {
    opened++
    route.addHook('onClose', async () => {
      closed++
    })
  })
  const failing = plugin('failing', () => {
    throw new Error('no')
  })
  const { reloader, services, write } = await reloading(t, config('a', '[counting]'), [counting, failing])
  await reloader.start()
  const generations: WeakRef<Generation>[] = []
  for (let i = 0; i < 40; i++) {
    generations.push(new WeakRef(reloader.current))
    await write(config(`r${i}`, i % 2 === 0 ? '[counting]' : '[counting, failing]', 9 + i))
    await reloader.reload()
  }
  t.equal(opened, 41)
  t.equal(closed, 40, 'what the plugins of a configuration opened is closed, one that was refused included')
  // The last two notes are of the one in force or of the one before it, which the last reload may still hold.
  t.ok((await collected(generations)) >= 37, 'and collected')
  t.match(reloader.current.config.routes, { r38: {} })
  t.equal(services.upstreams.size, 1)
})

t.test('the end of an old configuration takes nothing from the one that is being built', async t => {
  let finishBuild = () => {}
  let began = () => {}
  const building = new Promise<void>(resolve => (began = resolve))
  const slow = plugin('slow', () => {
    began()
    return new Promise<void>(resolve => (finishBuild = resolve))
  })
  let retire = () => {}
  const held = plugin('held', route => {
    route.addHook('onClose', () => new Promise<void>(resolve => (retire = resolve)))
  })
  const { reloader, services, registry, write } = await reloading(t, config('first', '[held]'), [slow, held])
  await reloader.start()
  await write(config('second'))
  await reloader.reload()
  // The first is closing; the third, with an upstream and a route of its own, is half built when that ends.
  await write(config('third', '[slow]'))
  const reloaded = reloader.reload()
  await building
  retire()
  await new Promise(resolve => setImmediate(resolve))
  finishBuild()
  await reloaded
  t.equal(reloader.status?.result, 'success')
  const [upstream] = reloader.current.upstreams
  t.equal(
    await services.upstream(reloader.current.config, 'third'),
    upstream,
    'its upstream is still the known one'
  )
  t.equal(upstream?.endpoints[0]?.pool.destroyed, false)
  t.match(await registry.expose(), 'sallyport_requests_in_flight{route="third"} 0')
  t.notMatch(await registry.expose(), 'route="first"')
})

t.test('a plugin that cannot close stops neither the reload nor the process', async t => {
  const stuck = plugin('stuck', route => {
    route.addHook('onClose', async () => {
      throw new Error('stuck')
    })
  })
  const { reloader, write } = await reloading(t, config('a', '[stuck]'), [stuck])
  await reloader.start()
  await write(config('b'))
  await reloader.reload()
  t.equal(reloader.status?.result, 'success')
  await t.resolves(reloader.close())
})

t.test('a reload that is asked for while one runs is one more, with the newest content', async t => {
  let builds = 0
  let pause: Promise<void> = Promise.resolve()
  let began = () => {}
  const pausing = plugin('pausing', () => {
    builds++
    began()
    return pause
  })
  const { reloader, write } = await reloading(t, config('a', '[pausing]'), [pausing])
  await reloader.start()
  let goOn = () => {}
  pause = new Promise<void>(resolve => (goOn = resolve))
  const building = new Promise<void>(resolve => (began = resolve))
  const first = reloader.reload()
  await building
  await write(config('b', '[pausing]'))
  const others = [reloader.reload(), reloader.reload(), reloader.reload()]
  goOn()
  await Promise.all([first, ...others])
  t.equal(builds, 3)
  t.match(reloader.current.config.routes, { b: {} })
})

t.test('a reload before the start and after the end does nothing', async t => {
  const { reloader, write } = await reloading(t, config('a'))
  await reloader.reload()
  t.equal(reloader.hasGeneration, false)
  await reloader.start()
  await reloader.close()
  await write(config('b'))
  await reloader.reload()
  t.match(reloader.current.config.routes, { a: {} })
})

t.test('a start that is given up closes what it has built', async t => {
  let closed = 0
  let finish = () => {}
  let began = () => {}
  const building = new Promise<void>(resolve => (began = resolve))
  const slow = plugin('slow', route => {
    route.addHook('onClose', async () => {
      closed++
    })
    began()
    return new Promise<void>(resolve => (finish = resolve))
  })
  const { reloader } = await reloading(t, config('a', '[slow]'), [slow])
  const starting = reloader.start()
  await building
  await reloader.close()
  finish()
  await t.rejects(starting, /stopped before/)
  t.equal(closed, 1)
})
