import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { homedir } from 'node:os'
import { delimiter, join } from 'node:path'

/** Where `scripts/tools/chart.sh` puts its tools; the system's own come after them. */
const cache = process.env.XDG_CACHE_HOME || join(homedir(), '.cache')
const folders = [
  join(process.env.SALLYPORT_TOOLS || join(cache, 'sallyport/tools'), 'bin'),
  ...(process.env.PATH ?? '').split(delimiter)
]

export const root = join(import.meta.dirname, '../..')
export const chart = join(root, 'helm/sallyport')

/** Path of a program, or undefined where it is not installed. */
export function findTool(name: string): string | undefined {
  return folders.map(folder => join(folder, name)).find(path => existsSync(path))
}

/** Options of a test that needs programs: without one it is skipped, and with `SALLYPORT_NO_SKIP=1` it runs, and fails. */
export function needs(...names: string[]): { skip?: string } {
  const missing = names.find(name => findTool(name) === undefined)
  if (missing === undefined || process.env.SALLYPORT_NO_SKIP === '1') return {}
  return { skip: `skipped: ${missing} is not installed` }
}

export interface Ran {
  code: number
  stdout: string
  stderr: string
}

/** Runs a program to its end, whatever its exit code. `input` goes to its standard input. */
export function run(name: string, args: readonly string[], input?: string): Promise<Ran> {
  return new Promise((resolve, reject) => {
    const path = findTool(name)
    if (path === undefined) return reject(new Error(`${name} is not installed: run scripts/tools/chart.sh`))
    const child = execFile(path, args, { maxBuffer: 64 * 1024 * 1024 }, (error, stdout, stderr) => {
      if (error !== null && typeof error.code !== 'number') return reject(error)
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr })
    })
    child.stdin?.on('error', () => {})
    child.stdin?.end(input ?? '')
  })
}
