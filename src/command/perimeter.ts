import { type ReachArgs, runReach } from '../perimeter/reach.ts'
import type { CommandResult, VerifyArgs } from '../perimeter/verify.ts'
import { runVerify } from '../perimeter/verify.ts'

/** What `sallyport verify` takes from the command line. */
export type VerifyOptions = Omit<VerifyArgs, 'stdin' | 'config'> & { config: string }

/** What `sallyport reach` takes from the command line; `port` has been read as a number. */
export type ReachOptions = Omit<ReachArgs, 'stdin'>

/** @returns the exit code: 0 proven, 1 refuted, 2 not proven, 3 input that cannot be read */
export async function verify(options: VerifyOptions): Promise<number> {
  return print(await runVerify(options))
}

/** @returns the exit code: 0 allowed, 1 denied, 2 depends on the CNI, 3 input that cannot be read */
export async function reach(options: ReachOptions): Promise<number> {
  return print(await runReach(options))
}

const badInput = 3

function print({ exitCode, output }: CommandResult): number {
  const stream = exitCode === badInput ? process.stderr : process.stdout
  stream.write(output)
  return exitCode
}
