import { builtins } from '../../plugins/index.ts'
import { loadConfig } from '../config/load.ts'
import { loadPlugins } from '../plugin/load.ts'

/**
 * `sallyport check`: everything that `start` reads, and nothing that it opens.
 * @returns what to say when it is fine
 */
export async function check(options: { config: string; plugins?: string }): Promise<string> {
  const plugins = await loadPlugins(builtins, options.plugins)
  const { config } = await loadConfig(options.config, { plugins, env: process.env })
  const parts = [count(config.routes, 'route'), count(config.upstreams, 'upstream')]
  return `${options.config}: fine, ${parts.join(', ')}\n`
}

function count(things: object, noun: string): string {
  const { length } = Object.keys(things)
  return `${length} ${noun}${length === 1 ? '' : 's'}`
}
