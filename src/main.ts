#!/usr/bin/env node
import { relative } from 'node:path'
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander'
import type { ExplainOptions } from './command/explain.ts'
import type { AddKeyOptions } from './command/keys.ts'
import type { ReachOptions, VerifyOptions } from './command/perimeter.ts'
import { addSessionsCommand } from './command/sessions-usage.ts'
import { ConfigError } from './config/config-problem.ts'
import { type Env, readEnv } from './config/env.ts'
import { headerOf } from './explain/question.ts'
import { PluginLoadError } from './plugin/load.ts'
import { packageFile, version } from './version.ts'

// Short buffers are cut from shared ones, of 64 KiB since Node 25: the four bytes of a frame's head that wait for a slow
// client kept 64 KiB each. This is what it was before.
Buffer.poolSize = 8192

/** Exit codes: public interface, and part of `--help`. */
const exitCodes = Object.freeze({ ok: 0, failed: 1, badConfig: 2, usage: 64 })

const afterHelp = `
Without a command, sallyport starts.

Environment: LOG_LEVEL (fatal, error, warn, info, debug, trace, silent; default info), SALLYPORT_CONFIG and
SALLYPORT_PLUGINS (where --config and --plugins are not given).

Signals: SIGHUP reloads. SIGTERM and SIGINT drain: not ready, still serving, then closing; a second one ends at once.

Exit codes:
  0   stopped with every request answered; or the configuration is fine
  1   could not start (a port is taken), or requests had to be cut off at the drain deadline
  2   bad configuration or plugin; standard error has one line for each mistake
  64  bad usage: an unknown command or option, or an environment variable that cannot be used`

const startHelp = `
Examples:
  $ sallyport start --config gateway.yaml
  $ sallyport start --config /etc/sallyport/conf.d --plugins /etc/sallyport/plugins`

const checkHelp = `
Example:
  $ sallyport check --config gateway.yaml && kubectl apply -k .`

const verifyHelp = `
Exit codes:
  0   proven: only the gateway reaches its upstreams, now and whatever pods may come
  1   refuted: the output names a way around the gateway, and the policy that allows it
  2   not proven: it depends on the network plugin, or on something that is not declared
  3   input that cannot be read

Examples:
  $ sallyport verify --config gateway.yaml --manifests k8s/
  $ helm template gateway helm/sallyport | sallyport verify --config gateway.yaml --manifests - --manifests backends/`

const reachHelp = `
Without --from and --to it prints the whole matrix of declared workloads and ports.

Exit codes: 0 allowed, 1 denied, 2 depends on the network plugin, 3 input that cannot be read.

Example:
  $ sallyport reach --manifests k8s/ --from shop/frontend --to shop/orders --port 8080`

const keysHelp = `
Examples:
  $ sallyport keys add --file keys.yaml --owner billing --scopes orders:read --expires 2027-06-30
  $ sallyport keys list --file keys.yaml`

const explainHelp = `
It goes through the same listener, routes and plugins as a live request, as if the gateway had just started. No upstream is called;
keys of issuers are fetched. Without --body no body follows: one that is only announced (content-length) is judged by its length.

Exit codes: 0 allowed, 1 denied, 2 bad configuration or plugin, 64 bad usage.

Examples:
  $ sallyport explain --config gateway.yaml GET /orders/7
  $ sallyport explain --config gateway.yaml --token "$TOKEN" --client-ip 192.0.2.7 --host api.example.com POST /orders
  $ sallyport explain --config gateway.yaml --header 'content-type: application/json' --body order.json POST /orders`

interface Options {
  config: string
  plugins?: string
}

class UsageError extends Error {}

