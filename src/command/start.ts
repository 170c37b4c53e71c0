import { setFlagsFromString } from 'node:v8'
import closeWithGrace from 'close-with-grace'
import type { Env } from '../config/env.ts'
import { Gateway } from '../gateway.ts'
import { createLog } from '../log.ts'

/** `sallyport start`: a gateway that lives as long as its process, and the signals that it hears. */
export async function start(options: { config: string; plugins?: string }, env: Env): Promise<void> {
  // After some 100 s of rest V8 would give memory back, and most of the compiled code goes with it: the next burst costs
  // twice for its first 100,000 requests (bench/README.md). The memory has to be there for a burst anyway.
  setFlagsFromString('--memory-reducer-gc-count=0')
  const log = createLog(env.logLevel)
  const gateway = new Gateway({ config: options.config, plugins: options.plugins, log })
  process.on('SIGHUP', () => {
    log.info({ signal: 'SIGHUP' }, 'asked to reload')
    void gateway.reload()
  })
  // A promise that some plugin has forgotten costs nobody else's request. What is thrown where nobody can catch it may
  // have left anything half done: then the process drains and ends.
  process.on('unhandledRejection', err => log.error({ err }, 'a promise was rejected and nobody cared'))
  let isStopping = false
  // The drain keeps its own deadlines; the delay here only catches one that hangs.
  const grace = closeWithGrace(
    {
      delay: 600_000,
      logger: false,
      skip: ['SIGHUP', 'beforeExit', 'unhandledRejection'],
      onSecondSignal: signal => log.fatal({ signal }, 'asked to stop again: ending at once')
    },
    async ({ signal, err }) => {
      isStopping = true
      if (err !== undefined) log.fatal({ err }, 'an error that nobody caught')
      else log.info({ signal }, 'asked to stop')
      // A rejection makes the exit code 1.
      if (!(await gateway.drain())) throw new Error('requests were cut off')
      log.info('stopped')
    }
  )
  try {
    await gateway.start()
  } catch (error) {
    // The start was given up because the process is to end: whoever asked for that ends it.
    if (isStopping) return
    grace.uninstall()
    throw error
  }
}
