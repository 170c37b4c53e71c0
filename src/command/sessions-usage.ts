import { type Command, InvalidArgumentError, Option } from 'commander'
import type { SessionsOptions } from './sessions.ts'

const help = `
It asks a running gateway, whose admin listener answers this to callers on its own machine alone: run it in the pod, or through
kubectl port-forward.

Exit codes: 0 done, 1 the gateway does not answer, or has no such session, 64 bad usage.

Examples:
  $ sallyport sessions list --issuer corp --subject ada
  $ sallyport sessions end --issuer corp --subject ada
  $ kubectl exec deploy/gateway -- node /app/dist/src/main.js sessions list`

/** The words `sessions list` and `sessions end`. */
export function addSessionsCommand(program: Command): void {
  const sessions = program
    .command('sessions')
    .description('Who is signed in at a running gateway, and the end of it.')
    .addHelpText('after', help)
  withCommonOptions(sessions.command('list'))
    .description('Lists sessions: handle, issuer, subject, email, host, since when and until when at most.')
    .option('--limit <count>', 'most sessions, up to 1000; default: 100')
    .action(list)
  withCommonOptions(sessions.command('end'))
    .description('Ends one session by its handle, or all sessions of a person with an issuer.')
    .argument('[handle]', 'of the session, from the list')
    .action(end)
}

function withCommonOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--admin <url>', 'where the admin listener is')
        .default('http://127.0.0.1:9090')
        .argParser(readOrigin)
    )
    .option('--issuer <name>', 'name of the issuer in the configuration')
    .option('--subject <subject>', 'the person, as the issuer calls them (`sub`)')
    .addOption(
      new Option('--format <format>', 'how the answer is written').choices(['text', 'json']).default('text')
    )
}

function readOrigin(text: string): string {
  const url = URL.parse(text)
  if (url?.protocol === 'http:' && url.pathname === '/' && url.search === '') return url.origin
  throw new InvalidArgumentError('write http://ADDRESS:PORT.')
}

async function list(options: SessionsOptions): Promise<void> {
  const command = await import('./sessions.ts')
  const { output, note } = await command.listSessions(options)
  process.stdout.write(output)
  process.stderr.write(note)
}

async function end(handle: string | undefined, options: SessionsOptions, self: Command): Promise<void> {
  const { issuer, subject } = options
  const isWhole = handle === undefined ? issuer !== undefined && subject !== undefined : true
  const isBoth = handle !== undefined && (issuer !== undefined || subject !== undefined)
  if (!isWhole || isBoth) self.error('error: say which: a handle, or --issuer and --subject')
  const command = await import('./sessions.ts')
  process.stdout.write(await command.endSessions(handle, options))
}
