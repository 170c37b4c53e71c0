import { execFileSync } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { findProgram } from './peers/installed.ts'

/** The checkout. */
export const root = fileURLToPath(new URL('..', import.meta.url))

/** Every Node program of the comparison runs on the Node that runs this one. */
export const node = process.execPath

/** What every request asks for. */
export const target = '/orders/17'

/** The answer of the upstream: 1 KB. */
export const body = 'sallyport benchmark body '.repeat(41).slice(0, 1023).concat('\n')

const taskset = availableParallelism() >= 2 ? findProgram('taskset') : null

/** Whether the gateway under test gets a core of its own. */
export const isPinned = taskset !== null

/** The core of the gateway under test, and that of everything else. */
const cores = { gateway: '1', world: '0' } as const

export type Core = keyof typeof cores

/** Puts a command on one core. */
export function onCore(core: Core, argv: readonly string[]): string[] {
  return taskset === null ? [...argv] : [taskset, '--cpu-list', cores[core], ...argv]
}

/** Puts this process, and what it starts from here on, on one core. */
export function pinMyself(core: Core): void {
  if (taskset === null) return
  execFileSync(taskset, ['--all-tasks', '--cpu-list', '--pid', cores[core], String(process.pid)], {
    stdio: 'ignore'
  })
}
