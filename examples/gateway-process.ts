import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

const root = join(import.meta.dirname, '..')

export interface GatewayProcess {
  /** Origins that it answers on. */
  http: string
  h2c: string
  admin: string
  /** Asks it to stop, which lets requests under way end; resolves when it has. */
  stop(): Promise<void>
  /** Rejects when it ends without being asked to. */
  ended: Promise<never>
}

/**
 * Starts the gateway as its users do: `sallyport start --config PATH`, with secrets in its environment. Each line of its log goes to
 * `onLine`.
 */
export async function startGateway(
  config: string,
  secrets: Record<string, string>,
  onLine: (line: string) => void
): Promise<GatewayProcess> {
  const child = spawn(process.execPath, [join(root, 'src/main.ts'), 'start', '--config', config], {
    cwd: root,
    env: { ...process.env, ...secrets, LOG_LEVEL: 'info' },
    stdio: ['ignore', 'pipe', 'pipe'],
    // A group of its own: Ctrl-C is for the demo, which then stops the gateway in order.
    detached: true
  })
  // Whatever ends the demo ends the gateway; one that has ended already does not mind.
  process.on('exit', () => child.kill('SIGKILL'))
  let complaints = ''
  child.stderr.on('data', chunk => {
    complaints += chunk
  })
  let isStopping = false
  const ended = once(child, 'close').then(() => {
    if (isStopping) return new Promise<never>(() => {})
    throw new Error(`The gateway has ended.\n${complaints}`)
  })
  const addresses = await Promise.race([readAddresses(child, onLine), ended])
  return {
    ...addresses,
    ended,
    async stop() {
      if (isStopping || child.exitCode !== null) return
      isStopping = true
      child.kill('SIGTERM')
      await once(child, 'close')
    }
  }
}

/** The log says where each listener is, which matters where the port is left to the system. */
function readAddresses(
  child: ChildProcess,
  onLine: (line: string) => void
): Promise<Pick<GatewayProcess, 'http' | 'h2c' | 'admin'>> {
  return new Promise(resolve => {
    const found: Partial<Record<'http' | 'h2c' | 'admin', string>> = {}
    createInterface({ input: child.stdout! }).on('line', line => {
      onLine(line)
      const [, listener, origin] = /"(http|h2c|admin) listening on ([^"]+)"/.exec(line) ?? []
      if (listener === undefined || origin === undefined) return
      found[listener as keyof typeof found] = origin
      const { http, h2c, admin } = found
      if (http && h2c && admin) resolve({ http, h2c, admin })
    })
  })
}
