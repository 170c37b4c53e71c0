import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'

/** Whoever tries to connect: a pod, or the client outside of the cluster. */
export type Client = { namespace: string; name: string } | 'outside'

export interface Answer {
  status?: number
  /** `dropped` where nothing came back. */
  error?: string
  headers?: Record<string, string>
  body?: string
}

interface Ran {
  code: number | null
  stdout: string
  stderr: string
}

/** The command that runs another one on a machine outside of the cluster, which has a route to its pods; none: that row is left out. */
const outside = (process.env.SALLYPORT_OUTSIDE ?? '').split(' ').filter(word => word !== '')

export const hasOutside = outside.length > 0

/** Options of a test that needs a cluster: skipped without one, and a failure where SALLYPORT_NO_SKIP=1. */
export function needsCluster(): { skip?: string } {
  if (process.env.KUBECONFIG || process.env.SALLYPORT_NO_SKIP === '1') return {}
  return { skip: 'skipped: KUBECONFIG names no cluster' }
}

/** Fails when the command does. @returns standard output */
export async function kubectl(args: readonly string[], input = ''): Promise<string> {
  return succeeded(['kubectl', ...args], await run(['kubectl', ...args], input))
}

/** Fails when the command does. @returns standard output */
export async function helm(...args: string[]): Promise<string> {
  return succeeded(['helm', ...args], await run(['helm', ...args]))
}

/** `helm test` with the logs of its pods. */
export async function helmTest(
  release: string,
  namespace: string
): Promise<{ passed: boolean; text: string }> {
  const { code, stdout, stderr } = await run(['helm', 'test', release, '-n', namespace, '--logs'])
  return { passed: code === 0, text: `${stdout}${stderr}` }
}

/** Connects to every target at once, and says for each `open`, `refused`, `dropped`, or the error. */
export function connect(from: Client, targets: readonly (readonly [string, number])[]): Promise<string[]> {
  // Twice the time after which a lost first packet is sent again.
  return inside(from, 'connect', { targets, timeout: 2000 })
}

export function request(
  from: Client,
  url: string,
  options: { headers?: Record<string, string>; until?: number; deadline?: number } = {}
): Promise<Answer> {
  return inside(from, 'request', { url, timeout: 3000, ...options })
}

export interface Counts {
  sent: number
  failed: number
  /** How often by status or error. */
  failures: Record<string, number>
}

/** Requests that go on from a pod until `end()`; resolved once the first hundred are answered. */
export async function startLoad(from: Exclude<Client, 'outside'>, target: object) {
  const child = start(commandOf(from, 'load', target))
  const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]()
  const next = async (): Promise<Counts> => {
    const { value, done } = await lines.next()
    if (done) throw new Error('the load has ended before its time')
    return JSON.parse(value)
  }
  await next()
  return {
    end(): Promise<Counts> {
      child.stdin!.end()
      return next()
    }
  }
}

const programs = new Map<string, string>()

/** Text of a program that runs in pods: they have Node, and nothing of this folder. */
export function programOf(name: string): string {
  let text = programs.get(name)
  if (text === undefined) {
    text = readFileSync(new URL(`pod/${name}.mjs`, import.meta.url), 'utf8')
    programs.set(name, text)
  }
  return text
}

function commandOf(from: Client, program: string, argument: object): string[] {
  const node = ['--input-type=module', '--eval', programOf(program), JSON.stringify(argument)]
  if (from === 'outside') return [...outside, process.execPath, ...node]
  return ['kubectl', 'exec', '-i', '-n', from.namespace, from.name, '--', 'node', ...node]
}

async function inside<T>(from: Client, program: string, argument: object): Promise<T> {
  const command = commandOf(from, program, argument)
  return JSON.parse(succeeded(command.slice(0, 6), await run(command)))
}

function succeeded(command: readonly string[], { code, stdout, stderr }: Ran): string {
  if (code === 0) return stdout
  throw new Error(`${command.join(' ')} ended with ${code}: ${stdout}${stderr}`)
}

function start(command: readonly string[]): ChildProcess {
  // tap loads itself into every Node below it by this variable; `env` hides from tap that the command may be one.
  return spawn('env', ['-u', 'NODE_OPTIONS', ...command], { stdio: 'pipe' })
}

async function run(command: readonly string[], input = ''): Promise<Ran> {
  const child = start(command)
  let stdout = ''
  let stderr = ''
  child.stdout!.setEncoding('utf8').on('data', text => {
    stdout += text
  })
  child.stderr!.setEncoding('utf8').on('data', text => {
    stderr += text
  })
  // A command that does not read its input closes it.
  child.stdin!.on('error', () => {}).end(input)
  const [code] = await once(child, 'close')
  return { code, stdout, stderr }
}