function program(env: Env): Command {
  const command = new Command('sallyport')
    .description('An API gateway that is the only door.')
    .version(version)
    .exitOverride()
    .addHelpText('after', afterHelp)
  command
    .command('start')
    .description('Starts the gateway and reloads it when its configuration changes (or on SIGHUP).')
    .addOption(configOption(env))
    .addOption(pluginsOption(env))
    .addHelpText('after', startHelp)
    .action((options: Options) => start(options, env))
  command
    .command('check')
    .description('Reads the configuration and says everything that is wrong with it; starts nothing.')
    .addOption(configOption(env))
    .addOption(pluginsOption(env))
    .addHelpText('after', checkHelp)
    .action(check)
  command
    .command('verify')
    .description(
      'Proves from Kubernetes manifests that the gateway is the only way to its upstreams, or shows the way around.'
    )
    .addOption(configOption(env))
    .addOption(manifestsOption())
    .option('--gateway <pods>', "the gateway's pods, NAMESPACE/key=value,…; default: from its Deployment")
    .option(
      '--perimeter <values>',
      "the chart's `perimeter` values, as YAML; default: from the gateway's Deployment"
    )
    .addOption(
      new Option('--format <format>', 'how the report is written')
        .choices(['text', 'json', 'html'])
        .default('text')
    )
    .option('--output <file>', 'where the report goes; default: standard output')
    .addHelpText('after', verifyHelp)
    .action(verify)
  command
    .command('reach')
    .description('Says whether a connection may be made, and which policy and rule says so at each end.')
    .addOption(manifestsOption())
    .option('--from <end>', 'NAMESPACE/POD, NAMESPACE/label=value,… for a pod that may come, or an address')
    .option('--to <end>', 'likewise')
    .addOption(new Option('--port <port>', "the pod's port").argParser(readPort))
    .addOption(
      new Option('--protocol <protocol>', 'transport').choices(['TCP', 'UDP', 'SCTP']).default('TCP')
    )
    .addOption(
      new Option('--format <format>', 'how the answer is written').choices(['text', 'json']).default('text')
    )
    .addHelpText('after', reachHelp)
    .action(reach)
  addExplainCommand(command, env)
  addKeysCommand(command)
  addSessionsCommand(command)
  return command
}

function addKeysCommand(program: Command): void {
  const keys = program
    .command('keys')
    .description('Keys of the plugin api-key: makes them, and keeps the file of their hashes.')
    .addHelpText('after', keysHelp)
  keys
    .command('add')
    .description('Makes a key, appends its hash to the file, and prints the key. It cannot be shown again.')
    .requiredOption('-f, --file <path>', 'file of the keys; made if it is not there')
    .requiredOption('-o, --owner <name>', 'whose key it is: the subject of its requests')
    .addOption(new Option('--scopes <list>', 'what it may: a,b').argParser(readList))
    .addOption(new Option('--groups <list>', 'groups that it belongs to: a,b').argParser(readList))
    .option('--expires <date>', '2027-01-31 (its beginning, UTC) or 2027-01-31T12:00:00Z; default: never')
    .action(addKey)
  keys
    .command('list')
    .description('Lists the keys of a file: id, owner, scopes, groups and expiry.')
    .requiredOption('-f, --file <path>', 'file of the keys')
    .action(listKeys)
}

function readList(text: string): string[] {
  return text.split(',').map(item => item.trim())
}

function addExplainCommand(command: Command, env: Env): void {
  command
    .command('explain')
    .description(
      'Says what the gateway would do with a request, and why. Changes nothing and calls no upstream.'
    )
    .argument('<method>', 'e.g. GET')
    .argument('<target>', 'path and query, e.g. /orders/7')
    .addOption(configOption(env))
    .addOption(pluginsOption(env))
    .addOption(
      new Option('--format <format>', 'how the answer is written').choices(['text', 'json']).default('text')
    )
    .addOption(new Option('--header <line>', "'name: value'; may be repeated").argParser(readHeader))
    .option('--token <jwt>', 'access token; sent as Authorization: Bearer')
    .option('--client-ip <address>', 'where the connection comes from; default: 127.0.0.1')
    .option('--host <name>', 'Host of the request; default: localhost')
    .option('--body <file>', 'body of the request, or - for standard input')
    .addOption(
      new Option('--protocol <protocol>', 'how it is sent: HTTP/1.1, HTTP/2 with gRPC, or a handshake')
        .choices(['http', 'grpc', 'websocket'])
        .default('http')
    )
    .addHelpText('after', explainHelp)
    .action(explain)
}

