import { readFile } from 'node:fs/promises'
import { buffer } from 'node:stream/consumers'
import { builtins } from '../../plugins/index.ts'
import { loadConfig } from '../config/load.ts'
import type { Config } from '../config/schema.ts'
import { Explainer } from '../explain/explainer.ts'
import { faultOf, type Question } from '../explain/question.ts'
import { formatExplanation } from '../explain/text.ts'
import { createLog } from '../log.ts'
import type { Protocol } from '../outcome.ts'
import { loadPlugins } from '../plugin/load.ts'
import { Registry } from '../registry.ts'
import { Services } from '../services.ts'

/** What `sallyport explain` takes from the command line. */
export interface ExplainOptions {
  readonly config: string
  readonly plugins?: string
  readonly format: 'text' | 'json'
  readonly header?: readonly (readonly [string, string])[]
  readonly token?: string
  readonly clientIp?: string
  readonly host?: string
  readonly protocol: Protocol
  /** A file, or `-` for standard input. */
  readonly body?: string
}

/** The question cannot be put: bad usage. */
export class BadQuestion extends Error {}

/**
 * `sallyport explain`: what a gateway that has just started with this configuration does with a request.
 * @returns the exit code: 0 it is let through, 1 it is refused
 */
export async function explain(method: string, target: string, options: ExplainOptions): Promise<number> {
  const { token, clientIp, host, protocol } = options
  const body = options.body === undefined ? undefined : await readBody(options.body)
  const question: Question = {
    method,
    target,
    headers: options.header,
    token,
    clientIp,
    host,
    protocol,
    body
  }
  const fault = faultOf(question)
  if (fault !== null) throw new BadQuestion(fault)
  const plugins = await loadPlugins(builtins, options.plugins)
  const { config, hash } = await loadConfig(options.config, { plugins, env: process.env })
  const services = new Services(createLog('silent'), new Registry())
  const explainer = await Explainer.create({ config: resting(config), hash, plugins, services })
  const explanation = await explainer.explain(question)
  process.stdout.write(
    options.format === 'json' ? `${JSON.stringify(explanation, null, 2)}\n` : formatExplanation(explanation)
  )
  return explanation.verdict === 'allow' ? 0 : 1
}

async function readBody(path: string): Promise<Buffer> {
  try {
    return path === '-' ? await buffer(process.stdin) : await readFile(path)
  } catch (error) {
    throw new BadQuestion(`the body cannot be read: ${(error as Error).message}`)
  }
}

/** The same, with upstreams that nobody looks after: no health check is made, and no name is resolved. */
function resting(config: Config): Config {
  const upstreams = Object.entries(config.upstreams).map(([name, { healthCheck: _, ...upstream }]) => [
    name,
    { ...upstream, resolve: 'service' as const }
  ])
  return { ...config, upstreams: Object.fromEntries(upstreams) }
}
