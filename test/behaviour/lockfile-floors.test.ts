import { readFile } from 'node:fs/promises'
import t from 'tap'

/** Lowest version of each package that has what we rely on: fixes of known defects and advisories. */
const floors: Readonly<Record<string, string>> = {
  fastify: '5.12.1',
  '@fastify/http-proxy': '11.6.2',
  '@fastify/reply-from': '12.6.5',
  '@fastify/rate-limit': '11.2.0',
  '@fastify/forwarded': '3.0.2',
  'fast-jwt': '6.2.4',
  'find-my-way': '9.7.0',
  undici: '7.30.0',
  ws: '8.21.0',
  '@grpc/grpc-js': '1.14.4'
}

/** Not part of every version of the gateway. */
const optional = new Set(['ws', '@grpc/grpc-js'])

const text = await readFile(new URL('../../package-lock.json', import.meta.url), 'utf8')
const { packages } = JSON.parse(text) as { packages: Record<string, { version?: string; dev?: boolean }> }

/** Every copy of a package that is installed with the gateway, nested ones too. */
function versionsOf(name: string): string[] {
  return Object.entries(packages)
    .filter(([path, { dev }]) => path.endsWith(`node_modules/${name}`) && dev !== true)
    .map(([, { version }]) => version ?? '')
}

function isAtLeast(version: string, floor: string): boolean {
  const [a, b] = [version, floor].map(text => text.split('-')[0]?.split('.').map(Number) ?? [])
  for (let i = 0; i < 3; i++) {
    const difference = (a?.[i] ?? 0) - (b?.[i] ?? 0)
    if (difference !== 0) return difference > 0
  }
  return !version.includes('-')
}

t.test('versions are compared as numbers, and a pre-release is below its release', async t => {
  t.ok(isAtLeast('9.10.0', '9.7.0'))
  t.ok(isAtLeast('9.7.0', '9.7.0'))
  t.notOk(isAtLeast('9.6.99', '9.7.0'))
  t.notOk(isAtLeast('8.99.0', '9.7.0'))
  t.notOk(isAtLeast('9.7.0-rc.1', '9.7.0'))
})

t.test('no copy of a package in the lockfile is below its floor', async t => {
  for (const [name, floor] of Object.entries(floors)) {
    const versions = versionsOf(name)
    if (!optional.has(name)) t.ok(versions.length > 0, `${name} is there`)
    for (const version of versions) t.ok(isAtLeast(version, floor), `${name} ${version} is at least ${floor}`)
  }
})

t.test('the lockfile names no registry, so that it installs from whichever one is configured', async t => {
  t.notMatch(text, /"resolved"/)
  t.notMatch(text, /https?:\/\/[^"]*registry/)
})

// The linter's builds for other platforms are in the lockfile by hand, where the registry at hand has only ours.
t.test('every package of the lockfile that is always installed has its checksum', async t => {
  const without = Object.entries(packages)
    .filter(
      ([path, entry]) =>
        path !== '' &&
        !('optional' in entry) &&
        !('integrity' in entry) &&
        !('link' in entry) &&
        !('inBundle' in entry)
    )
    .map(([path]) => path)
  t.same(without, [])
})
