import { execFile } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { findProgram, versionOf } from '../peers/installed.ts'
import { onCore } from '../runtime.ts'
import { method, service } from './peer.ts'

/** Size of the message in a call and in its answer. */
export const messageSize = 64

/** A message as it stands in DATA: not compressed, its length in four bytes, its bytes (gRPC over HTTP/2, `Length-Prefixed-Message`). */
const frame = Buffer.alloc(5 + messageSize, 'x')
frame.writeUInt8(0, 0)
frame.writeUInt32BE(messageSize, 1)

export const grpcConnections = 8
export const callsPerConnection = 8

export interface CallLoad {
  /** Calls that were answered. */
  readonly calls: number
  readonly seconds: number
}

const run = promisify(execFile)
const program = findProgram('h2load')

export const grpcGenerator =
  program === null ? null : `h2load ${versionOf(program, ['--version'], /nghttp2\/(\S+)/)}`

/**
 * Puts unary calls on a port, from the core that the proxy is not on. Throws when one failed: h2load does not read
 * `grpc-status`, but a refusal brings no message, so the bytes of the answers tell.
 */
export async function applyCalls(
  { port, folder, token }: { port: number; folder: string; token: string | null },
  seconds: number
): Promise<CallLoad> {
  if (program === null) throw new Error('h2load is not installed: scripts/tools/bench.sh')
  const data = join(folder, 'message')
  writeFileSync(data, frame)
  const headers = ['content-type: application/grpc', 'te: trailers']
  if (token !== null) headers.push(`authorization: Bearer ${token}`)
  const [command, ...args] = onCore('world', [
    program,
    ...['-t', '1', '-c', String(grpcConnections), '-m', String(callsPerConnection), '-D', String(seconds)],
    ...['-d', data, ...headers.flatMap(header => ['-H', header])],
    `http://127.0.0.1:${port}/${service}/${method}`
  ])
  const { stdout } = await run(command as string, args)
  return readSummary(stdout, seconds)
}

function readSummary(text: string, seconds: number): CallLoad {
  const count = (pattern: RegExp) => Number(pattern.exec(text)?.[1] ?? Number.NaN)
  const calls = count(/(\d+) succeeded/)
  const failed = count(/(\d+) failed/) + count(/(\d+) errored/)
  const bytes = count(/\((\d+)\) data/)
  // A call under way when the time is over may have brought its message and not yet its trailers.
  if (!(calls > 0) || failed !== 0 || bytes < calls * frame.length) throw new Error(`calls failed:\n${text}`)
  return { calls, seconds }
}
