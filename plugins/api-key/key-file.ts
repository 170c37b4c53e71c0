import { isMap, isNode, LineCounter, parseDocument } from 'yaml'
import type { Identity } from '../../src/identity.ts'

/** One key of the file, ready to be compared with. */
export interface StoredKey {
  readonly id: string
  /** SHA-256 of the key. */
  readonly digest: Buffer
  readonly identity: Identity
}

export interface KeyProblem {
  readonly line: number
  readonly col: number
  /** E.g. `keys[2].hash`. */
  readonly path: string
  /** Never shows a value: it may be a key that somebody has put in the wrong place. */
  readonly message: string
  readonly remedy: string
}

/** The file cannot be used; the message has one line for each problem. */
export class KeyFileError extends Error {
  readonly problems: readonly KeyProblem[]

  constructor(path: string, problems: readonly KeyProblem[]) {
    super(
      problems
        .map(one => `${path}:${one.line}:${one.col}  ${one.path}  ${one.message}  ${one.remedy}`)
        .join('\n')
    )
    this.name = 'KeyFileError'
    this.problems = problems
  }
}

const known = ['id', 'hash', 'owner', 'scopes', 'groups', 'expires']
const idPattern = /^[A-Za-z0-9-]{1,64}$/
const ownerPattern = /^(?=.*\S)[^\p{Cc}]{1,256}$/u
const hashPattern = /^sha256:[0-9a-f]{64}$/
/** RFC 6749, 3.3. */
const scopePattern = /^[\x21\x23-\x5B\x5D-\x7E]+$/
const datePattern = /^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2})?(Z|[+-]\d{2}:\d{2}))?$/

type At = readonly (string | number)[]

/** The keys of a file by their ids. Throws a `KeyFileError` with everything that is wrong with it. */
export function parseKeyFile(text: string, path: string): ReadonlyMap<string, StoredKey> {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, stringKeys: true })
  const problems: KeyProblem[] = []

  function report(at: At, message: string, remedy: string): void {
    problems.push({ ...lines.linePos(offsetOf(at)), path: nameOf(at), message, remedy })
  }

  /** Of what is not there, the nearest that is around it. */
  function offsetOf(at: At): number {
    for (let depth = at.length; depth > 0; depth--) {
      const parent = document.getIn(at.slice(0, depth - 1), true)
      const pair = isMap(parent) ? parent.items.find(item => String(item.key) === at[depth - 1]) : undefined
      const node = pair?.key ?? document.getIn(at.slice(0, depth), true)
      if (isNode(node) && node.range) return node.range[0]
    }
    return 0
  }

  for (const fault of [...document.errors, ...document.warnings]) {
    const message = fault.code === 'DUPLICATE_KEY' ? 'is written twice' : 'is not YAML that can be read'
    problems.push({ ...lines.linePos(fault.pos[0]), path: '(yaml)', message, remedy: 'correct the YAML' })
  }
  if (problems.length > 0) throw new KeyFileError(path, problems)

  const keys = new Map<string, StoredKey>()
  const source = path.slice(path.lastIndexOf('/') + 1)
  for (const [at, entry] of entriesOf(plain(), report).entries()) {
    const stored = readEntry(entry, ['keys', at], source, report)
    if (stored === null) continue
    if (keys.has(stored.id))
      report(['keys', at, 'id'], 'is the id of another key too', 'remove one of the two')
    keys.set(stored.id, stored)
  }
  if (problems.length > 0) throw new KeyFileError(path, problems)
  return keys

  function plain(): unknown {
    try {
      return document.toJS({ maxAliasCount: 100 })
    } catch {
      report([], 'expands aliases that it does not have, or far too often', 'write the keys out')
      return { keys: [] }
    }
  }
}

type Report = (at: At, message: string, remedy: string) => void

function entriesOf(file: unknown, report: Report): readonly unknown[] {
  const { keys, ...others } = isObject(file) ? file : { keys: undefined }
  for (const name of Object.keys(others)) report([name], 'is not a known key', 'write one of: keys')
  if (Array.isArray(keys)) return keys
  report(['keys'], 'is not a list', 'write keys: [], or let `sallyport keys add` write the file')
  return []
}

function readEntry(entry: unknown, at: At, source: string, report: Report): StoredKey | null {
  if (!isObject(entry)) {
    report(at, 'is not a key', 'write id, hash and owner')
    return null
  }
  let isGood = true
  function judge(name: string, isFine: boolean, message: string, remedy: string): void {
    if (isFine) return
    isGood = false
    report([...at, name], message, remedy)
  }

  for (const name of Object.keys(entry))
    judge(name, known.includes(name), 'is not a known key', `write one of: ${known.join(', ')}`)
  const { id, hash, owner, scopes = [], groups = [], expires } = entry
  judge('id', matches(id, idPattern), 'is no id', 'write letters, digits and hyphens, at most 64')
  judge('hash', matches(hash, hashPattern), 'is no hash', 'write sha256: and the SHA-256 of the key in hex')
  judge('owner', matches(owner, ownerPattern), 'names nobody', 'write whose key it is, on one line')
  judge(
    'scopes',
    isListOf(scopes, scopePattern),
    'is no list of scopes',
    'write [a, b], without blanks in them'
  )
  judge('groups', isListOf(groups, ownerPattern), 'is no list of groups', 'write [a, b]')
  const expiresAt = expires === undefined ? null : timeOf(expires)
  judge('expires', expiresAt !== undefined, 'is no date', 'write 2027-01-31 or 2027-01-31T12:00:00Z')
  if (!isGood) return null
  const identity: Identity = Object.freeze({
    kind: 'api-key',
    subject: owner as string,
    issuer: source,
    email: null,
    scopes: Object.freeze([...(scopes as string[])]),
    groups: Object.freeze([...(groups as string[])]),
    roles: Object.freeze([]),
    claims: Object.freeze({ key: id }),
    expiresAt: expiresAt as number | null
  })
  const digest = Buffer.from((hash as string).slice('sha256:'.length), 'hex')
  return Object.freeze({ id: id as string, digest, identity })
}

/** In ms since the epoch; a day alone means its beginning in UTC. Undefined for what is no date, such as 31 February. */
function timeOf(value: unknown): number | undefined {
  if (!matches(value, datePattern)) return undefined
  const day = (value as string).slice(0, 10)
  const midnight = new Date(`${day}T00:00:00Z`)
  if (Number.isNaN(midnight.getTime()) || midnight.toISOString().slice(0, 10) !== day) return undefined
  const time = Date.parse(value as string)
  return Number.isNaN(time) ? undefined : time
}

function matches(value: unknown, pattern: RegExp): boolean {
  return typeof value === 'string' && pattern.test(value)
}

function isListOf(value: unknown, pattern: RegExp): boolean {
  return Array.isArray(value) && value.every(one => matches(one, pattern))
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function nameOf(at: At): string {
  const name = at.map(step => (typeof step === 'number' ? `[${step}]` : `.${step}`)).join('')
  return name === '' ? '(document)' : name.slice(1)
}
