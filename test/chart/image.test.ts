import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { assembleImage, copiedFiles, productionPackages } from './image.ts'
import { findTool, root } from './tools.ts'

/** Why the image cannot be put together and started here; undefined where it can. */
function obstacle(): string | undefined {
  if (process.getuid?.() !== 0)
    return 'not root: cannot start the gateway as another user on a read-only root'
  if (findTool('unshare') === undefined) return 'unshare is not installed'
  if (findTool('setpriv') === undefined) return 'setpriv is not installed'
  const tried = spawnSync('unshare', ['--mount', 'true'])
  return tried.status === 0 ? undefined : 'mount namespaces are not allowed here'
}

function skipUnlessForced(why: string | undefined): { skip?: string } {
  return why === undefined || process.env.SALLYPORT_NO_SKIP === '1' ? {} : { skip: `skipped: ${why}` }
}

t.test('the image has production dependencies only', async t => {
  const packages = await productionPackages()
  const { dependencies, devDependencies } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'))
  for (const name of Object.keys(dependencies)) t.ok(packages.includes(`node_modules/${name}`), name)
  for (const name of Object.keys(devDependencies))
    t.notOk(packages.includes(`node_modules/${name}`), `no ${name}`)
})

t.test('no production dependency needs its install script, which the image does not run', async t => {
  for (const path of await productionPackages()) {
    const { scripts = {} } = JSON.parse(await readFile(join(root, path, 'package.json'), 'utf8'))
    const needed = ['preinstall', 'install', 'postinstall'].filter(name => name in scripts)
    t.strictSame(needed, [], path)
  }
})

t.test('what is copied into the image is let through by .dockerignore', async t => {
  const allowed = (await readFile(join(root, '.dockerignore'), 'utf8')).split('\n')
  const dockerfile = await readFile(join(root, 'Dockerfile'), 'utf8')
  const local = [...dockerfile.matchAll(/^COPY (?!--from)(.*) \S+$/gm)].flatMap(
    found => found[1]?.split(' ') ?? []
  )
  for (const name of local) t.ok(allowed.includes(`!${name}`), name)
  t.strictSame(
    (await copiedFiles()).map(([from]) => from).sort(),
    ['LICENSE', 'dist', 'node_modules', 'package.json'],
    'and nothing more ends up in it'
  )
})

t.test('the gateway runs as user 65532 on a read-only root', skipUnlessForced(obstacle()), async t => {
  const work = await mkdtemp(join(tmpdir(), 'sallyport-image-'))
  t.teardown(() => rm(work, { recursive: true, force: true }))
  await chmod(work, 0o755)
  // tap instruments every node that is started below it, by the environment; the compiler does not bear that.
  const compile = [
    '-i',
    `PATH=${process.env.PATH}`,
    'tsc',
    '-p',
    'tsconfig.build.json',
    '--outDir',
    join(work, 'dist')
  ]
  const built = spawnSync('env', compile, { cwd: root, encoding: 'utf8' })
  t.equal(built.status, 0, `${built.stdout}${built.stderr}`)
  await assembleImage(join(work, 'dist'), join(work, 'root/app'))
  const [http, admin] = [await freePort(), await freePort()]
  await mkdir(join(work, 'config'))
  await writeFile(
    join(work, 'config/gateway.yaml'),
    `listeners:\n  http: { host: 127.0.0.1, port: ${http} }\n  admin: { host: 127.0.0.1, port: ${admin} }\n`
  )

  const gateway = startInImage(work)
  t.teardown(() => gateway.kill('SIGKILL'))
  const output: string[] = []
  gateway.stdout?.on('data', chunk => output.push(String(chunk)))
  gateway.stderr?.on('data', chunk => output.push(String(chunk)))
  t.ok(await isReady(`http://127.0.0.1:${admin}/readyz`, gateway), output.join(''))

  t.equal((await fetch(`http://127.0.0.1:${http}/nothing`)).status, 404, 'it answers')
  const status = await readFile(`/proc/${await innermost(gateway.pid as number)}/status`, 'utf8')
  t.match(status, /^Uid:\t65532\t65532\t65532\t65532$/m, 'as user 65532')
  t.match(status, /^CapEff:\t0+$/m, 'without any capability')
  t.match(status, /^NoNewPrivs:\t1$/m)

  const ended = once(gateway, 'exit')
  process.kill(await innermost(gateway.pid as number), 'SIGKILL')
  await ended
})

t.test('nothing can be written in it', skipUnlessForced(obstacle()), async t => {
  const work = await mkdtemp(join(tmpdir(), 'sallyport-image-'))
  t.teardown(() => rm(work, { recursive: true, force: true }))
  await chmod(work, 0o755)
  for (const name of ['root/app', 'config']) await mkdir(join(work, name), { recursive: true })
  const attempt = startInImage(work, ['-e', "require('node:fs').writeFileSync('/app/file', '')"])
  let said = ''
  attempt.stderr?.on('data', chunk => {
    said += chunk
  })
  const [code] = await once(attempt, 'close')
  t.not(code, 0)
  t.match(said, /EROFS|EACCES/)
})

/** Starts node as the image would: its files at /app, node and its libraries, and nothing else, all of it read-only. */
function startInImage(work: string, args = ['/app/dist/src/main.js', 'start']): ChildProcess {
  const script = `
    set -e
    root=${work}/root
    mkdir -p "$root"/{usr,proc,dev,etc/sallyport/config,node,old}
    mount --bind "$root" "$root"
    mount --rbind /usr "$root/usr"
    for each in bin lib lib64; do [ -e "/$each" ] && ln -sfn "usr/$each" "$root/$each"; done
    mount --bind ${join(root, 'node_modules/node/bin')} "$root/node"
    mount --bind ${work}/config "$root/etc/sallyport/config"
    mount -t proc proc "$root/proc" 2>/dev/null || mount --rbind /proc "$root/proc"
    touch "$root/dev/null" "$root/dev/urandom"
    for each in null urandom; do mount --bind "/dev/$each" "$root/dev/$each"; done
    mount -o remount,bind,ro "$root"
    exec env -i NODE_ENV=production SALLYPORT_CONFIG=/etc/sallyport/config PATH=/node:/usr/bin:/usr/sbin chroot "$root" /usr/bin/setpriv --reuid 65532 --regid 65532 --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all \\
      /node/node "$@"
  `
  return spawn('unshare', ['--mount', 'bash', '-c', script, 'image', ...args], {
    stdio: ['ignore', 'pipe', 'pipe']
  })
}

/** `unshare` and the shell replace themselves, so the process is the gateway itself; this waits until that is so. */
async function innermost(pid: number): Promise<number> {
  t.match(await readFile(`/proc/${pid}/cmdline`, 'utf8'), 'main.js')
  return pid
}

async function isReady(url: string, child: ChildProcess): Promise<boolean> {
  const deadline = Date.now() + 30_000
  while (Date.now() < deadline && child.exitCode === null) {
    const answer = await fetch(url).catch(() => undefined)
    if (answer?.status === 200) return true
    // There is no event of another process' socket to wait for.
    await new Promise(resolve => setTimeout(resolve, 50))
  }
  return false
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  return port
}
