import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Command } from './peers/peer.ts'
import { type Core, onCore } from './runtime.ts'

/** A program of the benchmark that runs. */
export interface Instance {
  readonly pid: number
  readonly port: number
  stop(): Promise<void>
}

const startTimeout = 20_000

/** A port of this machine that nobody listens on. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

/** Starts a command on a core; resolves once its port takes connections, and rejects with what it said when it ends. */
export async function startInstance(
  command: Command,
  core: Core,
  port: number,
  folder: string
): Promise<Instance> {
  mkdirSync(folder, { recursive: true })
  const reader = command.logs === true ? startLogReader(join(folder, 'log')) : null
  const errorFile = join(folder, 'stderr')
  const errors = openSync(errorFile, 'w')
  const [file, ...args] = onCore(core, command.argv)
  const child = spawn(file as string, args, {
    cwd: folder,
    env: { ...process.env, ...command.env },
    stdio: ['ignore', reader === null ? errors : reader.input, errors]
  })
  closeSync(errors)
  if (reader !== null) closeSync(reader.input)
  const ended = once(child, 'exit')
  const stop = async () => {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGTERM')
      const inTime = await Promise.race([ended.then(() => true), delay(5000, false, { ref: false })])
      if (!inTime) child.kill('SIGKILL')
      await ended
    }
    reader?.process.kill()
  }
  try {
    await untilItListens(child, port, errorFile)
  } catch (error) {
    await stop()
    throw error
  }
  return { pid: child.pid as number, port, stop }
}

/** A real pipe, as a container runtime gives one: Node's own `pipe` is a socket. */
function startLogReader(fifo: string): { process: ChildProcess; input: number } {
  spawnSync('mkfifo', [fifo])
  const [file, ...args] = onCore('world', ['sh', '-c', `exec cat < '${fifo}' > /dev/null`])
  const reader = spawn(file as string, args, { stdio: 'ignore' })
  // Waits for the reader to open its end.
  return { process: reader, input: openSync(fifo, 'w') }
}

async function untilItListens(child: ChildProcess, port: number, errorFile: string): Promise<void> {
  const deadline = performance.now() + startTimeout
  while (!(await takesConnections(port))) {
    if (child.exitCode !== null || performance.now() > deadline) {
      throw new Error(`${child.spawnargs.join(' ')} does not listen:\n${readFileSync(errorFile, 'utf8')}`)
    }
    await delay(50)
  }
}

function takesConnections(port: number): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect(port, '127.0.0.1')
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}
