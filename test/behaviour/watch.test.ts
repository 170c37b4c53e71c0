import { mkdir, mkdtemp, readFile, rename, rm, symlink, unlink, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { ConfigWatcher, type WatchOptions } from '../../src/config/watch.ts'
import { ConfigMapVolume } from '../fixtures/config-map.ts'

async function folder(t: Test): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'sallyport-watch-'))
  t.teardown(() => rm(path, { recursive: true, force: true }))
  return path
}

/** In one step, so that nobody sees a half-written file. */
async function replace(path: string, content: string): Promise<void> {
  await writeFile(`${path}.tmp`, content)
  await rename(`${path}.tmp`, path)
}

interface Watching {
  watcher: ConfigWatcher
  /** Resolves at the next change that nobody has waited for yet. */
  changed(): Promise<void>
  changes: number
}

/** Events only: the poll never comes, unless a test wants it. */
async function watching(
  t: Test,
  paths: readonly string[],
  options: Partial<WatchOptions> = {}
): Promise<Watching> {
  // The watcher keeps no process alive.
  const alive = setInterval(() => undefined, 1000)
  t.teardown(() => clearInterval(alive))
  let seen = 0
  let hear = () => {}
  const watching: Watching = {
    watcher: await ConfigWatcher.start({
      paths,
      debounce: 5,
      poll: 2 ** 31 - 1,
      onChange() {
        watching.changes++
        hear()
      },
      ...options
    }),
    changes: 0,
    async changed() {
      if (watching.changes === seen) await new Promise<void>(resolve => (hear = resolve))
      seen = watching.changes
    }
  }
  t.teardown(() => watching.watcher.close())
  return watching
}

t.test('every swap of a mounted ConfigMap is heard, not only the first', async t => {
  const volume = await ConfigMapVolume.mount(await folder(t), { 'a.yaml': '0', 'b.yaml': '0' })
  const { changed } = await watching(t, [volume.folder])
  for (const content of ['1', '2', '3', '4']) {
    await volume.update({ 'a.yaml': content, 'b.yaml': '0' })
    await t.resolves(changed())
  }
})

t.test('so are the swaps below one file of a ConfigMap', async t => {
  const volume = await ConfigMapVolume.mount(await folder(t), { 'a.yaml': '0' })
  const { changed } = await watching(t, [join(volume.folder, 'a.yaml')])
  for (const content of ['1', '2', '3']) {
    await volume.update({ 'a.yaml': content })
    await t.resolves(changed())
  }
})

t.test('a file that is written, renamed over, or removed and made again is heard', async t => {
  const path = join(await folder(t), 'gateway.yaml')
  await writeFile(path, '0')
  const { changed } = await watching(t, [path])
  await writeFile(path, '1')
  await t.resolves(changed())
  for (const content of ['2', '3']) {
    await writeFile(`${path}.tmp`, content)
    await rename(`${path}.tmp`, path)
    await t.resolves(changed())
  }
  await unlink(path)
  await t.resolves(changed())
  await writeFile(path, '4')
  await t.resolves(changed())
})

t.test('a folder that is deleted and made again is heard, and so is what happens in it then', async t => {
  const path = join(await folder(t), 'conf.d')
  await mkdir(path)
  await writeFile(join(path, 'a.yaml'), '0')
  const { changed } = await watching(t, [path])
  for (const content of ['1', '2']) {
    await rm(path, { recursive: true })
    await t.resolves(changed())
    await mkdir(path)
    await writeFile(join(path, 'a.yaml'), content)
    await t.resolves(changed())
    await writeFile(join(path, 'a.yaml'), `${content} again`)
    await t.resolves(changed())
  }
})

t.test('a folder that another one is renamed over is heard', async t => {
  const root = await folder(t)
  const path = join(root, 'conf.d')
  for (const name of [path, `${path}.new`]) await mkdir(name)
  await writeFile(join(path, 'a.yaml'), '0')
  await writeFile(join(`${path}.new`, 'a.yaml'), '1')
  const { changed } = await watching(t, [path])
  await rename(path, `${path}.old`)
  await rename(`${path}.new`, path)
  await t.resolves(changed())
  await writeFile(join(path, 'b.yaml'), '2')
  await t.resolves(changed())
})

t.test('a link to a file somewhere else is followed', async t => {
  const [here, there] = [await folder(t), await folder(t)]
  await writeFile(join(there, 'real.yaml'), '0')
  await symlink(join(there, 'real.yaml'), join(here, 'gateway.yaml'))
  const { changed } = await watching(t, [join(here, 'gateway.yaml')])
  await writeFile(join(there, 'real.yaml'), '1')
  await t.resolves(changed())
})

t.test('what does not change the content is no change', async t => {
  const path = await folder(t)
  await writeFile(join(path, 'a.yaml'), '0')
  const watched = await watching(t, [path])
  await utimes(join(path, 'a.yaml'), 1, 1)
  await writeFile(join(path, 'a.yaml'), '0')
  await writeFile(join(path, '.a.yaml.swp'), 'an editor')
  await writeFile(join(path, 'a.yaml~'), 'another one')
  await watched.watcher.look()
  t.equal(watched.changes, 0)
  await writeFile(join(path, 'b.yaml'), '')
  await watched.watcher.look()
  t.equal(watched.changes, 1, 'while one that does is seen by the same look')
})

t.test('without events the poll sees it', async t => {
  const path = await folder(t)
  await writeFile(join(path, 'a.yaml'), '0')
  // An event would wait for quiet longer than the test may take.
  const { changed } = await watching(t, [path], { poll: 5, debounce: 2 ** 30, maxWait: 2 ** 30 })
  await writeFile(join(path, 'a.yaml'), '1')
  await t.resolves(changed())
})

t.test('changes that never stop are looked at all the same', async t => {
  const path = join(await folder(t), 'a.yaml')
  await writeFile(path, '0')
  const watched = await watching(t, [path], { debounce: 2 ** 30, maxWait: 50 })
  for (let i = 1; watched.changes === 0; i++) await replace(path, String(i))
  t.equal(watched.changes, 1)
})

t.test('looks that overlap become one more look', async t => {
  const path = join(await folder(t), 'a.yaml')
  await writeFile(path, '0')
  const watched = await watching(t, [path])
  const first = watched.watcher.look()
  await replace(path, '1')
  await Promise.all([first, watched.watcher.look(), watched.watcher.look()])
  t.equal(watched.changes, 1)
  t.equal(await readFile(path, 'utf8'), '1')
})

t.test('a closed watcher is silent', async t => {
  const path = join(await folder(t), 'a.yaml')
  await writeFile(path, '0')
  const watched = await watching(t, [path])
  watched.watcher.close()
  await writeFile(path, '1')
  await watched.watcher.look()
  t.equal(watched.changes, 0)
})