function readHeader(line: string, before: (readonly [string, string])[] = []): (readonly [string, string])[] {
  const header = headerOf(line)
  if (header === null) throw new InvalidArgumentError("write 'name: value'.")
  return [...before, header]
}

function manifestsOption(): Option {
  return new Option(
    '-m, --manifests <path>',
    'file or folder of manifests, or - for standard input; may be repeated'
  )
    .argParser((path: string, before: string[] = []) => [...before, path])
    .makeOptionMandatory()
}

function readPort(text: string): number {
  const port = Number(text)
  if (Number.isInteger(port) && port > 0 && port < 65_536) return port
  throw new InvalidArgumentError('write a number from 1 to 65535.')
}

function configOption(env: Env): Option {
  const option = new Option('-c, --config <path>', 'YAML file, or folder of them')
  if (env.configPath !== undefined) return option.default(env.configPath)
  const own = packageFile('routes/gateway.yaml')
  const fromHere = relative(process.cwd(), own)
  return option.default(fromHere.startsWith('..') ? own : fromHere, 'routes/gateway.yaml of sallyport itself')
}

function pluginsOption(env: Env): Option {
  const option = new Option('-p, --plugins <folder>', 'folder of custom plugins (.js, .mjs, .ts)')
  return env.pluginFolder === undefined ? option : option.default(env.pluginFolder)
}

/** The commands are loaded when they run: `--help` and a wrong word need no gateway. */
async function start(options: Options, env: Env): Promise<void> {
  const command = await import('./command/start.ts')
  await command.start(options, env)
}

async function check(options: Options): Promise<void> {
  const command = await import('./command/check.ts')
  process.stdout.write(await command.check(options))
  // A plugin that leaves a timer behind must not keep a finished check.
  process.exit(exitCodes.ok)
}

async function verify(options: VerifyOptions): Promise<void> {
  const command = await import('./command/perimeter.ts')
  process.exitCode = await command.verify(options)
}

async function reach(options: ReachOptions): Promise<void> {
  const command = await import('./command/perimeter.ts')
  process.exitCode = await command.reach(options)
}

async function addKey(options: AddKeyOptions): Promise<void> {
  const command = await import('./command/keys.ts')
  const key = await command.addKey(options)
  // Alone on standard output: KEY=$(sallyport keys add …).
  process.stdout.write(`${key}\n`)
}

async function listKeys(options: { file: string }): Promise<void> {
  const command = await import('./command/keys.ts')
  process.stdout.write(await command.listKeys(options))
}

async function explain(method: string, target: string, options: ExplainOptions): Promise<void> {
  const command = await import('./command/explain.ts')
  try {
    // Keys that are looked after, and plugins with timers, must not keep a finished answer.
    process.exit(await command.explain(method, target, options))
  } catch (error) {
    throw error instanceof command.BadQuestion ? new UsageError(error.message) : error
  }
}

/** `sallyport` and `sallyport --config PATH` mean `start`; an unknown word stays what it is and is refused. */
function withVerb(args: readonly string[]): readonly string[] {
  const [first] = args
  const isForProgram = first !== undefined && ['-h', '--help', '-V', '--version'].includes(first)
  return first === undefined || (first.startsWith('-') && !isForProgram) ? ['start', ...args] : args
}

function environment(): Env {
  try {
    return readEnv(process.env)
  } catch (error) {
    throw new UsageError((error as Error).message)
  }
}

function exitCodeOf(error: unknown): number {
  // Commander has said what is wrong already.
  if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage
  const { message } = error as Error
  if (error instanceof ConfigError) {
    process.stderr.write(`${message}\n`)
    return exitCodes.badConfig
  }
  process.stderr.write(`${message.replaceAll(/\s*\n\s*/g, ' ')}\n`)
  if (error instanceof PluginLoadError) return exitCodes.badConfig
  return error instanceof UsageError ? exitCodes.usage : exitCodes.failed
}

try {
  await program(environment()).parseAsync(withVerb(process.argv.slice(2)), { from: 'user' })
} catch (error) {
  // Not `process.exitCode`: what a plugin has left behind must not keep a process that has failed.
  process.exit(exitCodeOf(error))
}
