import { nearest } from './nearest.ts'
import { suggest } from './words.ts'

/** What the gateway itself takes from its environment. Everything else is configuration; see `.env.example`. */
export interface Env {
  /** Least severe log line that is written. Default `info`. */
  logLevel: LogLevel
  /** File or folder of the configuration. */
  configPath: string | undefined
  /** Folder of custom plugins. */
  pluginFolder: string | undefined
}

export const logLevels = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const
export type LogLevel = (typeof logLevels)[number]

/** Throws an error with one line per variable that cannot be used. */
export function readEnv(env: Readonly<Record<string, string | undefined>> = process.env): Env {
  const level = env.LOG_LEVEL || 'info'
  if (!isLogLevel(level)) {
    throw new Error(
      `LOG_LEVEL  ${JSON.stringify(level)} is not a log level  ${suggest(nearest(level, logLevels), logLevels)}`
    )
  }
  return {
    logLevel: level,
    // An empty variable is how a container template says "not set".
    configPath: env.SALLYPORT_CONFIG || undefined,
    pluginFolder: env.SALLYPORT_PLUGINS || undefined
  }
}

function isLogLevel(text: string): text is LogLevel {
  return (logLevels as readonly string[]).includes(text)
}
