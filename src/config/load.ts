import { createHash } from 'node:crypto'
import type { Surroundings } from './checks/context.ts'
import { ConfigError } from './config-problem.ts'
import { mergeSources } from './merge.ts'
import type { PluginMap } from './plugin-uses.ts'
import { readSources } from './read.ts'
import type { Config } from './schema.ts'
import { secretFileFault, secretTextNow } from './secret.ts'
import { validateMerged } from './validate.ts'

export { ConfigError, type ConfigProblem, formatProblem } from './config-problem.ts'

export interface LoadOptions {
  /** The plugins that the configuration may name. */
  plugins: PluginMap
  /** Where `{ env: NAME }` is looked up; `process.env` when left out. */
  env?: Readonly<Record<string, string | undefined>>
  /** `ignore` judges a configuration away from its secrets, e.g. in a pipeline. */
  secrets?: 'require' | 'ignore'
}

export interface LoadedConfig {
  config: Config
  /** SHA-256 of the merged content, in hex: comments, order of files and layout do not count. */
  hash: string
  /** The files that were read, in the order in which they were merged. */
  files: string[]
}

/** Path of a file or folder > configuration. Rejects with a `ConfigError` that has every problem. */
export async function loadConfig(path: string, options: LoadOptions): Promise<LoadedConfig> {
  const { sources, problems } = await readSources(path)
  // What is missing from a file that cannot be read would look like mistakes in the others.
  if (problems.length > 0) throw new ConfigError(problems)
  const merged = mergeSources(sources)
  const env = options.env ?? process.env
  const surroundings: Surroundings = {
    env,
    fileFault: secretFileFault,
    secretText: ref => secretTextNow(ref, env)
  }
  const { config, errors } = validateMerged(
    merged,
    options.plugins,
    options.secrets === 'ignore' ? undefined : surroundings
  )
  if (errors) throw new ConfigError(errors)
  return { config, hash: hashOf(merged.value), files: merged.files }
}

function hashOf(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex')
}
