import { cp, mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { root } from './tools.ts'

interface Lockfile {
  packages: Record<string, { dev?: boolean; optional?: boolean }>
}

/** Folders of the packages that `npm ci --omit=dev` installs, relative to the root. */
export async function productionPackages(): Promise<string[]> {
  const lock = JSON.parse(await readFile(join(root, 'package-lock.json'), 'utf8')) as Lockfile
  return Object.entries(lock.packages)
    .filter(([path, { dev }]) => path !== '' && dev !== true)
    .map(([path]) => path)
}

/** What the last stage of the Dockerfile copies: `[from, to]`, as it is written there. */
export async function copiedFiles(): Promise<[string, string][]> {
  const dockerfile = await readFile(join(root, 'Dockerfile'), 'utf8')
  const last = dockerfile.slice(dockerfile.lastIndexOf('\nFROM '))
  return [...last.matchAll(/^COPY (.*)$/gm)].flatMap(([, line]) => {
    const words = (line ?? '').split(' ').filter(word => !word.startsWith('--'))
    const to = words.pop() ?? ''
    return words.map((from): [string, string] => [from.replace('/build/', ''), to])
  })
}

/** The tree below /app of the image, from this checkout, its built dist/ and its installed packages. */
export async function assembleImage(dist: string, app: string): Promise<void> {
  await mkdir(app, { recursive: true })
  for (const [from] of await copiedFiles()) {
    if (from === 'node_modules') await copyPackages(app)
    else await cp(from === 'dist' ? dist : join(root, from), join(app, from), { recursive: true })
  }
}

async function copyPackages(app: string): Promise<void> {
  const packages = (await productionPackages()).sort()
  for (const path of packages) {
    // A nested package comes with the one that it is in, unless only development needs it.
    const filter = (source: string): boolean =>
      !source.slice(join(root, path).length + 1).startsWith('node_modules')
    await cp(join(root, path), join(app, path), { recursive: true, filter })
  }
}
