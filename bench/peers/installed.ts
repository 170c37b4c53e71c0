import { spawnSync } from 'node:child_process'
import { existsSync, globSync } from 'node:fs'
import { homedir } from 'node:os'
import { delimiter, join } from 'node:path'

/** Path of a program of the system; null when there is none. Debian keeps servers out of an ordinary user's PATH. */
export function findProgram(name: string): string | null {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin']
  return folders.map(folder => join(folder, name)).find(path => existsSync(path)) ?? null
}

/** Path of a program that scripts/tools/bench.sh has put aside; null when there is none. */
export function findWheelProgram(pattern: string): string | null {
  const cache = process.env.XDG_CACHE_HOME || join(homedir(), '.cache')
  return (
    globSync(join(cache, 'sallyport', 'bench', pattern))
      .sort()
      .at(-1) ?? null
  )
}

/** What `pattern` finds in the words that a program says of itself. */
export function versionOf(program: string | null, args: readonly string[], pattern: RegExp): string | null {
  if (program === null) return null
  const { stdout, stderr } = spawnSync(program, args, { encoding: 'utf8' })
  return pattern.exec(`${stdout}${stderr}`)?.[1] ?? null
}
