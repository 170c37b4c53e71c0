import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { findProgram, versionOf } from '../peers/installed.ts'
import { node, onCore, target } from '../runtime.ts'

/** What the load generator saw. */
export interface LoadResult {
  requests: number
  /** Bytes of all answers, heads included. */
  bytes: number
  /** Answers that were not 2xx or 3xx, connections that failed, answers that did not come. */
  failures: number
  seconds: number
}

export interface Load {
  port: number
  connections: number
  seconds: number
  /** File with one token a line, sent in turn; null: requests carry none. */
  tokens: string | null
}

const run = promisify(execFile)
const program = findProgram('wrk')
const script = join(import.meta.dirname, 'wrk.lua')
const own = join(import.meta.dirname, 'generate.ts')

export const generator =
  program === null ? 'bench/load/generate.ts' : `wrk ${versionOf(program, ['-v'], /wrk (?:debian\/)?(\S+)/)}`

/** Puts load on a port, from the core that the gateway is not on. */
export async function applyLoad(load: Load): Promise<LoadResult> {
  const tokens = load.tokens === null ? [] : [load.tokens]
  const argv =
    program === null
      ? [node, own, JSON.stringify(load)]
      : [
          program,
          ...['-t', '1', '-c', String(load.connections), '-d', `${load.seconds}s`, '-s', script],
          `http://127.0.0.1:${load.port}${target}`,
          ...(tokens.length === 0 ? [] : ['--', ...tokens])
        ]
  const [command, ...args] = onCore('world', argv)
  const { stdout } = await run(command as string, args)
  // wrk prints a summary of its own first.
  return JSON.parse(stdout.trim().split('\n').at(-1) as string) as LoadResult
}
