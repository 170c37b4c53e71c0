import type { Stats } from 'node:fs'
import { type FileHandle, open, readFile, realpath, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { isSeq, parseDocument } from 'yaml'
import { digestOfKey, makeKey } from '../../plugins/api-key/key.ts'
import { KeyFileError, parseKeyFile } from '../../plugins/api-key/key-file.ts'
import { ConfigError } from '../config/config-problem.ts'

export interface AddKeyOptions {
  file: string
  owner: string
  scopes?: readonly string[]
  groups?: readonly string[]
  /** `2027-01-31` or `2027-01-31T12:00:00Z`. */
  expires?: string
}

const emptyFile = `# Keys of the plugin api-key. Who has this file has no key: it holds hashes. Take an entry out to revoke its key.
keys: []
`

/**
 * `sallyport keys add`: makes a key and writes its hash to the file, whole or not at all.
 * @returns the key, which is nowhere else from then on
 */
export async function addKey({ file, owner, scopes, groups, expires }: AddKeyOptions): Promise<string> {
  const { id, key } = makeKey()
  const entry = {
    id,
    hash: `sha256:${digestOfKey(key).toString('hex')}`,
    owner,
    ...(scopes && { scopes }),
    ...(groups && { groups }),
    ...(expires !== undefined && { expires })
  }
  // A link stays one.
  await rewrite(await realpath(file).catch(() => file), text => {
    readKeys(text, file)
    const next = append(text, entry)
    // What the options of the command line have made of it is judged as anything in the file is.
    const expiresAt = readKeys(next, file).get(id)?.identity.expiresAt ?? null
    if (expiresAt !== null && expiresAt <= Date.now()) over(file)
    return next
  })
  return key
}

/** `sallyport keys list`: one line for each key, without its hash. */
export async function listKeys({ file }: { file: string }): Promise<string> {
  const keys = readKeys((await readIfThere(file))?.text ?? missing(file), file)
  const lines = [...keys.values()].map(({ id, identity }) => {
    const { subject, scopes, groups, expiresAt } = identity
    const until = expiresAt === null ? 'never' : new Date(expiresAt).toISOString()
    return [id, subject, `scopes=${scopes.join(',')}`, `groups=${groups.join(',')}`, `expires=${until}`].join(
      '\t'
    )
  })
  return lines.map(line => `${line}\n`).join('')
}

function append(text: string, entry: Record<string, unknown>): string {
  const document = parseDocument(text)
  const node = document.createNode(entry)
  for (const name of ['scopes', 'groups']) {
    const list = node.get(name)
    if (isSeq(list)) list.flow = true
  }
  const keys = document.get('keys')
  if (!isSeq(keys)) throw new Error('keys is not a list')
  if (keys.items.length === 0) keys.flow = false
  keys.add(node)
  return document.toString({ lineWidth: 0 })
}

function readKeys(text: string, file: string): ReturnType<typeof parseKeyFile> {
  try {
    return parseKeyFile(text, file)
  } catch (error) {
    if (!(error instanceof KeyFileError)) throw error
    throw new ConfigError(error.problems.map(problem => ({ ...problem, file })))
  }
}

interface Before {
  readonly text: string
  readonly stats: Stats
}

async function readIfThere(path: string): Promise<Before | null> {
  try {
    return { text: await readFile(path, 'utf8'), stats: await stat(path) }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw error
  }
}

function over(file: string): never {
  const message = 'is over: nobody could use the key'
  throw new ConfigError([{ file, line: 1, col: 1, path: 'expires', message, remedy: 'write a day to come' }])
}

function missing(file: string): never {
  throw new ConfigError([
    { file, line: 1, col: 1, path: '(file)', message: 'is not there', remedy: 'check the path' }
  ])
}

/**
 * A reader sees the old file or the new one. The name of the new one is fixed and taken first, so that of two writers at once
 * none loses what the other has written.
 */
async function rewrite(path: string, change: (text: string) => string): Promise<void> {
  const next = join(dirname(path), `.${basename(path)}.new`)
  const handle = await open(next, 'wx', 0o600).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error
    throw new Error(`${next} is there: another \`keys add\` is at work, or was interrupted. Then remove it.`)
  })
  try {
    try {
      const before = await readIfThere(path)
      await handle.writeFile(change(before?.text ?? emptyFile))
      if (before !== null) await keepAccess(handle, before.stats, path)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(next, path)
  } catch (error) {
    await rm(next, { force: true })
    throw error
  }
}

/** Who could read the old file reads the new one, and nobody else: a gateway must not lose its keys because root has added one. */
async function keepAccess(handle: FileHandle, { uid, gid, mode }: Stats, path: string): Promise<void> {
  const own = await handle.stat()
  if (own.uid !== uid || own.gid !== gid) {
    await handle.chown(uid, gid).catch((cause: Error) => {
      throw new Error(`${path} belongs to user ${uid} and group ${gid}: run this as that user.`, { cause })
    })
  }
  await handle.chmod(mode & 0o777)
}
