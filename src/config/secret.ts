import { readFileSync, statSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import type { SecretRef } from './shapes.ts'

type Environment = Readonly<Record<string, string | undefined>>

/** No secret of ours is larger; a reference to something else must not fill the memory. */
const largest = 1024 * 1024

/**
 * The secret behind a reference. One newline at the end of a file is not part of it. Rejects when there is none or it is
 * empty, with a message that holds only the name or path.
 */
export async function readSecret(ref: SecretRef, env: Environment = process.env): Promise<string> {
  if ('env' in ref) return nonEmpty(env[ref.env], ref)
  const content = await readFile(ref.file).catch(error => {
    throw new Error(`${describeSecret(ref)} cannot be read`, { cause: error })
  })
  return nonEmpty(secretText(content), ref)
}

/** `env NAME` or `file PATH`: what may be printed of a secret. */
export function describeSecret(ref: SecretRef): string {
  return 'env' in ref ? `environment variable ${ref.env}` : `file ${ref.file}`
}

/** Null when the file holds a secret that can be read, else what is wrong, e.g. `cannot be read (ENOENT)`. */
export function secretFileFault(path: string): string | null {
  try {
    const { size } = statSync(path)
    if (size > largest) return 'is larger than 1 MiB'
    return secretText(readFileSync(path)) === '' ? 'is empty' : null
  } catch (error) {
    return `cannot be read (${(error as NodeJS.ErrnoException).code ?? 'unknown error'})`
  }
}

/** As `readSecret`, for whoever judges a configuration: null when there is none, and nothing of a file that is no secret. */
export function secretTextNow(ref: SecretRef, env: Environment): string | null {
  if ('env' in ref) return env[ref.env] || null
  return secretFileFault(ref.file) === null ? secretText(readFileSync(ref.file)) : null
}

function secretText(content: Buffer): string {
  return content.toString('utf8').replace(/\r?\n$/, '')
}

function nonEmpty(value: string | undefined, ref: SecretRef): string {
  if (value === undefined) throw new Error(`${describeSecret(ref)} is not set`)
  if (value === '') throw new Error(`${describeSecret(ref)} is empty`)
  return value
}
