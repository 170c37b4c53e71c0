#!/usr/bin/env node
import closeWithGrace from 'close-with-grace'
import { Command, CommanderError, Option } from 'commander'
import { builtins } from '../plugins/index.ts'
import { readEnv } from './config/env.ts'
import { ConfigError, loadConfig } from './config/load.ts'
import { Gateway } from './gateway.ts'
import { createLog } from './log.ts'
import { loadPlugins, PluginLoadError } from './plugin/load.ts'
import { version } from './version.ts'

/** Exit codes: public interface. */
export const exitCodes = Object.freeze({ ok: 0, failed: 1, badConfig: 2, usage: 64 })

interface Options {
  config: string
  plugins?: string
}

const defaultConfig = 'routes/gateway.yaml'
const environment = readEnv(process.env)

function program(): Command {
  const command = new Command('sallyport')
    .description('An API gateway that is the only door.')
    .version(version)
    .exitOverride()
    .addHelpText(
      'after',
      '\nExit codes: 0 fine, 1 failed while running, 2 bad configuration or plugin, 64 bad usage.'
    )
  command
    .command('start', { isDefault: true })
    .description('Starts the gateway and reloads it when its configuration changes (or on SIGHUP).')
    .addOption(configOption())
    .addOption(pluginsOption())
    .action(start)
  command
    .command('check')
    .description(
      'Reads the configuration and says everything that is wrong with it, without starting anything.'
    )
    .addOption(configOption())
    .addOption(pluginsOption())
    .action(check)
  return command
}

function configOption(): Option {
  return new Option('-c, --config <path>', 'YAML file, or folder of them').default(
    environment.configPath ?? defaultConfig
  )
}

function pluginsOption(): Option {
  const option = new Option('-p, --plugins <folder>', 'folder of custom plugins (.js, .mjs, .ts)')
  return environment.pluginFolder === undefined ? option : option.default(environment.pluginFolder)
}

async function start(options: Options): Promise<void> {
  const log = createLog(environment.logLevel)
  const gateway = new Gateway({ config: options.config, plugins: options.plugins, log })
  process.on('SIGHUP', () => void gateway.reload())
  await gateway.start()
  // The drain keeps its own deadlines; the delay here only catches one that hangs.
  closeWithGrace(
    { delay: 600_000, logger: false, skip: ['SIGHUP', 'beforeExit'] },
    async ({ signal, err }) => {
      if (err !== undefined) {
        log.fatal({ err }, 'an error that nobody caught')
        return gateway.close()
      }
      log.info({ signal }, 'asked to stop')
      // A rejection makes the exit code 1: some request was cut off.
      if (!(await gateway.drain())) throw new Error('the drain deadline has passed')
      log.info('stopped')
    }
  )
}

async function check(options: Options): Promise<void> {
  const plugins = await loadPlugins(builtins, options.plugins)
  const { config } = await loadConfig(options.config, { plugins, env: process.env })
  const routes = Object.keys(config.routes).length
  const upstreams = Object.keys(config.upstreams).length
  process.stdout.write(`${options.config}: fine, ${routes} routes, ${upstreams} upstreams\n`)
}

function exitCodeOf(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage
  if (error instanceof ConfigError || error instanceof PluginLoadError) {
    process.stderr.write(`${error.message}\n`)
    return exitCodes.badConfig
  }
  process.stderr.write(`${sentenceOf(error as SystemError)}\n`)
  return exitCodes.failed
}

type SystemError = NodeJS.ErrnoException & { address?: string; port?: number }

function sentenceOf({ code, address, port, message }: SystemError): string {
  if (code !== 'EADDRINUSE') return message
  return `Port ${port} of ${address} is taken. End what listens there, or change \`listeners\` in the configuration.`
}

try {
  await program().parseAsync()
} catch (error) {
  process.exitCode = exitCodeOf(error)
}
